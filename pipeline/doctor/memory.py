"""Compares the memory of this machine, or of the container around this process, with the needs of the planned jobs."""

from __future__ import annotations

from pathlib import Path

from pipeline.doctor.findings import Finding, note, ok

NAME = "memory"
GB = 1e9
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""The files in which Linux gives the memory limit of a container, in its two versions of control groups."""
MEMINFO = Path("/proc/meminfo")


def compared(asked_mb: int, by: str) -> Finding:
    """Compare the memory with the largest job of the plan. asked_mb: the memory that this job asks for. by: its
    rule."""
    total = memory_bytes()
    if total is None:
        return note(
            NAME, "this system does not tell how much memory there is", f"see that a job of `{by}` has {asked_mb} MB"
        )
    text = f"{total / GB:,.1f} GB here; the largest job ({by}) asks for {asked_mb / 1e3:,.1f} GB"
    if total < asked_mb * 1e6:
        return note(
            NAME, text, "run few jobs at a time: --cores 1; a job that is killed for memory is named at the end"
        )
    return ok(NAME, text)


def memory_bytes() -> int | None:
    """Return the memory that processes here may use, in bytes, or None if it is unknown."""
    found = [int(words) for path in LIMITS if (words := _text(path).strip()).isdigit()]
    found += [1024 * int(line.split()[1]) for line in _text(MEMINFO).splitlines() if line.startswith("MemTotal:")]
    return min(found, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
