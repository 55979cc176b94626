"""Locks between processes: a file that one process holds, and that the kernel releases when the process dies."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import files
from pipeline.errors import PipelineError


class BusyError(PipelineError):
    """Another process holds a lock."""


@contextmanager
def lock(place: Path | str, *, wait: bool = False, keep: bool = True, quiet: bool = False) -> Iterator[bool]:
    """Hold the lock file `{place}.lock` during the block. The kernel releases it when the process dies.

    Yields whether another process held the lock before.
    wait: wait for that process and say so on stderr, instead of raising a BusyError at once.
    quiet: do not say so, because the wait is short and nobody can do anything about it.
    keep: leave the empty lock file behind. If it is false, the file is removed at the end of the block.
    A link with the name of the lock file is never followed.
    Raises PipelineError if the file system has no locks, or if the lock file cannot be made.
    """
    path = Path(f"{place}.lock")
    waited = False
    while True:
        handle = _open_lock(path)
        _OPEN_LOCKS.add(handle)
        try:
            waited = _take(handle, path, place, wait=wait, quiet=quiet) or waited
            if _is_still_there(handle, path):
                break
        except BaseException:
            _close_lock(handle)
            raise
        # The process that held the lock before removed the file. Others will lock a new file of that name, so this lock
        # guards nothing, and the loop tries again.
        _close_lock(handle)
    try:
        yield waited
    finally:
        if not keep:
            # The file is deleted while the lock is still held, so that a waiting process sees that it is gone.
            path.unlink(missing_ok=True)
        _close_lock(handle)


_OPEN_LOCKS: set[int] = set()
"""File descriptors of the lock files that this process has open."""


def _forget_locks() -> None:
    """Close the lock files of the parent in a process that was forked. They would hold the lock after the parent's
    death."""
    while _OPEN_LOCKS:
        os.close(_OPEN_LOCKS.pop())


os.register_at_fork(after_in_child=_forget_locks)


def _close_lock(handle: int) -> None:
    if handle in _OPEN_LOCKS:  # a forked process has closed it already
        _OPEN_LOCKS.remove(handle)
        os.close(handle)


def _open_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if path.is_symlink():
            remedy = "remove that link: a lock is a file of its own"
            raise PipelineError("is a link where a lock has to be", where=path, remedy=remedy) from error
        raise files.cannot_write(path, error) from error


def _take(handle: int, path: Path, place: Path | str, *, wait: bool, quiet: bool) -> bool:
    """Lock an open file. Returns whether that took waiting."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if not wait:
            remedy = f"wait for it, or see who holds it: fuser {path}"
            raise BusyError("another process is at work here", where=place, remedy=remedy) from error
    except OSError as error:
        raise _no_locks(path, error) from error
    else:
        return False
    if not quiet:
        print(f"{place}: another process is at work here; waiting for it", file=sys.stderr, flush=True)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        raise _no_locks(path, error) from error
    return True


def _no_locks(path: Path, error: OSError) -> PipelineError:
    remedy = "put the results on a file system with locks (for a shared one: ask for the mount option `flock`)"
    return PipelineError(f"cannot be locked ({error.strerror})", where=path, remedy=remedy)


def _is_still_there(handle: int, path: Path) -> bool:
    """Tell whether the path still names the file that is open here. Another process may have removed or replaced it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
