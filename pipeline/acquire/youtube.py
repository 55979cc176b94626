"""One video, or one section of it, is fetched from YouTube with the library yt-dlp, which only this module uses.

An id never becomes part of a command line: yt-dlp runs as a library and is given a full address. What YouTube says is
sorted into two kinds: the video is gone (`NoSuchFileError`), or the fetch did not work this time (PipelineError).
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.acquire.transfer import NoSuchFileError
from pipeline.config import Acquire
from pipeline.errors import PipelineError

FORMATS = "bv*[vcodec^=avc1]+ba[ext=m4a]/b[vcodec^=avc1]/bv*+ba/b"
"""Formats that are asked for: H.264 with AAC where YouTube has it (all decoders read it alike), else the best one."""
LINES = 720
"""Preferred height in pixels. No encoder here looks at more than 256."""

_VID = re.compile(r"(?P<id>[A-Za-z0-9_-]{11})(_(?P<start>\d+(\.\d+)?)_(?P<end>\d+(\.\d+)?))?")

_GONE = ("private video", "video unavailable", "not available anymore", "has been removed", "has been terminated")


@dataclass(frozen=True)
class Section:
    """The part of a YouTube video that a vid names. start_s, end_s: seconds in that video; both are None for all of
    it."""

    youtube_id: str
    start_s: float | None
    end_s: float | None


def section_of(vid: str) -> Section:
    """Read a vid as `{id}` or `{id}_{start}_{end}` (QVHighlights). The id has 11 characters, `-` and `_` among them.

    Raises PipelineError for any other vid.
    """
    match = _VID.fullmatch(vid)
    if match is None:
        raise PipelineError(
            "is neither a YouTube id nor one followed by _start_end",
            where=vid,
            remedy="name another source under datasets.*.videos",
        )
    start, end = match["start"], match["end"]
    return Section(match["id"], None if start is None else float(start), None if end is None else float(end))


def fetch_video(vid: str, address: str, target: Path, acquire: Acquire) -> None:
    """Put a vid's video under `target`. address: that of the page, with `{vid}` in the place of the YouTube id.

    A section is cut at exact times, so it is encoded again at its borders. Raises NoSuchFileError when the video is
    gone, and PipelineError for everything else, also when ffmpeg is not installed: yt-dlp cuts and joins with it.
    """
    if shutil.which("ffmpeg") is None:
        raise PipelineError("yt-dlp needs the program ffmpeg", where=vid, remedy="install ffmpeg, or name an archive")
    section = section_of(vid)
    url = address.replace("{vid}", section.youtube_id)
    files.make_folder(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".youtube-") as folder:
        _run(vid, url, _options(section, Path(folder), acquire))
        found = [path for path in Path(folder).iterdir() if path.suffix == ".mp4"]
        if len(found) != 1:
            raise PipelineError("yt-dlp left no MP4 file", where=f"{vid}: {url}", remedy="run again")
        files.put_in_place(found[0], target)


def _run(vid: str, url: str, options: dict[str, Any]) -> None:
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    try:
        with YoutubeDL(options) as library:
            library.extract_info(url, download=True)
    except YoutubeDLError as error:
        said = " ".join(str(error).removeprefix("ERROR: ").split())
        kind = NoSuchFileError if any(reason in said.lower() for reason in _GONE) else PipelineError
        raise kind(
            f"YouTube: {said}", where=f"{vid}: {url}", remedy="run again later, or leave it out (`skip` of its dataset)"
        ) from error


def _options(section: Section, folder: Path, acquire: Acquire) -> dict[str, Any]:
    options: dict[str, Any] = {
        "format": FORMATS,
        "format_sort": [f"res:{LINES}"],
        "merge_output_format": "mp4",
        "outtmpl": "video.%(ext)s",
        "paths": {"home": str(folder)},
        "noplaylist": True,
        "cachedir": False,
        "quiet": True,
        "noprogress": True,
        "logger": _Silent(),
        "retries": acquire.attempts,
        "socket_timeout": acquire.timeout_s,
        # YouTube computes its addresses with a script, and each of these programs can run it.
        "js_runtimes": {"deno": {}, "node": {}, "bun": {}, "quickjs": {}},
    }
    if section.start_s is not None:
        times = {"start_time": section.start_s, "end_time": section.end_s}
        options |= {"download_ranges": lambda _info, _library: [times], "force_keyframes_at_cuts": True}
    return options


class _Silent:
    """A logger that drops what yt-dlp wants to print. Failures arrive as exceptions."""

    def debug(self, message: str) -> None:
        """Drop a debug message."""

    def warning(self, message: str) -> None:
        """Drop a warning."""

    def error(self, message: str) -> None:
        """Drop an error message."""
