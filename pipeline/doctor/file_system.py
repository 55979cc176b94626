"""Checks the file system of the results: writing, renaming, locks between processes, names, and its clock.

The checks use a hidden folder that is removed at the end. It is in the results folder or, if that does not exist yet,
in the nearest folder above it. How other machines see a shared file system cannot be checked from one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipeline import files, locks, programs
from pipeline.acquire.copying import reflinked
from pipeline.doctor.case import CHECKOUT, Case
from pipeline.doctor.findings import Finding, note, ok, problem
from pipeline.doctor.space import existing
from pipeline.errors import PipelineError
from pipeline.nouns import counted

WRITING, LOCKS, NAMES, CLOCK = "results folder", "locks", "file names", "clock"
PREFIX = ".doctor-"
"""The beginning of the name of the hidden folder."""
SHARED = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "fuse.sshfs", "ceph", "9p", "afs", "glusterfs")
"""Types of file systems that other machines can share."""
LOCK_S = 60.0
"""Seconds that the other process may take to try the lock. It takes a tenth of one; a slow file system takes longer."""
SKEW_S = 2.0
"""Seconds by which the clocks of this machine and of the file system may differ."""
BEHIND_S = 86_400.0
"""Seconds by which this machine's clock may be behind the newest of our files. Beyond a day, servers' certificates are
refused as not valid yet."""
_TRY_LOCK = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pipeline import files, locks
from pipeline.nouns import counted
try:
    with locks.lock(Path(sys.argv[2])):
        print("taken")
except locks.BusyError:
    print("busy")
"""


