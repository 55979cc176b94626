"""Writes files completely or not at all, and computes their digests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pipeline import limits, work_record
from pipeline.errors import PipelineError, printable

CHUNK_BYTES = 1 << 20
FETCH_AGAIN = "fetch it again: a file that a stage fetched comes anew when it was deleted"
"""The advice for a file with wrong content that a stage fetched or a user named."""
SHOWN_BYTES = 1 << 28
"""From this size on, 256 MiB, the reading of a file is shown. A slow network file system reads so much in some
seconds."""
MADE_HERE = "delete it and run again"
"""The advice for a damaged file that one of our stages wrote. It is never given for a file of the user."""

CHECK_FOLDER = "check that folder's permissions and free space, and your quota or limit on the size of files"
"""The advice for a path that cannot be written."""

OTHER_FOLDER = "name another folder, or give that file another name"
"""The advice for a path below something that is no folder."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors of a full disk, of a quota that is used up, and of a limit on the size of files."""

PARTIAL = re.compile(r"\.(.+)\.\d+\.partial|\.\d+\.partial\.(.+)", re.DOTALL)
"""The name of a file that is being written, and in it that of the file to be. The number is the process's."""

VARIABLE = re.compile(r"\$([A-Za-z_]\w*|\{[A-Za-z_]\w*\})")
"""A variable of the environment in a path."""


