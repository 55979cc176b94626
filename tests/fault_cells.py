"""Every fault of docs/faults.md: what is done to the small workflow, where, and how it may end.

A cell is a fault at a place: a stage, or a kind of file. It has one of three outcomes. After each of them the results
are compared byte by byte with those that nobody disturbed, and what a refusal advises is done before.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from fault_chain import Chain, Ended, killed_at, listed, no_memory_left, nothing, when_work_begins

EQUAL, AGAIN = "finished with equal bytes", "made again"

JOBS = {
    "fetch": "fetch train",
    "annotate": "annotate train",
    "videos": "videos 00001",
    "segment": "segment 00001",
    "extract": "extract 00001 frames224",
    "train": "train seen",
    "predict": "predict seen",
    "score": "score seen",
    "tabulate": "tabulate",
    "draw": "draw seen",
}
"""Stage → the job of it that gets the fault."""

DAY_S = 86_400


@dataclass(frozen=True)
class Cell:
    """A fault at a place. happens: does it to a chain of its own and returns the outcome."""

    fault: str
    place: str
    happens: Callable[[Chain, random.Random], str]

    @property
    def name(self) -> str:
        return f"{self.fault}: {self.place}"

    def outcome(self, chain: Chain) -> str:
        """Let it happen. The moments are drawn by chance, equal in every run."""
        return self.happens(chain, random.Random(self.name))


def undo(chain: Chain, stage: str) -> None:
    """Delete what the job of a stage made, so that it has all its work to do."""
    manifest = chain.folder / chain.job(JOBS[stage]).manifest
    for path in listed(manifest):
        (chain.folder / path).unlink()
    if stage == "train":
        shutil.rmtree(chain.results / "runs/seen")
    manifest.unlink()


def must_be_equal(chain: Chain, first: str = "") -> None:
    """The same commands, from this job on, come to a good end, and no byte of the results differs."""
    ended = chain.again(first)
    assert ended is None, ended
    assert chain.differences() == [], chain.differences()


def refused(chain: Chain, ended: Ended, cure: Callable[[], object], first: str = "") -> str:
    """The outcome of a job that was refused: its line. cure: does what the line advises."""
    assert ended.is_refusal, ended
    cure()
    must_be_equal(chain, first)
    return f"refused: `{plain(chain, ended.line)}`"


def plain(chain: Chain, line: str) -> str:
    """A line without what differs from run to run: the folder, digests, process numbers."""
    line = line.replace(f"{chain.folder}/", "").replace(str(chain.folder), "")
    line = re.sub(r"\b[0-9a-f]{40,64}\b", "DIGEST", line)
    return re.sub(r"\.\d+\.partial", ".N.partial", line).replace("|", "/")


# Kills, two at once, the clock


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
    while not held.exists():
        pass
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
    """Whatever is there was written tomorrow, and the stage has its work to do."""
    undo(chain, stage)
    for path in [*chain.results.rglob("*"), *chain.folder.glob("*.*")]:
        state = path.stat()
        os.utime(path, (state.st_atime + DAY_S, state.st_mtime + DAY_S))
    must_be_equal(chain)
    return AGAIN


# What a machine may lack


@contextmanager
def mounted(chain: Chain, *options: str) -> Iterator[None]:
    """The results on a file system of their own, for a while. Needs root."""
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


def memory(stage: str, chain: Chain, dice: random.Random) -> str:
    undo(chain, stage)
    ended = chain.run(chain.job(JOBS[stage]), no_memory_left(0))
    if ended.code == 0:
        must_be_equal(chain, JOBS[stage])
        return EQUAL
    return refused(chain, ended, nothing, JOBS[stage])


# Files that change or go

KINDS = {
    "a fetched file": ("results/resources/train/train.jsonl", "annotate"),
    "a fetched video": ("results/resources/videos/files/BBBBBBBBBBB_0.0_8.0.mp4", "extract"),
    "annotations": ("results/annotations/qvhighlights/train.jsonl", "train"),
    "the account of videos": ("results/videos/qvhighlights/00001.csv", "segment"),
    "clips": ("results/segments/qvhighlights/2s/00001.csv", "extract"),
    "a store": ("results/features/qvhighlights/2s/clip-vit-b32/00001.h5", "train"),
    "weights": ("results/runs/seen/all-s2017/selected.safetensors", "predict"),
    "a learning curve": ("results/runs/seen/all-s2017/log.csv", "draw"),
    "a run's card": ("results/runs/seen/all-s2017/card.json", "predict"),
    "predictions": ("results/runs/seen/all-s2017/predictions/val-selected.jsonl", "score"),
    "metrics": ("results/metrics/seen/all-s2017/val-selected.json", "tabulate"),
    "a table": ("results/tables/table1.csv", ""),
    "a figure": ("results/figures/seen.svg", ""),
}
"""Kind of file → one of its kind, and the stage that reads it."""

MANIFESTS = {f"the manifest of {stage}": job for stage, job in JOBS.items()}
STARTS = {
    "the account of videos": "videos 00001",
    "a fetched video": "videos 00001",
    "clips": "segment",
    "a store": "extract",
    "weights": "train seen",
    "a learning curve": "train seen",
    "a run's card": "train seen",
    "predictions": "predict seen",
    "metrics": "score seen",
    "a table": "tabulate",
    "a figure": "draw seen",
}
"""Kind of file → the first job that has to do with it. Those before it have no work, whatever happens to the file."""


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path, dice: random.Random) -> None:
    """Turn one bit round, as a disk does: size and time stay."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def damage(how: str, path: Path, dice: random.Random) -> None:
    """Do it to one file."""
    if how == "one bit flipped":
        flip(path, dice)
    else:
        {"deleted": delete, "truncated": truncate}[how](path)


