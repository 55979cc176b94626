"""Encodes many videos with several networks. Each video is decoded once for all of them.

If a video fails before it was read to its end, none of its rows are stored, and only the reason is recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing

from pipeline import work_record
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.recipe import Recipe, RowMaker, Skipped, VideoFile, unencoded
from pipeline.grids import grid_seconds
from pipeline.progress import Progress
from pipeline.video.ahead import Done, FramesWanted, Plan, Request, decode_ahead
from pipeline.video.decode import Chunk
from pipeline.video.supervised import Failed


def encode_videos(
    sources: Iterable[VideoFile], makers: Sequence[FrameRowMaker], seconds_per_video: float
) -> list[Skipped]:
    """Encode every video with every maker whose store has no rows of it yet. One decode serves all makers.

    seconds_per_video: the time after which the decoding of a video is given up.
    Returns the videos that were skipped, with reasons.
    """
    work, failed = unencoded(sources, makers)
    requests = [
        Request(source.to_read, {maker.recipe.family: frames_wanted(maker.recipe) for maker in waiting})
        for source, waiting in work
    ]
    n_frames = 0
    with (
        closing(decode_ahead(requests, seconds_per_video, _n_decoders())) as events,
        Progress(len(work), "video", _families(makers)) as progress,
    ):
        for position, event in events:
            source, waiting = work[position]
            if isinstance(event, Chunk):
                n_frames += len(event.indices)
                progress.add(0, f"{n_frames / max(progress.seconds, 1e-9):.1f} frames/s")
            if isinstance(event, Done | Failed):
                work_record.note("decoded", path=source.path, track="pictures", families=_families(waiting))
            if isinstance(event, Failed):
                failed.append(Skipped(source.vid, event.why, event.fault))
            for maker in waiting:
                _pass_on(event, source, maker)
            progress.add(isinstance(event, Done | Failed))
        for maker in makers:
            maker.finish()
    return failed + [skipped for maker in makers for skipped in maker.skipped]


def _n_decoders() -> int:
    """Return how many videos are decoded at the same time: at most 3.

    Each needs a core, and one core is left for the networks. Together they stay within the four threads of the rule.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(3, cores - 1))


def _families(makers: Sequence[RowMaker]) -> str:
    return ", ".join(maker.recipe.family for maker in makers)


def frames_wanted(recipe: Recipe) -> FramesWanted:
    """Return the frames that a family needs on its grid."""
    return FramesWanted(recipe.kind.sampling, recipe.kind.view, grid_seconds(recipe.grid))


def _pass_on(event: Plan | Chunk | Done | Failed, source: VideoFile, maker: FrameRowMaker) -> None:
    if isinstance(event, Plan):
        maker.begin(source, event.rows[maker.recipe.family])
    elif isinstance(event, Chunk):
        maker.add_chunk(source, event)
    else:
        maker.end(source, is_whole=isinstance(event, Done))
