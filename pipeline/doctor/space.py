"""Compares free space with what the run will write (the estimate), less what is under the results already."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.cost.estimate import ON_DISK, estimate
from pipeline.doctor.case import Case
from pipeline.doctor.findings import Finding, named, note, ok, problem
from pipeline.errors import PipelineError

DISK, INODES, TEMPORARY = "disk", "files on disk", "temporary files"
GB = 1e9
LEAST_BYTES = 1e9
"""Bytes that are needed in addition to the estimate, or without one: logs, tables, Snakemake's own records."""
LEAST_TEMPORARY_BYTES = 2e8
"""Largest number of bytes of temporary files: those of matplotlib and numba, and pieces of a video of YouTube."""
LEAST_FILES = 50_000
"""A number that is larger than the number of files in the results of the paper: its videos, and the files of each shard
and run."""


def check(case: Case) -> Iterator[Finding]:
    """Yield findings about the space for results and for temporary files."""
    place = existing(case.results)
    yield _disk(case, place)
    yield from _inodes(place)
    yield _temporary()


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _disk(case: Case, place: Path) -> Finding:
    free, total, unsized = shutil.disk_usage(place).free, 0.0, []
    if case.needs is not None and case.table is not None:
        try:
            found = estimate(case.needs.cfg, case.table)
        except PipelineError as error:
            return note(DISK, f"{free / GB:,.1f} GB free; no estimate ({error})", "watch the free space of the disk")
        total = GB * sum(quantity.total for quantity in found.costs if quantity.label == ON_DISK)
        unsized = [*found.unsized, *found.unknown]
    held = bytes_below(case.results)
    written = max(0.0, total - held)
    left_out = f", without {named(unsized)}, of unknown size" if unsized else ""
    text = f"{free / GB:,.1f} GB free at {place}; the run writes about {written / GB:,.1f} GB more{left_out}"
    text += f", and {LEAST_BYTES / GB:g} GB should be free beside"
    if free < written + LEAST_BYTES:
        return problem(DISK, text, "make room there, or name another disk: set `results` in config.yaml")
    return ok(DISK, text)


def bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder. Files that are removed in the meantime do not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def _inodes(place: Path) -> Iterator[Finding]:
    """Yield a finding if a disk has room for few files only. Many file systems have no limit, and then there is no
    finding."""
    state = os.statvfs(place)
    if state.f_files and state.f_favail < LEAST_FILES:
        what = f"{place} has room for {state.f_favail:,} more files; the paper's results are up to {LEAST_FILES:,}"
        yield note(INODES, what, "make room, or set `results` to a folder of another file system")


def _temporary() -> Finding:
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        place = Path(tempfile.gettempdir())
        free = shutil.disk_usage(place).free
    except OSError as error:
        return problem(TEMPORARY, f"no folder for them can be written ({error})", "set TMPDIR to a folder that can be")
    text = f"{free / GB:,.1f} GB free at {place}"
    if free < LEAST_TEMPORARY_BYTES:
        return problem(
            TEMPORARY,
            f"{text}, and up to {LEAST_TEMPORARY_BYTES / GB:.1f} GB are used",
            "set TMPDIR to a folder with room",
        )
    return ok(TEMPORARY, text)
