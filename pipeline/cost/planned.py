"""Counts the jobs that the workflow would run, by a dry run of Snakemake."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

WORKFLOW = Path("workflow/Snakefile")
TARGETS = ("all_tables", "figures")
PEERS = "peers"
"""The target that makes the experiments under `peers`."""


def planned_jobs(config_file: Path, entries: Sequence[str] = ()) -> str:
    """Return one line: the jobs per rule on a machine that has nothing yet, or the reason why they were not counted.

    entries: `KEY=VALUE`, the changes of the config.
    """
    jobs = _jobs(config_file, entries, TARGETS)
    return jobs if isinstance(jobs, str) else _line(f"Jobs of `snakemake {' '.join(TARGETS)}`", jobs)


def jobs_of_peers(config_file: Path, entries: Sequence[str] = ()) -> str:
    """Return one line: the jobs per rule that the target `peers` adds to those of `planned_jobs`, or why they were not
    counted."""
    before, after = _jobs(config_file, entries, TARGETS), _jobs(config_file, entries, (*TARGETS, PEERS))
    if isinstance(before, str) or isinstance(after, str):
        return before if isinstance(before, str) else str(after)
    added = {rule: count - before.get(rule, 0) for rule, count in after.items()}
    return _line(f"Jobs that `snakemake {PEERS}` adds", {rule: count for rule, count in added.items() if count})


def _jobs(config_file: Path, entries: Sequence[str], targets: tuple[str, ...]) -> dict[str, int] | str:
    """Return rule → number of jobs of a dry run on a machine that has nothing yet, or why it was not made."""
    if find_spec("snakemake") is None:
        return "Jobs: not counted (no Snakemake here)."
    if not WORKFLOW.exists():
        return "Jobs: not counted (no workflow here; run from the repository's root)."
    with tempfile.TemporaryDirectory() as empty:
        plan = [sys.executable, "-m", "snakemake", "-n", *targets, "--configfile", str(config_file)]
        others = [entry for entry in entries if not entry.startswith("results=")]
        done = subprocess.run(
            [*plan, "--config", *others, f"results={empty}"],
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
        )
    jobs = jobs_per_rule(done.stdout + done.stderr)
    if done.returncode or not jobs:
        return f"Jobs: not counted (`snakemake -n {' '.join(targets)}` ended with code {done.returncode})."
    return jobs


def _line(what: str, jobs: dict[str, int]) -> str:
    each = ", ".join(f"{rule} {count}" for rule, count in jobs.items())
    return f"{what}: {sum(jobs.values())} ({each})."


def jobs_per_rule(plan: str) -> dict[str, int]:
    """Read rule → number of jobs from the output of a dry run."""
    table = plan.partition("Job stats:")[2].partition("\ntotal")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+) *$", table, re.MULTILINE)}
