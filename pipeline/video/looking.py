"""The file of a video is looked at for its row of the account: its bytes, its digest, and what it shows for how long.

A process of its own reads the videos, as in extraction (`supervised.py`): a broken file may crash FFmpeg or make it
hang, and the other videos of the shard are not lost with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from pipeline import files, work_record
from pipeline.acquire.sections import is_section, section_of
from pipeline.video.part import Part, facts_of
from pipeline.video.supervised import Failed, one_by_one


@dataclass(frozen=True)
class Video:
    """One row of the account.

    status: `ok`, or what went wrong. why: the reason for a status that is not `ok`. path: the path of the file,
    relative to the working folder. duration_s, fps: exact fractions (`460460/15000`) of the video stream. source: name
    in the table of sources. annotated_s: the duration that the annotations give, in seconds. start_s: where the video
    is a part of a longer file, the second in that file at which it starts; duration_s is then that of the part.
    """

    vid: str
    status: str
    why: str = ""
    path: str = ""
    bytes: int | str = ""
    duration_s: Fraction | str = ""
    fps: Fraction | str = ""
    sha256: str = ""
    source: str = ""
    annotated_s: float | str = ""
    start_s: Fraction | str = ""


START = "start_s"
"""The column that is written only where a video is a part of a file, so that it makes no older account stale."""
COLUMNS = tuple(field.name for field in fields(Video) if field.name != START)


class Brought(NamedTuple):
    """A video whose file is here. source: the name of where it came from.

    is_sure: whether its bytes are known to be what the source has: a digest was compared, or it was copied from this
    machine. A server that states too small a size sends a part of a file, and only reading it tells.
    """

    vid: str
    path: Path
    source: str
    is_sure: bool = True


class Length(NamedTuple):
    """What a file shows: seconds, and frames per second. Both are exact."""

    duration_s: Fraction
    fps: Fraction


def look_at(brought: Sequence[Brought], seconds_each: float) -> Iterator[Video]:
    """Yield the row of each video, in order. seconds_each: the time after which the reading of one is given up.

    A video is `corrupt` where FFmpeg refuses it, and `failed` where FFmpeg crashed or took too long or the file is gone
    meanwhile: only of the first it is known that it comes again.
    """
    sources = [_part_of(one.vid, one.path) or one.path for one in brought]
    with closing(one_by_one(sources, _length, seconds_each, "reading it", Length)) as events:
        for one, source, (_, event) in zip(brought, sources, events, strict=True):
            work_record.note("probed", path=one.path)
            yield _row(one, source, event)


def _length(source: Path | Part) -> Iterator[Length]:
    """Yield the one event of a video. This runs in the other process."""
    facts = facts_of(source)
    yield Length(facts.duration, facts.rate)


def _row(one: Brought, source: Path | Part, event: Length | Failed) -> Video:
    if isinstance(event, Failed) and event.fault != "file":
        return Video(one.vid, "failed", event.why, source=one.source)
    size, digest = one.path.stat().st_size, files.sha256(one.path)
    row = Video(one.vid, "ok", "", str(one.path), size, sha256=digest, source=one.source)
    if isinstance(event, Failed):
        return replace(row, status="corrupt", why=event.why)
    start_s = source.start_s if isinstance(source, Part) else ""
    return replace(row, duration_s=event.duration_s, fps=event.fps, start_s=start_s)


def _part_of(vid: str, path: Path) -> Part | None:
    """Return the part of a file that a vid names, or None where the file holds the video alone."""
    if path.stem == vid or not is_section(vid, path.stem):
        return None
    section = section_of(vid)
    return Part(path, Fraction(str(section.start_s)), Fraction(str(section.end_s)))
