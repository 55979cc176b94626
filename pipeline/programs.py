"""Limits of time for work that may hang: for another program, and for a call of a library in this process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread


def answer(command: Sequence[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it printed. Raises TimeoutExpired if it takes longer than the limit.

    The driver of a GPU that is lost can block a program so that not even SIGKILL ends it. So this does not wait for the
    program after it was killed; a thread in the background does.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, complained = process.communicate(timeout=limit_s)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        Thread(target=process.wait, daemon=True).start()
        raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


@contextmanager
def ended_if_stuck(limit_s: float, line: str) -> Iterator[None]:
    """Kill this process if the block takes longer than the limit. The line goes to stderr before.

    A library may loop in its own code and never return to Python, so no signal handler and no thread of this process
    could end it. A forked process watches the block. It does nothing but wait, write and kill, so that the threads that
    it has not inherited do not matter.
    """
    parent = os.getpid()
    watched, watching = os.pipe()
    watcher = os.fork()
    if watcher == 0:
        os.close(watching)
        if not select.select([watched], [], [], limit_s)[0]:
            os.write(2, f"{line}\n".encode())
            os.kill(parent, signal.SIGKILL)
        os._exit(0)
    os.close(watched)
    try:
        yield
    finally:
        os.close(watching)
        os.waitpid(watcher, 0)
