"""Fetches one whole video from YouTube with the library yt-dlp, which only this module uses.

An id never becomes part of a command line: yt-dlp runs as a library and is given a full address. YouTube's answers are
sorted into three kinds: the video is gone (`NoSuchFileError`), YouTube cannot answer at the moment (the fetch is tried
again, after a wait), or the fetch did not work this time (PipelineError).
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

from pipeline import files, locks
from pipeline.acquire import patience
from pipeline.acquire.sections import Section, section_of
from pipeline.acquire.transfer import NoSuchFileError, TransientError, Wanted
from pipeline.config import Acquire
from pipeline.errors import PipelineError
from pipeline.nouns import counted

__all__ = ["Section", "fetch_video", "section_of"]

FORMATS = "bv*[vcodec^=avc1]+ba[ext=m4a]/b[vcodec^=avc1]/bv*+ba/b"
"""Formats that are asked for: H.264 with AAC if YouTube has it, because all decoders read it in the same way, or else
the best one."""
SHORT_SIDE = 256
"""The short side in pixels that is asked for: the smallest format that has at least this many, else the largest one.

No view of a frame is larger (`video/views.py`), so no encoder has to enlarge a frame, and no more is fetched than is
seen. The short side is the same before and after a rotation.
"""

_GONE = (
    "private video",
    "video unavailable",
    "not available anymore",
    "has been removed",
    "has been terminated",
    "in your country",
)
_LATER = re.compile(
    r"http error (408|425|429|5\d\d)|too many requests|rate.?limit|timed out|connection|incomplete read"
)


def fetch_video(youtube_id: str, address: str, target: Path, acquire: Acquire) -> None:
    """Put a whole video under `target`. address: that of the page, with `{vid}` in the place of the YouTube id.

    The jobs of several shards may want the same video. Then one of them fetches it, and the others wait. A killed fetch
    is continued. Raises NoSuchFileError when the video is gone, and PipelineError for everything else, also when ffmpeg
    is not installed: yt-dlp joins picture and sound with it.
    """
    if shutil.which("ffmpeg") is None:
        remedy = "install ffmpeg, or name an archive"
        raise PipelineError("yt-dlp needs the program ffmpeg", where=youtube_id, remedy=remedy)
    url = address.replace("{vid}", youtube_id)
    with locks.lock(target, wait=True, keep=False):
        if target.is_file():
            return
        folder = target.with_name(f".youtube-{youtube_id}")
        files.make_folder(folder)
        _try_often(youtube_id, url, _options(folder, Wanted(url, target, youtube_id), acquire), acquire)
        found = [path for path in folder.iterdir() if path.suffix == ".mp4" and path.stem == "video"]
        if not found:
            raise PipelineError("yt-dlp left no MP4 file", where=f"{youtube_id}: {url}", remedy="run again")
        files.put_in_place(found[0], target)
        shutil.rmtree(folder, ignore_errors=True)


def _try_often(youtube_id: str, url: str, options: dict[str, Any], acquire: Acquire) -> None:
    for attempt in range(1, acquire.attempts + 1):
        patience.wait_for_turn(url, acquire)
        try:
            _run(youtube_id, url, options)
        except TransientError as trouble:
            if attempt == acquire.attempts:
                raise PipelineError(
                    f"{trouble}; {counted(attempt, 'try')}",
                    where=f"{youtube_id}: {url}",
                    remedy="run again later, or ask less often (acquire.requests_per_minute)",
                ) from trouble
            time.sleep(patience.backoff_s(attempt))
        else:
            return


def _run(youtube_id: str, url: str, options: dict[str, Any]) -> None:
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    try:
        with YoutubeDL(options) as library:
            library.extract_info(url, download=True)
    except YoutubeDLError as error:
        said = " ".join(str(error).removeprefix("ERROR: ").split())
        is_gone = any(reason in said.lower() for reason in _GONE)
        if not is_gone and _LATER.search(said.lower()):
            raise TransientError(f"YouTube: {said}") from error
        raise (NoSuchFileError if is_gone else PipelineError)(
            f"YouTube: {said}",
            where=f"{youtube_id}: {url}",
            remedy="run again later, or leave it out (`skip` of its dataset)",
        ) from error


def _options(folder: Path, wanted: Wanted, acquire: Acquire) -> dict[str, Any]:
    def look(told: dict[str, Any]) -> None:
        """Stop a video that becomes too large. yt-dlp calls this while it receives one."""
        wanted.refuse_beyond(int(told.get("downloaded_bytes") or 0), acquire)

    return {
        "format": FORMATS,
        "format_sort": [f"+res:{SHORT_SIDE}"],
        "merge_output_format": "mp4",
        "outtmpl": "video.%(ext)s",
        "paths": {"home": str(folder)},
        "noplaylist": True,
        "cachedir": False,
        "quiet": True,
        "noprogress": True,
        "progress_hooks": [look],
        "continuedl": True,
        "logger": _Silent(),
        "retries": acquire.attempts,
        "socket_timeout": acquire.timeout_s,
        # YouTube computes its addresses with a script, and each of these programs can run it.
        "js_runtimes": {"deno": {}, "node": {}, "bun": {}, "quickjs": {}},
    }


class _Silent:
    """A logger that drops what yt-dlp wants to print. Failures arrive as exceptions."""

    def debug(self, message: str) -> None:
        """Drop a debug message."""

    def warning(self, message: str) -> None:
        """Drop a warning."""

    def error(self, message: str) -> None:
        """Drop an error message."""