def damaged(how: str, kind: str, chain: Chain, dice: random.Random) -> str:
    """Damage a file while nothing runs, and start the same commands again."""
    path = chain.folder / (KINDS[kind][0] if kind in KINDS else chain.job(MANIFESTS[kind]).manifest)
    damage(how, path, dice)
    first = STARTS.get(kind, "")
    ended = chain.again(first)
    if ended is not None:
        assert "delete it and run" in ended.line, ended
        return refused(chain, ended, path.unlink, first)
    assert chain.differences() == [], chain.differences()
    return AGAIN


def read_when_damaged(how: str, kind: str, chain: Chain, dice: random.Random) -> str:
    """Damage a file just before the one stage that reads it begins to work."""
    name, reader = KINDS[kind]
    undo(chain, reader)
    damage(how, chain.folder / name, dice)
    ended = chain.run(chain.job(JOBS[reader]))

    def advised() -> None:
        assert any(advice in ended.line for advice in ADVICE), ended
        (chain.folder / name).unlink(missing_ok=True)
        if "manifest under videos/" in ended.line:
            chain.forget("videos 00001")

    return refused(chain, ended, advised, STARTS.get(kind, ""))


ADVICE = ("delete it and run", "which makes it again", "manifest under videos/")
HOWS = ("deleted", "truncated", "one bit flipped")
AT_STAGES = {
    "kill -9 at random moments": kill,
    "two at once": two_at_once,
    "the clock set back by a day": clock,
    "disk full": full_disk,
    "results that are read-only": read_only,
}
WITHOUT_THREADS = ("fetch", "annotate", "segment")
"""Stages that start no thread. Python 3.11 waits for ever for a thread that finds no memory to begin with."""

CELLS = [
    *(Cell(fault, stage, partial(happens, stage)) for fault, happens in AT_STAGES.items() for stage in JOBS),
    *(Cell("no memory left when the work begins", stage, partial(memory, stage)) for stage in WITHOUT_THREADS),
    *(Cell(how, kind, partial(damaged, how, kind)) for how in HOWS for kind in KINDS if kind != "a fetched video"),
    *(Cell("one bit flipped", kind, partial(damaged, "one bit flipped", kind)) for kind in MANIFESTS),
    *(
        Cell(f"{how} just before it is read", kind, partial(read_when_damaged, how, kind))
        for how in ("deleted", "one bit flipped")
        for kind, (_, reader) in KINDS.items()
        if reader
    ),
]
"""A fetched video is looked at again when a stage reads it."""
