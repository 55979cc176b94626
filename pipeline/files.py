"""Files as this project treats them: written whole or not at all, known by digest, guarded by locks."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pipeline.errors import PipelineError

CHUNK_BYTES = 1 << 20
MADE_HERE = "delete it and run again"
"""What to do about a damaged file that one of our stages wrote; of a user's file never said."""
VARIABLE = re.compile(r"\$([A-Za-z_]\w*|\{[A-Za-z_]\w*\})")
"""A variable of the environment in a path."""


class BusyError(PipelineError):
    """Another process holds a lock."""


@contextmanager
def atomic(path: Path | str, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that appears under `path` only when the block ends without an error.

    The bytes go to a hidden neighbour and are renamed over `path` after an fsync, so a reader
    (or a killed job) never sees half a file. Missing parent folders are made.
    Raises PipelineError where the folder cannot be made or written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(partial, mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else "")
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Like `atomic`, for libraries that want a path: yields the hidden neighbour (same suffix) to write to."""
    path = Path(path)
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> PipelineError:
    """The one message for every path that cannot be written."""
    return PipelineError(
        f"cannot be written ({error.strerror or error})", where=path, remedy="check that folder's permissions and space"
    )


def cannot_read(path: Path | str, error: OSError) -> PipelineError:
    """The one message for every file that cannot be read."""
    return PipelineError(f"cannot be read ({error.strerror or error})", where=path, remedy="make or name that file")


def expanded(path: str) -> str:
    """A path of the config with a leading `~`, `$VAR` and `${VAR}` replaced, as a shell does.

    Raises ValueError for a variable that is not set or empty, for a `$` that begins none, and for an unknown user.
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
    """Read JSON, a byte-order mark skipped. Raises PipelineError for a missing file or text that is no JSON (with the
    line). remedy: what a user can do about the latter; only who knows that a stage wrote the file may say "delete".
    """
    try:
        with open_text(path) as file:
            return json.loads(file.read())
    except OSError as error:
        raise cannot_read(path, error) from error
    except (ValueError, RecursionError) as error:
        raise PipelineError(f"is no JSON ({error})", where=path, remedy=remedy) from error


def sha256(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes. Raises PipelineError where it cannot be read."""
    return digest(path, "sha256")


def digest(path: Path | str, algorithm: str) -> str:
    """Hex digest of a file: any hashlib algorithm, or `git-blob` (SHA-1 of `blob <size>\\0` + content)."""
    path = Path(path)
    try:
        if algorithm == "git-blob":
            state = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        else:
            state = hashlib.new(algorithm, usedforsecurity=False)
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                state.update(chunk)
    except OSError as error:
        raise PipelineError(
            f"cannot be read ({error.strerror})", where=path, remedy="make or name that file"
        ) from error
    return state.hexdigest()


@contextmanager
def lock(place: Path | str, *, wait: bool = False) -> Iterator[None]:
    """Hold `{place}.lock` for the length of the block; the kernel lets go of it when the process dies.

    Raises BusyError at once when another process holds it, unless `wait`; PipelineError where there are no locks.
    """
    path = Path(f"{place}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path, "a")
    except OSError as error:
        raise cannot_write(path, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = f"wait for it, or see who holds it: fuser {path}"
            raise BusyError("another process is at work here", where=place, remedy=remedy) from error
        except OSError as error:
            remedy = "put the results on a file system with locks (for a shared one: ask for the mount option `flock`)"
            raise PipelineError(f"cannot be locked ({error.strerror})", where=path, remedy=remedy) from error
        yield
