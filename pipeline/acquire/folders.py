"""Packs a folder of this machine that is used in place of an archive, so that all later stages get an ordinary archive.

The packed file depends only on the names and bytes of the files, not on times, owners or their order on disk. So its
SHA-256 is the folder's digest. It is pinned, compared and recorded as the digest of a downloaded archive is.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.progress import Progress


def pack(folder: Path, target: Path, name: str) -> None:
    """Write the files below a folder as a tar under `target`, sorted by path, without times and owners.

    name: what errors and the progress line call the folder. Raises PipelineError for a folder without files, for links
    and devices, and for names that other machines cannot store or that are no plain text.
    """
    with files.atomic_path(target) as partial, open(partial, "wb") as file:
        _write(folder, file, name)


def digest(folder: Path, name: str) -> str:
    """Return the SHA-256 that the packed folder has, without writing a file. Raises PipelineError as `pack` does."""
    sink = _Hashed()
    _write(folder, sink, name)
    return sink.state.hexdigest()


def newest_ns(folder: Path) -> int:
    """Return the time of the last change in a folder, in nanoseconds. It sees edits, renames, added and removed
    files."""
    within = (Path(parent, name) for parent, below, names in os.walk(folder) for name in (*below, *names))
    return max(path.lstat().st_ctime_ns for path in (folder, *within))


def n_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder together."""
    return sum(Path(parent, name).lstat().st_size for parent, _, names in os.walk(folder) for name in names)


class _Hashed(io.RawIOBase):
    """A file object that adds all that is written to it to a digest and stores nothing."""

    def __init__(self) -> None:
        self.state = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.state.update(data)
        return len(data)


def _write(folder: Path, file: Any, name: str) -> None:
    members = sorted(_members(folder, name), key=lambda path: path.relative_to(folder).parts)
    if not members:
        raise PipelineError("holds no file", where=f"{name}: {folder}", remedy="name the folder with the files in it")
    total = sum(path.stat().st_size for path in members)
    with (
        Progress(total, "B", name) as shown,
        tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT) as packed,
    ):
        for path in members:
            _add(packed, folder, path, name)
            shown.add(path.stat().st_size)


def _add(packed: tarfile.TarFile, folder: Path, path: Path, name: str) -> None:
    # The header keeps no time and no owner, and mode 644, so that equal files give equal bytes.
    header = tarfile.TarInfo(path.relative_to(folder).as_posix())
    try:
        with open(path, "rb", opener=_no_link) as file:
            header.size = os.fstat(file.fileno()).st_size
            packed.addfile(header, file)
            grew = bool(file.read(1))
    except OSError as error:
        raise PipelineError(
            f"cannot be read ({error.strerror or error})",
            where=f"{name}: {path}",
            remedy="check that you may read it and that no program writes there, and run again",
        ) from error
    if grew:
        raise PipelineError("grows while it is read", where=f"{name}: {path}", remedy="run again when it is complete")


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _members(folder: Path, name: str) -> Iterator[Path]:
    for parent, below, names in os.walk(folder, onerror=_refuse_unreadable):
        for entry in (*below, *names):
            path = Path(parent, entry)
            kind = path.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise PipelineError(
                    "is a link or a device, which may lead out of the folder",
                    where=f"{name}: {path}",
                    remedy="put a copy of the file in its place, or remove it",
                )
            # Bytes of a name that are no UTF-8 become surrogates, which are not printable.
            if not entry.isprintable() or "\\" in entry:
                raise PipelineError(
                    f"{entry!a} is not a valid file name on every machine",
                    where=f"{name}: {ascii(parent)[1:-1]}",
                    remedy="rename it, or remove it from the folder",
                )
        yield from (Path(parent, entry) for entry in names)


def _refuse_unreadable(error: OSError) -> None:
    raise files.cannot_read(error.filename, error) from error
