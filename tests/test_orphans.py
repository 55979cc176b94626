"""A killed process leaves no worker behind, and no lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline import locks

POOL = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from pipeline import files, locks, orphans

def work(n):
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece: two workers write into this pipe
    time.sleep(n)

if __name__ == "__main__":
    with locks.lock(sys.argv[1]), ProcessPoolExecutor(2, initializer=orphans.die_with_parent) as pool:
        list(pool.map(work, [600, 600]))
"""


@pytest.fixture
def killed(tmp_path):
    """Return the place of a lock, and the workers of a process that held it and was killed."""
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, str(script), str(tmp_path / "place")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    ) as parent:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        with pytest.raises(locks.BusyError), locks.lock(tmp_path / "place"):
            pass
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    return tmp_path / "place", workers


def test_workers_of_a_killed_process_hold_no_lock_and_end(killed):
    place, workers = killed
    with locks.lock(place):
        pass
    until = time.monotonic() + 20
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, workers))
