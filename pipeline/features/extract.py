"""Extract: the stores of one shard, from its videos, or of one file of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.features.encode import Line, Recipe, Source, encode_videos
from pipeline.features.store import Store
from pipeline.features.store_writer import StoreWriter
from pipeline.provenance import Outcome
from pipeline.video.probe import probe
from pipeline.video.segment import grid_seconds, n_clips, read_segments, read_videos


def fill_from_videos(
    recipes: Mapping[Path, Recipe], results: Path, dataset: str, shard: str, seconds_per_video: float, device: str
) -> Outcome:
    """Encode the shard's videos into the stores at `recipes`' paths. One decode serves all families."""
    sources, skipped = videos_of(results, dataset, shard, {recipe.grid for recipe in recipes.values()})
    with ExitStack() as stack:
        writers = {path: stack.enter_context(StoreWriter(path, recipe.passport)) for path, recipe in recipes.items()}
        worker = stack.enter_context(ThreadPoolExecutor(1))
        lines = [Line(recipe, writers[path], device, worker) for path, recipe in recipes.items()]
        skipped += encode_videos(sources, lines, seconds_per_video)
    return Outcome(recipes, _counts(recipes), sorted(skipped, key=lambda row: row["vid"]))


def extract_file(video: Path, recipe: Recipe, output: Path, device: str, seconds_per_video: float = 900.0) -> Store:
    """Encode one video of one's own into a store with one key, the file's name without its suffix.

    Raises PipelineError with the reason when the video cannot be read.
    """
    clips = n_clips(probe(video).duration, grid_seconds(recipe.grid))
    source = Source(video.stem, video, files.sha256(video), {recipe.grid: clips})
    with StoreWriter(output, recipe.passport) as store, ThreadPoolExecutor(1) as worker:
        for row in encode_videos([source], [Line(recipe, store, device, worker)], seconds_per_video):
            raise PipelineError(row["why"], where=video, remedy="replace the file, or name another grid")
    return Store([output])


def videos_of(
    results: Path, dataset: str, shard: str, grids: Iterable[str]
) -> tuple[list[Source], list[dict[str, str]]]:
    """The shard's videos that have clips, and `{"vid": …, "why": …}` for those that were left out upstream."""
    account = read_videos(results / "videos" / dataset / f"{shard}.csv")
    segments = {grid: read_segments(results / "segments" / dataset / grid / f"{shard}.csv") for grid in grids}
    n_clips_of = {grid: {row.vid: row.n_clips for row in rows} for grid, rows in segments.items()}
    status = {row.vid: row.status for rows in segments.values() for row in rows}
    sources = [
        Source(vid, Path(row["path"]), row["sha256"], {grid: n_clips_of[grid][vid] for grid in segments})
        for vid, row in account.items()
        if status.get(vid) == "ok"
    ]
    return sources, [{"vid": vid, "why": why} for vid, why in status.items() if why != "ok"]


def _counts(recipes: Mapping[Path, Recipe]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for path, recipe in recipes.items():
        with Store([path]) as store:
            counts[f"{recipe.family}_arrays"] = len(store)
            counts[f"{recipe.family}_rows"] = sum(map(store.n_rows, store.keys()))
    return counts
