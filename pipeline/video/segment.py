"""Computes the clips of each video on a grid: their start and their number. Videos are never cut or encoded again.

A video that is longer or shorter than its annotations say shows other moments at the annotated times, so it gets no
clips.

reads   videos/{dataset}/{shard}.csv            one row per video, `duration_s` exact, `annotated_s`
writes  segments/{dataset}/{grid}/{shard}.csv   vid, start_s, n_clips, status; clip i covers start_s + i·L
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pipeline import csv_file, provenance, stage_requests
from pipeline.errors import PipelineError
from pipeline.grids import grid_seconds, n_clips
from pipeline.nouns import counted
from pipeline.stage_settings import Segment
from pipeline.stages import StageJob
from pipeline.video.part import Part

COLUMNS = ("vid", "start_s", "n_clips", "status")

OTHER_LENGTH = "length"
"""Status of a video whose duration differs from what its annotations say."""

CLIPS_APART = 1
"""Number of clips of the labels' grid by which a video may differ from its annotations. Released features have the
same limit."""


@dataclass(frozen=True)
class Segments:
    """The clips of one video on one grid. Clip i goes from start_s + i·L to start_s + (i + 1)·L, where L is the length
    of a clip in seconds. status: `ok`, or the reason why the video has no clips."""

    vid: str
    start_s: Fraction
    n_clips: int
    status: str


def segment(job: StageJob[Segment]) -> bool:
    """Write the clip table of one shard on each grid, and one manifest for all. Returns whether there was work to do.

    The setting `clip` is the grid of the labels. A video whose number of clips on that grid differs by more than one
    from that of its annotated duration is left out and listed with both lengths.
    """
    dataset, shard = job.about["dataset"], job.about["shard"]
    grids, clip, layout = job.settings.grids, job.settings.clip, job.layout
    source = layout.account(dataset, shard)

    def work() -> provenance.Outcome:
        videos = [_of_annotated_length(row, clip, source) for row in csv_file.read(source)]
        counts = {"videos": sum(row["status"] == "ok" for row in videos)}
        if other := sum(row["status"] == OTHER_LENGTH for row in videos):
            counts["other_length"] = other
            where = f"{dataset}, shard {shard}"
            verb = "does" if other == 1 else "do"
            print(
                f"segment: {counted(other, 'video')} of {where}, {verb} not last as long as annotated: {job.manifest}"
            )
        tables = []
        for grid in grids:
            rows = [_segments(row, grid_seconds(grid), source) for row in videos]
            tables.append(layout.segments(dataset, grid, shard))
            write_segments(tables[-1], rows)
            counts[f"clips_{grid}"] = sum(row.n_clips for row in rows)
        skipped = [{"vid": row["vid"], "why": _why(row)} for row in videos if row["status"] != "ok"]
        return provenance.Outcome(tables, counts, skipped)

    want = stage_requests.segment(job)
    return provenance.run_request(want, job.manifest, work)


def write_segments(path: Path, rows: Iterable[Segments]) -> None:
    """Write the clip table of one shard on one grid."""
    csv_file.write(path, COLUMNS, [(row.vid, row.start_s, row.n_clips, row.status) for row in rows])


def read_segments(path: Path) -> list[Segments]:
    """Read a clip table. Raises PipelineError, which names the file and the row, for what does not fit."""
    return [
        Segments(row["vid"], _number(row, "start_s", path), int(_number(row, "n_clips", path)), row["status"])
        for row in csv_file.read(path, columns=COLUMNS)
    ]


def read_videos(path: Path) -> dict[str, dict[str, str]]:
    """Read a shard's video table: vid → its row (status, why, path, duration_s, sha256, …), with all values as text."""
    return {row["vid"]: row for row in csv_file.read(path, columns=("vid", "status"))}


def part_of(row: dict[str, str]) -> Part | None:
    """Return the part of a file that is the video of this row, or None if the video is a whole file."""
    path = Path(row["path"])
    if not row.get("start_s"):
        return None
    start_s = _number(row, "start_s", path)
    return Part(path, start_s, start_s + _number(row, "duration_s", path))


def _segments(row: dict[str, str], clip_s: Fraction, source: Path) -> Segments:
    if row["status"] != "ok":
        return Segments(row["vid"], Fraction(0), 0, _why(row))
    start_s = _number(row, "start_s", source) if row.get("start_s") else Fraction(0)
    return Segments(row["vid"], start_s, n_clips(_number(row, "duration_s", source), clip_s), "ok")


def _of_annotated_length(row: dict[str, str], clip: str, source: Path) -> dict[str, str]:
    """Return the row, with another status if the video does not last as long as annotated."""
    if row["status"] != "ok" or not row.get("annotated_s"):
        return row
    real_s, annotated_s = _number(row, "duration_s", source), _number(row, "annotated_s", source)
    real, annotated = n_clips(real_s, grid_seconds(clip)), n_clips(annotated_s, grid_seconds(clip))
    if abs(real - annotated) <= CLIPS_APART:
        return row
    why = (
        f"the video lasts {float(real_s):.2f} s ({counted(real, 'clip')} of {clip}), its annotations say"
        f" {float(annotated_s):.2f} s ({counted(annotated, 'clip')})"
    )
    return row | {"status": OTHER_LENGTH, "why": why}


def _why(row: dict[str, str]) -> str:
    return f"{row['status']}: {row.get('why') or 'no reason given'}"


def _number(row: dict[str, str], column: str, path: Path) -> Fraction:
    """Read an exact number from a table: `460460/15000` and `30.697` are both read without rounding."""
    try:
        return Fraction(row[column])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise PipelineError(
            f"`{column}` of {row.get('vid')} is no number ({row.get(column)!r})",
            where=path,
            remedy="delete it and its manifest, and run the workflow again",
        ) from error
