"""The jobs that the workflow would run are counted by a dry run of Snakemake itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

WORKFLOW = Path("workflow/Snakefile")
TARGETS = ("all_tables", "figures")


def planned_jobs(config_file: Path) -> str:
    """Return one line: the jobs per rule on a machine that has nothing yet, or the reason why they were not counted."""
    if find_spec("snakemake") is None:
        return "Jobs: not counted (no Snakemake here)."
    if not WORKFLOW.exists():
        return "Jobs: not counted (no workflow here; run from the repository's root)."
    with tempfile.TemporaryDirectory() as empty:
        plan = [sys.executable, "-m", "snakemake", "-n", *TARGETS, "--configfile", str(config_file)]
        done = subprocess.run(
            [*plan, "--config", f"results={empty}"], capture_output=True, text=True, check=False, encoding="utf-8"
        )
    jobs = counted(done.stdout + done.stderr)
    if done.returncode or not jobs:
        return f"Jobs: not counted (`snakemake -n {' '.join(TARGETS)}` ended with code {done.returncode})."
    each = ", ".join(f"{rule} {count}" for rule, count in jobs.items())
    return f"Jobs of `snakemake {' '.join(TARGETS)}`: {sum(jobs.values())} ({each})."


def counted(plan: str) -> dict[str, int]:
    """Read rule → number of jobs from the output of a dry run."""
    table = plan.partition("Job stats:")[2].partition("\ntotal")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+) *$", table, re.MULTILINE)}
