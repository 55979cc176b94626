"""A vid may name a section of a longer video: `{YouTube id}_{start}_{end}`, as in QVHighlights.

10,148 vids of QVHighlights name sections of 3,164 videos, so a video is fetched once, whole, and its sections are read
from that file. Nothing here imports a network library, because the plan of the workflow asks for these names too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.acquire.sources import Source
from pipeline.errors import PipelineError

_VID = re.compile(r"(?P<id>[A-Za-z0-9_-]{11})(_(?P<start>\d+(\.\d+)?)_(?P<end>\d+(\.\d+)?))?")


@dataclass(frozen=True)
class Section:
    """The part of a YouTube video that a vid names. start_s, end_s: seconds in that video; both are None for all of
    it."""

    youtube_id: str
    start_s: float | None
    end_s: float | None


def section_of(vid: str) -> Section:
    """Read a vid as `{id}` or `{id}_{start}_{end}` (QVHighlights). The id has 11 characters, `-` and `_` among them.

    Raises PipelineError for any other vid, and for a section that ends before it starts.
    """
    match = _VID.fullmatch(vid)
    remedy = "name another source under datasets.*.videos"
    if match is None:
        raise PipelineError("is neither a YouTube id nor one followed by _start_end", where=vid, remedy=remedy)
    if match["start"] is None:
        return Section(match["id"], None, None)
    start_s, end_s = float(match["start"]), float(match["end"])
    if end_s <= start_s:
        raise PipelineError("names a section that ends before it starts", where=vid, remedy=remedy)
    return Section(match["id"], start_s, end_s)


def is_section(vid: str, youtube_id: str) -> bool:
    """Tell whether a vid names a section of the video with that YouTube id."""
    match = _VID.fullmatch(vid)
    return bool(match and match["start"] and match["id"] == youtube_id)


def videos_with(vid: str, source: Source) -> list[str]:
    """Return the names of the videos that contain a vid: its own name and, on YouTube, the name of the whole video at
    the end. They replace `{vid}` in the source's file name and address."""
    match = _VID.fullmatch(vid) if source.kind == "youtube" else None
    return [vid, match["id"]] if match and match["start"] else [vid]
