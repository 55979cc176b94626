"""A hang in another process, whose time limit passes at once. So no test waits for a limit, and none sets a limit so
short that good work beside the hang could miss it on a busy machine."""

from __future__ import annotations

import signal
import time


def hang() -> None:
    """Hang until the time limit of this process ends it. The rest of the limit is made short. Raises RuntimeError if
    there is no limit."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0.01)
    if not left:
        raise RuntimeError("this work has no time limit")
    while True:
        time.sleep(1)
