"""Extract: the stores of one shard, from its videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from pipeline.encoders.workers import workers
from pipeline.errors import PipelineError
from pipeline.features.making.encode import FrameLine, LeftOut, Recipe, VideoFile, encode_videos
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.layout import Layout
from pipeline.provenance import Outcome
from pipeline.video.segment import read_segments, read_videos


def fill_from_videos(
    recipes: Mapping[Path, Recipe], results: Path, dataset: str, shard: str, seconds_per_video: float, device: str
) -> Outcome:
    """Encode the shard's videos into the stores at `recipes`' paths. One decode serves all families."""
    sources, skipped = videos_of(results, dataset, shard, {recipe.grid for recipe in recipes.values()})
    with ExitStack() as stack:
        writers = {path: stack.enter_context(StoreWriter(path, recipe.passport)) for path, recipe in recipes.items()}
        threads = stack.enter_context(workers(device))
        lines = [FrameLine(recipe, writers[path], device, threads) for path, recipe in recipes.items()]
        left_out = encode_videos(sources, lines, seconds_per_video)
    counts: dict[str, int] = {}
    for path in recipes:
        with Store([path]) as store:
            counts |= store.counts
    return outcome(recipes, counts, skipped, left_out)


def videos_of(
    results: Path, dataset: str, shard: str, grids: Iterable[str]
) -> tuple[list[VideoFile], list[dict[str, str]]]:
    """The shard's videos that have clips, and `{"vid": …, "why": …}` for those that were left out upstream."""
    layout = Layout(results)
    account = read_videos(layout.account(dataset, shard))
    segments = {grid: read_segments(layout.segments(dataset, grid, shard)) for grid in grids}
    n_clips_of = {grid: {row.vid: row.n_clips for row in rows} for grid, rows in segments.items()}
    status = {row.vid: row.status for rows in segments.values() for row in rows}
    sources = [
        VideoFile(vid, Path(row["path"]), row["sha256"], {grid: n_clips_of[grid][vid] for grid in segments})
        for vid, row in account.items()
        if status.get(vid) == "ok"
    ]
    return sources, [{"vid": vid, "why": why} for vid, why in status.items() if why != "ok"]


def outcome(
    made: Iterable[Path], counts: Mapping[str, int], upstream: list[dict[str, str]], left_out: list[LeftOut]
) -> Outcome:
    """What the stage says of a shard whose stores are written. upstream: what was left out before it, and why.

    Raises PipelineError where a failure says nothing about its video: a manifest would make it last. The next run finds
    all other rows in the stores.
    """
    if passing := {row.vid: row.why for row in left_out if row.fault == "outside"}:
        vid, why = next(iter(passing.items()))
        others = f", and {len(passing) - 1} more" if len(passing) > 1 else ""
        raise PipelineError(
            f"{why}{others}; the other videos' rows are kept",
            where=f"video {vid}",
            remedy="bring the files back, or give the job more memory, and run again; for files that are gone for good"
            " delete the shard's manifest under videos/ first",
        )
    failed = {row.vid for row in left_out if row.fault == "decoder"}
    skipped = [*upstream, *({"vid": row.vid, "why": row.why} for row in left_out)]
    return Outcome(
        made, {**counts, **({"failed": len(failed)} if failed else {})}, sorted(skipped, key=lambda row: row["vid"])
    )
