"""Faults of the machine at a stage: kills, two at once, the clock, disks, limits and memory."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fault_chain import LONGEST_S, Chain, killed_at, no_memory_left, nothing, when_work_begins
from fault_outcome import AGAIN, EQUAL, JOBS, must_be_equal, refused, undo

from pipeline.memory import FULL

DAY_S = 86_400


def kill(stage: str, chain: Chain, dice: random.Random) -> str:
    """Kill the job at moments between two operations on files, and at moments of the clock."""
    undo(chain, stage)
    for _ in range(4):
        chain.run(chain.job(JOBS[stage]), killed_at(dice.randrange(60)))
    for _ in range(2):
        chain.wait(chain.start(chain.job(JOBS[stage])), dice.uniform(0.02, 0.6), kill=True)
    must_be_equal(chain, JOBS[stage])
    return AGAIN


def two_at_once(stage: str, chain: Chain, dice: random.Random) -> str:
    """Start the job while another process does the same work."""
    undo(chain, stage)
    held = chain.folder / "held"

    def hold() -> None:
        held.touch()
        os.kill(os.getpid(), signal.SIGSTOP)

    first = chain.start(chain.job(JOBS[stage]), when_work_begins(hold))
    end = time.monotonic() + LONGEST_S
    while not held.exists():
        assert time.monotonic() < end, f"it did not come to that: {chain.wait(first, 0, kill=True).said}"
        time.sleep(0.002)
    held.unlink()
    second = chain.start(chain.job(JOBS[stage]))
    if stage == "fetch":  # it waits for the first
        threading.Timer(0.5, os.kill, (first, signal.SIGCONT)).start()
        assert (chain.wait(second).code, chain.wait(first).code) == (0, 0)
        must_be_equal(chain, JOBS[stage])
        return EQUAL
    ended = chain.wait(second)

    def wait_for_it() -> None:
        os.kill(first, signal.SIGCONT)
        assert chain.wait(first).code == 0

    return refused(chain, ended, wait_for_it, JOBS[stage])


def clock(stage: str, chain: Chain, dice: random.Random) -> str:
    """Date all existing files a day into the future, and let the stage do its work again."""
    undo(chain, stage)
    for path in [*chain.results.rglob("*"), *chain.folder.glob("*.*")]:
        state = path.stat()
        os.utime(path, (state.st_atime + DAY_S, state.st_mtime + DAY_S))
    must_be_equal(chain, all_jobs=True)
    return AGAIN


# What a machine may lack


@contextmanager
def mounted(chain: Chain, *options: str) -> Iterator[None]:
    """Mount another file system at the folder of the results inside the block. This needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if subprocess.run(["mount", *options, str(chain.results)], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", str(chain.results)], check=True)


def full_disk(stage: str, chain: Chain, dice: random.Random) -> str:
    undo(chain, stage)
    kept = chain.results.rename(chain.folder / "kept")
    chain.results.mkdir()
    with mounted(chain, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        subprocess.run(["cp", "-a", f"{kept}/.", str(chain.results)], check=True)
        filler = chain.results / "logs/filler"
        disk = os.statvfs(chain.results)
        filler.write_bytes(bytes(disk.f_bavail * disk.f_frsize))
        return refused(chain, chain.run(chain.job(JOBS[stage])), filler.unlink, JOBS[stage])


def read_only(stage: str, chain: Chain, dice: random.Random) -> str:
    undo(chain, stage)
    with mounted(chain, "--bind", str(chain.results)):
        remount = ["mount", "-o", "remount,bind,{}", str(chain.results)]
        subprocess.run([word.format("ro") for word in remount], check=True)
        ended = chain.run(chain.job(JOBS[stage]))
        return refused(
            chain, ended, lambda: subprocess.run([word.format("rw") for word in remount], check=True), JOBS[stage]
        )


def size_limit(stage: str, chain: Chain, dice: random.Random) -> str:
    """Let no file grow. The harness ends the limit before the last line is written, because a log is a file too."""
    undo(chain, stage)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    return refused(chain, chain.run(chain.job(JOBS[stage]), when_work_begins(limit)), nothing, JOBS[stage])


def quota(stage: str, chain: Chain, dice: random.Random) -> str:
    """Let the disk say that the quota is used up when it is asked to keep a file, as network file systems do."""
    undo(chain, stage)

    def use_up() -> None:
        os.fsync = _no_quota

    return refused(chain, chain.run(chain.job(JOBS[stage]), when_work_begins(use_up)), nothing, JOBS[stage])


def _no_quota(_: int) -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def memory(stage: str, chain: Chain, dice: random.Random) -> str:
    """Let the process have no more memory than when its work begins.

    How far it comes with what Python had in reserve is another thing each time. A library may also crash, which is as
    good as a kill.
    """
    undo(chain, stage)
    ended = chain.run(chain.job(JOBS[stage]), no_memory_left(0))
    assert ended.code <= 0 or (ended.is_refusal and ended.line.endswith(FULL)), ended
    must_be_equal(chain, JOBS[stage])
    return f"{EQUAL}, or refused: `{chain.job(JOBS[stage]).command}: {FULL}`"