@contextmanager
def atomic(path: Path | str, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that appears under `path` only when the block ends without an error.

    The bytes go to a hidden neighbour, which reaches the disk before it is renamed over `path`, and the new name
    reaches the disk before the block ends. So a reader, a killed job or a power cut never leaves half a file, nor a
    manifest whose files are lost. Missing parent folders are made.
    Raises PipelineError where the folder cannot be made or written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        make_folder(path.parent)
        file = open(partial, mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else "")
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with file:
            yield file
        put_in_place(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove(partial)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Do what `atomic` does, for libraries that need a path. Yields the path of the hidden file to write to.

    The hidden file has the same suffix as `path`, because some libraries choose the format by it.
    """
    path = Path(path)
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        make_folder(path.parent)
        yield partial
        put_in_place(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove(partial)


def _remove(partial: Path) -> None:
    """Remove a file that was not finished. If the disk refuses this, too, the first error is the one to be told."""
    with suppress(OSError):
        partial.unlink(missing_ok=True)


def target_of_partial(name: str) -> str | None:
    """Return the name of the file that `atomic` or `atomic_path` writes under this hidden name, None for another."""
    found = PARTIAL.fullmatch(name)
    return (found[1] or found[2]) if found else None


def put_in_place(partial: Path, target: Path) -> None:
    """Give a file that was written and closed its final name in the same folder.

    When this returns, both the bytes and the name are on the disk. Raises OSError if that fails.
    """
    _sync(partial)
    os.replace(partial, target)
    _sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents. When this returns, their names are on the disk. Raises OSError if that fails."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        _sync_folder(path.parent)


def _sync(path: Path, flags: int = 0) -> None:
    handle = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk.

    Some network file systems cannot do this for a folder, and a folder may be writable but not readable. Neither is an
    error.
    """
    try:
        _sync(folder, os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF, errno.ENOSYS):
            raise


def cannot_write(path: Path, error: OSError) -> PipelineError:
    """Make the error for a path that cannot be written. All such errors have the same words."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        # One of the names above it is a file, so neither permissions nor space would help.
        for parent in Path(path).parents:
            if os.path.lexists(parent) and not parent.is_dir():
                return PipelineError(
                    f"cannot be written, because {parent} is no folder", where=path, remedy=OTHER_FOLDER
                )
    return PipelineError(f"cannot be written ({error.strerror or error})", where=path, remedy=CHECK_FOLDER)


def cannot_read(path: Path | str, error: OSError) -> PipelineError:
    """Make the error for a file that cannot be read. All such errors have the same words."""
    remedy = "check that the file exists and that you may read it, or name another file"
    return PipelineError(f"cannot be read ({error.strerror or error})", where=path, remedy=remedy)


def refuse_special(path: Path) -> None:
    """Raise PipelineError for a folder, a pipe or a device, because reading a pipe or a device may never end.

    A path that does not exist is accepted.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise PipelineError(f"is {kind} and no file", where=path, remedy="name a file")


def expanded(path: str) -> str:
    """Replace a leading `~`, `$VAR` and `${VAR}` in a path of the config, as a shell does.

    Raises ValueError for a variable that is not set or is empty, for a `$` that is not the start of a variable, and for
    an unknown user.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1].strip("{}")
        if not os.environ.get(name):
            raise ValueError(f"the variable {name} is not set here: set it, or write the path out")
        return os.environ[name]

    if "$" in VARIABLE.sub("", path):
        raise ValueError("holds a `$` that begins no variable: write $NAME or ${NAME}, or rename the folder")
    whole = os.path.expanduser(VARIABLE.sub(value, path))
    if whole.startswith("~"):
        raise ValueError("begins with `~` and names no home folder here: write the path out")
    return whole


def open_text(path: Path | str) -> IO[str]:
    """Open UTF-8 text that a user may have edited, line ends as they are: a byte-order mark, which some editors put
    before the first word, is skipped. Raises OSError; reading raises UnicodeDecodeError for other encodings.
    """
    return open(path, encoding="utf-8-sig", newline="")


def write_json(path: Path | str, value: object) -> None:
    """Write JSON atomically: sorted keys, two-space indent, final newline, so that equal values give equal bytes."""
    with atomic(path) as file:
        file.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path | str, remedy: str = "correct it, or name another file") -> Any:
    """Read JSON, a byte-order mark skipped.

    remedy: what a user can do about a file that is no JSON; only who knows that a stage wrote the file may say
    "delete". Raises PipelineError for a missing file, for text that is no JSON (with the line), and for JSON that is
    nested too deeply.
    """
    try:
        with open_text(path) as file:
            value = json.loads(file.read())
    except OSError as error:
        raise cannot_read(path, error) from error
    except RecursionError as error:
        raise PipelineError(limits.TOO_DEEP, where=path, remedy=remedy) from error
    except ValueError as error:
        raise PipelineError(f"is no JSON ({error})", where=path, remedy=remedy) from error
    if limits.is_too_deep(value):
        raise PipelineError(limits.TOO_DEEP, where=path, remedy=remedy)
    return value


def sha256(path: Path | str) -> str:
    """Compute the SHA-256 of a file, in hexadecimal. Raises PipelineError if the file cannot be read."""
    return digest(path, "sha256")


def digest(path: Path | str, algorithm: str) -> str:
    """Compute the digest of a file, in hexadecimal.

    algorithm: any name that hashlib knows, or `git-blob` (SHA-1 of `blob <size>\\0` and the content).
    The reading of a big file takes minutes and is shown. Raises PipelineError if the file cannot be read.
    """
    path = Path(path)
    try:
        if algorithm == "git-blob":
            state = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        else:
            state = hashlib.new(algorithm, usedforsecurity=False)
        with open(path, "rb") as file:
            for chunk in read_shown(file, f"reading {printable(path.name)}"):
                state.update(chunk)
    except OSError as error:
        raise cannot_read(path, error) from error
    work_record.note("hashed", path=path)
    return state.hexdigest()


def read_shown(file: IO[bytes], what: str) -> Iterator[bytes]:
    """Yield the bytes of a file in chunks, and show how far it is where the file is big. what: names the work."""
    size = os.fstat(file.fileno()).st_size
    if size < SHOWN_BYTES:
        yield from iter(lambda: file.read(CHUNK_BYTES), b"")
        return
    from pipeline.progress import Progress  # most files are small, and most commands need no progress line

    with Progress(size, "B", what) as shown:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            shown.add(len(chunk))
