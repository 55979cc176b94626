"""Runs another program, with a limit of time that holds even if nothing can end the program."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
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
