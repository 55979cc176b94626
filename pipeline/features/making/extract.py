"""Fills the stores of one shard from its videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from pipeline.encoders.workers import workers
from pipeline.errors import PipelineError
from pipeline.features.making.encode import encode_videos
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.recipe import Recipe, Skipped, VideoFile
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.layout import Layout
from pipeline.provenance import Outcome
from pipeline.video.segment import part_of, read_segments, read_videos


def fill_from_videos(
    recipes: Mapping[Path, Recipe], results: Path, dataset: str, shard: str, seconds_per_video: float, device: str
) -> Outcome:
    """Encode the videos of a shard and fill the stores. One decode serves all families.

    recipes: for the path of each store, how its rows are made.
    seconds_per_video: the time after which the decoding of a video is given up.
    Raises PipelineError for a video whose file is gone or whose decoder was killed (see `outcome`).
    """
    sources, upstream = videos_of(results, dataset, shard, {recipe.grid for recipe in recipes.values()})
    with ExitStack() as stack:
        writers = {path: stack.enter_context(StoreWriter(path, recipe.passport)) for path, recipe in recipes.items()}
        threads = stack.enter_context(workers(device))
        makers = [FrameRowMaker(recipe, writers[path], device, threads) for path, recipe in recipes.items()]
        skipped = encode_videos(sources, makers, seconds_per_video)
    counts: dict[str, int] = {}
    for path in recipes:
        with Store([path]) as store:
            counts |= store.counts
    return outcome(recipes, counts, upstream, skipped)


def videos_of(
    results: Path, dataset: str, shard: str, grids: Iterable[str]
) -> tuple[list[VideoFile], list[dict[str, str]]]:
    """Return the videos of a shard that have clips, and a row for each video that an earlier stage skipped.

    A row is `{"vid": …, "why": …}`.
    """
    layout = Layout(results)
    account = read_videos(layout.account(dataset, shard))
    segments = {grid: read_segments(layout.segments(dataset, grid, shard)) for grid in grids}
    n_clips_of = {grid: {row.vid: row.n_clips for row in rows} for grid, rows in segments.items()}
    status = {row.vid: row.status for rows in segments.values() for row in rows}
    sources = [
        VideoFile(
            vid, Path(row["path"]), row["sha256"], {grid: n_clips_of[grid][vid] for grid in segments}, part_of(row)
        )
        for vid, row in account.items()
        if status.get(vid) == "ok"
    ]
    return sources, [{"vid": vid, "why": why} for vid, why in status.items() if why != "ok"]


def outcome(
    made: Iterable[Path], counts: Mapping[str, int], upstream: list[dict[str, str]], skipped: list[Skipped]
) -> Outcome:
    """Return the outcome of a shard whose stores are written.

    upstream: rows of the videos that an earlier stage skipped.
    skipped: the videos that this stage skipped.
    Raises PipelineError if the reason for skipping a video says nothing about the video, because a manifest would make
    such a chance failure permanent. The rows of all other videos are in the stores, and the next run finds them there.
    """
    if passing := {row.vid: row.why for row in skipped if row.fault == "outside"}:
        vid, why = next(iter(passing.items()))
        others = f", and {len(passing) - 1} more" if len(passing) > 1 else ""
        raise PipelineError(
            f"{why}{others}; the other videos' rows are kept",
            where=f"video {vid}",
            remedy="bring the files back, or give the job more memory, and run again; for files that are gone for good,"
            " have changed or shall be fetched anew, delete the shard's manifest under videos/ first (and a damaged"
            " file that was fetched)",
        )
    failed = {row.vid for row in skipped if row.fault == "decoder"}
    rows = [*upstream, *({"vid": row.vid, "why": row.why} for row in skipped)]
    return Outcome(
        made, {**counts, **({"failed": len(failed)} if failed else {})}, sorted(rows, key=lambda row: row["vid"])
    )
