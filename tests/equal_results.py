"""Compares two results folders file by file, and lists the files that must be equal and differ."""

from __future__ import annotations

from pathlib import Path

from pipeline import files

NOT_COMPARED = (
    "logs",
    ".lock",
    ".begun",
    "seconds.csv",
    "events.out.tfevents",
    "sources.csv",
    "state.pt",
    ".snakemake",
    "commit.txt",
    "report/",
)
"""Parts of the paths of files that contain times or addresses, or are empty. They need not be equal."""


def contents(results: Path) -> dict[str, str]:
    """Return path below results → SHA-256, for every file that must be equal."""
    paths = [path for path in sorted(results.rglob("*")) if path.is_file()]
    names = {str(path.relative_to(results)): path for path in paths}
    return {name: files.sha256(path) for name, path in names.items() if not any(part in name for part in NOT_COMPARED)}


def differences(quiet: dict[str, str], disturbed: dict[str, str]) -> list[str]:
    """Return a line for each file that differs, sorted."""
    differ = sorted(name for name in quiet.keys() | disturbed.keys() if quiet.get(name) != disturbed.get(name))
    return [
        f"{name} ({'only one has it' if (name in quiet) != (name in disturbed) else 'other bytes'})" for name in differ
    ]