def check(case: Case) -> Iterator[Finding]:
    """Say whether results can be written and guarded here, and whether the clocks agree."""
    place = existing(case.results)
    if in_the_way := [path for path in (case.results, *case.results.parents) if path.exists() and not path.is_dir()]:
        yield problem(WRITING, f"{in_the_way[0]} is no folder", "remove it, or set `results` to another folder")
        return
    try:
        folder = tempfile.TemporaryDirectory(dir=place, prefix=PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        remedy = "allow this user to write there, or set `results` to another folder"
        yield problem(WRITING, f"{place} cannot be written ({error.strerror})", remedy)
        return
    with folder as name:
        tried = Path(name)
        yield _writing(tried, place)
        yield _locks(tried, place)
        yield _names(tried)
        yield from _skew(tried)
    yield _clock(case)


def _writing(folder: Path, place: Path) -> Finding:
    """Write a file, flush it to the disk, rename it over another file, and find out what else the file system can
    do."""
    target = folder / "file"
    try:
        with files.atomic(target) as file:
            file.write("old")
        with files.atomic(target) as file:
            file.write("new")
        if target.read_text(encoding="utf-8") != "new" or len(list(folder.iterdir())) != 1:
            remedy = "set `results` to a folder of another file system"
            return problem(WRITING, f"{place}: a file that was renamed over another one did not replace it", remedy)
    except PipelineError as error:
        return problem(WRITING, f"{place}: {error.what}", error.remedy or files.CHECK_FOLDER)
    able = [what for what, can in (("hard links", _links(target)), ("reflinks", _makes_reflinks(target))) if can]
    kind = type_of(place)
    shared = ", shared with other machines perhaps" if kind in SHARED else ""
    extras = f"; {' and '.join(able)} too" if able else ""
    return ok(WRITING, f"{place} ({kind}{shared}): writing, fsync and renaming work{extras}")


def _links(target: Path) -> bool:
    with suppress(OSError):
        os.link(target, target.with_name("link"))
        return True
    return False


def _makes_reflinks(target: Path) -> bool:
    with suppress(OSError):
        return reflinked(target, target.with_name("clone"))
    return False


def _locks(folder: Path, place: Path) -> Finding:
    """Take a lock, try to take it in another process, and try again after it was released."""
    guarded = folder / "guarded"
    try:
        with locks.lock(guarded):
            while_held = _tried(guarded)
        after = _tried(guarded)
    except PipelineError as error:
        return problem(LOCKS, f"{place}: {error.what}", error.remedy or "ask for a file system with locks")
    remedy = "set `results` to a file system with locks (for a shared one: ask for the mount option `flock`)"
    if while_held == "taken":
        what = f"{place}: two processes held one lock at a time, so two jobs could write the same results"
        return problem(LOCKS, what, remedy)
    if (while_held, after) != ("busy", "taken"):
        return problem(LOCKS, f"{place}: another process could not try a lock (`{while_held}`, `{after}`)", remedy)
    if type_of(place) in SHARED:
        what = "work between processes of this machine; whether they do between machines was not tried"
        return note(LOCKS, what, "run one Snakemake at a time on these results")
    return ok(LOCKS, "a second process waits for the first")


def _tried(guarded: Path) -> str:
    """Let another process try to take a lock. Returns `taken`, `busy`, or the end of its output."""
    command = [sys.executable, "-c", _TRY_LOCK, str(CHECKOUT), str(guarded)]
    try:
        told = programs.answer(command, LOCK_S)
    except subprocess.TimeoutExpired:
        return f"no answer for {LOCK_S:g} s"
    return told.stdout.strip() or told.stderr.strip()[-100:]


def _names(folder: Path) -> Finding:
    """Check that names which differ only by case are two files, because some vids of YouTube differ only by case."""
    (folder / "Case").touch()
    if (folder / "case").exists():
        what = "this file system does not tell small from capital letters, and vids may differ only by them"
        return note(NAMES, what, "set `results` to a file system that does, if your dataset has such vids")
    return ok(NAMES, "small and capital letters are told apart")


def _skew(folder: Path) -> Iterator[Finding]:
    """Compare the time that the file system gives a new file with this machine's clock, and find its resolution."""
    before = time.time()
    new = folder / "new"
    new.touch()
    given, after = new.stat().st_mtime, time.time()
    off = given - after if given > after else min(0.0, given - before)
    if abs(off) > SKEW_S:
        what = f"files get times that are {abs(off):,.0f} s {'ahead of' if off > 0 else 'behind'} this machine's clock"
        yield note(CLOCK, what, "let both machines ask a time server; until then Snakemake may do work twice")
    os.utime(new, ns=(0, 1_234_567_891))
    if new.stat().st_mtime_ns % 1_000_000_000 == 0:
        what = "this file system stores whole seconds only"
        yield note(CLOCK, what, "go on: digests decide, and Snakemake may look at some jobs once more")


def _clock(case: Case) -> Finding:
    """Compare this machine's clock with the time of the newest of our files, which cannot be in the future."""
    newest, path = max(_times(case), default=(0.0, None))
    behind = newest - time.time()
    if behind <= SKEW_S:
        return ok(CLOCK, time.strftime("%Y-%m-%d %H:%M:%S UTC, later than all files here", time.gmtime()))
    what = f"{_length(behind)} behind the time of {path}: it was set back, or another machine's is ahead"
    if behind > BEHIND_S:
        return problem(
            CLOCK, what + "; servers' certificates would be refused", "set the clock (timedatectl), then run again"
        )
    return note(CLOCK, what, "let this machine ask a time server; until then Snakemake may do work twice")


def _times(case: Case) -> Iterator[tuple[float, Path]]:
    """Yield the time of each manifest, and of each file of the package."""
    for path in (*case.layout.manifests(), *(CHECKOUT / "pipeline").glob("*.py")):
        with suppress(OSError):
            yield path.stat().st_mtime, path


def _length(seconds: float) -> str:
    return counted(round(seconds / BEHIND_S), "day") if seconds > BEHIND_S else f"{seconds:,.0f} s"


def type_of(place: Path) -> str:
    """Return the type of the file system that a folder lies on, as the system calls it, or `unknown`."""
    best, kind = -1, "unknown"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return kind
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mounted = fields.split()[4].replace("\\040", " ")
        if place.is_relative_to(mounted) and len(mounted) >= best:
            best, kind = len(mounted), rest.split()[0]
    return kind
