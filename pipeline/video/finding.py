"""Brings the videos of a dataset to this machine: from an archive, from a folder, or one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline.acquire import originals, sources, youtube
from pipeline.acquire.archives import read_index
from pipeline.acquire.download import copy_checked, first_that_works
from pipeline.acquire.sections import section_of, videos_with
from pipeline.acquire.sources import Source
from pipeline.acquire.transfer import NoSuchFileError, Wanted
from pipeline.config import Acquire
from pipeline.datasets.own import SUFFIXES
from pipeline.errors import PipelineError
from pipeline.layout import Layout
from pipeline.nouns import counted

if TYPE_CHECKING:
    from pipeline.video.looking import Facts
    from pipeline.video.part import Part
    from pipeline.video.supervised import Failed

    Look = Callable[[Path | Part], Facts | Failed]


def finder(name: str, layout: Layout, listed: Iterable[Path], acquire: Acquire, look: Look) -> Callable[[str], Path]:
    """Return the function that brings a vid's video to this machine and returns its path. The kind of the source
    decides it.

    listed: the files that the input manifests list, an archive's index among them. look: `video.looking.Looking`. The
    function raises NoSuchFileError for a video that does not exist and PipelineError for one that did not come.
    """
    source = sources.load(acquire.sources, acquire.mirror)[name]
    home = layout.unpacked(source.name)
    if source.kind == "archive":
        index = next((path for path in listed if path == layout.index(source.name)), None)
        if index is None:
            raise PipelineError(
                "the videos of this source are in an archive, and no list of its unpacked files is among the inputs",
                where=source.name,
                remedy="name the manifest of its stage `unpack` among the inputs, too",
            )
        return partial(_in_archive, _by_vid(read_index(index)), home, source.name)
    if source.kind in ("video", "youtube"):
        return partial(_one_by_one, source, home, acquire, originals.local_copies(acquire.local), look)
    raise PipelineError(
        f"this source holds no videos: its kind is {source.kind}, not archive, video or youtube",
        where=source.name,
        remedy="name another source under `videos` of the dataset",
    )


def in_folder(folder: Path, vid: str) -> Path:
    """Return the video of a vid in a folder of the user. Raises NoSuchFileError if the folder has none."""
    found = [path for path in sorted(folder.glob(f"{vid}.*")) if path.stem == vid and path.suffix.lower() in SUFFIXES]
    if not found:
        raise NoSuchFileError(f"not among the videos of {folder}")
    return found[0]


def changed_originals(taken: Iterable[originals.CopiedFile]) -> dict[str, originals.CopiedFile]:
    """Return the videos whose original on this machine has other bytes now, by path.

    A copy whose original was only touched gets the original's new time.
    """
    changed = {}
    for video in taken:
        if video.has_changed():
            changed[str(video.target)] = video
        elif video.looks_changed():
            video.keep_time()
    return changed


def find_or_copy_again(find: Callable[[str], Path], changed: Mapping[str, originals.CopiedFile], vid: str) -> Path:
    """Find a video. If its original on this machine changed (`changed`, by path), it is copied again."""
    path = find(vid)
    if video := changed.get(str(path)):
        copy_checked(video.original, Wanted(video.original.resolve().as_uri(), path, vid))
        # The time is set to 0 until the account knows the new file. So a job that is killed before that cannot take it
        # for the old file.
        os.utime(path, ns=(0, 0))
    return path


def _by_vid(index: dict[str, int]) -> dict[str, str]:
    """Return vid → member of an unpacked archive, whatever folder it is in. Of several, the one nearest to the top
    counts."""
    members = [PurePosixPath(member) for member in index]
    found = sorted((m for m in members if m.suffix.lower() in SUFFIXES), key=lambda m: (-len(m.parts), str(m)))
    return {member.stem: str(member) for member in found}


def _in_archive(members: dict[str, str], home: Path, name: str, vid: str) -> Path:
    if vid not in members:
        raise NoSuchFileError(f"not among the {counted(len(members), 'video')} of {name}")
    path = home / members[vid]
    if not path.is_file():
        raise PipelineError(f"was unpacked from {name}, but is gone: delete resources/{name}/unpack.json and run again")
    return path


def _one_by_one(source: Source, home: Path, acquire: Acquire, copies: Mapping[str, Path], look: Look, vid: str) -> Path:
    if source.kind == "youtube":
        section_of(vid)  # Another vid is refused before anything is asked for.
    videos = videos_with(vid, source)
    names = [source.file.replace("{vid}", video) for video in videos]
    for path in (home / name for name in names):
        if path.is_file():  # The file gets its name only when it is complete, so one of that name needs no check.
            return path
    for copy in filter(None, map(copies.get, names)):
        copy_checked(copy, Wanted(copy.resolve().as_uri(), home / copy.name, vid))
        return home / copy.name
    path = home / names[-1]
    if source.kind == "youtube" and not source.is_mirrored:
        youtube.fetch_video(section_of(vid).youtube_id, source.addresses[0], path, acquire)
        return path
    addresses = [Wanted(url.replace("{vid}", videos[-1]), path, vid) for url in source.addresses]
    first_that_works(addresses, acquire)
    if not addresses[0].url.startswith("file:") and _is_corrupt(path, look):
        # No digest of such a file is known, and a server may have stated too small a size. So it is asked once more.
        path.unlink()
        first_that_works(addresses, acquire)
    return path


def _is_corrupt(path: Path, look: Look) -> bool:
    from pipeline.video.supervised import Failed

    found = look(path)
    return isinstance(found, Failed) and found.fault == "file"
