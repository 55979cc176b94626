"""Finds what the run would do first, by a dry run of Snakemake, and whether another Snakemake is at work here.

A dry run takes no lock and changes no results. It is the same plan as that of `snakemake -n`: what is stale, what is
missing, and in which order.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline import programs, snakemake_records
from pipeline.cost.planned import jobs_per_rule
from pipeline.doctor import memory
from pipeline.doctor.case import CHECKOUT, Case
from pipeline.doctor.findings import Finding, note, ok, problem
from pipeline.errors import printable
from pipeline.nouns import counted

NAME, LOCK = "plan", "snakemake"
PLAN_S = 240.0
"""Seconds that a plan may take. The plan of the whole paper takes five seconds on a machine without other work."""
SHOWN = 3
"""Largest number of jobs that the first step names."""

_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?: {4}.*\n)+)", re.MULTILINE)
_MEMORY = re.compile(r"\bmem_mb=(\d+)")


@dataclass(frozen=True)
class Job:
    """A job of the plan. about: its wildcards as Snakemake prints them, `name=clip-vit-b32`."""

    rule: str
    about: str
    memory_mb: int


def check(case: Case) -> Iterator[Finding]:
    """Yield findings about the first jobs, and about the memory of the largest job."""
    yield from at_work()
    if case.needs is None:
        return
    if find_spec("snakemake") is None:
        yield problem(NAME, "Snakemake is not installed", "install this environment: `make install`")
        return
    workflow = CHECKOUT / "workflow" / "Snakefile"
    if not workflow.is_file():
        yield note(NAME, "no workflow is beside this package, so nothing is planned", "run the doctor in a checkout")
        return
    yield from planned_steps(case, _command(case, workflow))


def _command(case: Case, workflow: Path) -> list[str]:
    invocation = case.invocation
    config = ["--config", *invocation.entries] if invocation.entries else []
    plan = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow), "-n", invocation.target]
    return [*plan, "--configfile", str(invocation.configfile), *config]


def planned_steps(case: Case, command: list[str]) -> Iterator[Finding]:
    """Yield what the plan of the workflow says: the jobs, their memory, and the first step. command: the dry run."""
    shown = f"snakemake -n {case.invocation.target}"
    try:
        told = programs.answer(command, PLAN_S)
    except subprocess.TimeoutExpired:
        yield problem(
            NAME, f"`{shown}` does not end within {PLAN_S:g} s", "see whether the disk under the results answers"
        )
        return
    said = told.stdout + "\n" + told.stderr
    if told.returncode:
        yield problem(
            NAME, f"{shown}: {_last_words(said)}", "correct that; the rest of what Snakemake says names the place"
        )
        return
    jobs, counts = jobs_in(said), jobs_per_rule(said)
    if not jobs:
        yield ok(NAME, f"{case.invocation.target} is finished: nothing has to be done")
        return
    largest = max(jobs, key=lambda job: job.memory_mb)
    yield memory.compared(largest.memory_mb, largest.rule)
    yield ok(NAME, first_step(jobs, counts, case.invocation.target))


def jobs_in(said: str) -> list[Job]:
    """Read the jobs of a dry run, in the order in which Snakemake would start them."""
    found = []
    for rule, lines in _JOB.findall(said):
        about = re.search(r"^ {4}wildcards: (.*)$", lines, re.MULTILINE)
        mb = _MEMORY.search(lines)
        if mb:  # a rule that only names targets asks for nothing
            found.append(Job(rule, about[1] if about else "", int(mb[1])))
    return found


def first_step(jobs: list[Job], counts: dict[str, int], target: str) -> str:
    """Return the first jobs and the jobs that follow, with the names of rules."""
    first = jobs[0].rule
    begun = [job.about for job in jobs if job.rule == first]
    more = f" and {len(begun) - SHOWN:,} more" if len(begun) > SHOWN else ""
    text = f"first: {first} ({'; '.join(re.sub(', ', ' ', about) for about in begun[:SHOWN])}{more})"
    after = [f"{rule} {n:,}" for rule, n in counts.items() if rule not in (first, target)]
    total = sum(n for rule, n in counts.items() if rule != target)
    return f"{counted(total, 'job')}; {text}" + (f"; then {', '.join(after)}" if after else "")


def at_work() -> Iterator[Finding]:
    """Yield a finding if a Snakemake is at work in this folder, or if a killed one left its lock."""
    locks = list(snakemake_records.LOCKS.glob("*.lock"))
    if not locks:
        return
    process = _snakemake_here()
    if process:
        what = f"another one is at work in this folder (process {process}), and only one can be"
        yield problem(LOCK, what, "wait until it ends")
    else:
        what = "a killed Snakemake left this folder locked, and no Snakemake is at work here on this machine"
        yield problem(LOCK, what, "`snakemake --unlock`, then the same command again (not while it runs elsewhere)")


def _snakemake_here() -> int | None:
    """Return the number of a process that runs Snakemake in this folder, or None."""
    import psutil

    here, mine = os.getcwd(), os.getpid()
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # ended meanwhile, or another user's
            words = process.cmdline()
            is_snakemake = any(Path(word).name == "snakemake" for word in words[:3]) and "-n" not in words
            if is_snakemake and process.pid != mine and process.cwd() == here:
                return int(process.pid)
    return None


def _last_words(said: str) -> str:
    """Return the reason why a plan failed: the line with our own advice, or else its last lines."""
    lines = [printable(line.strip()) for line in said.splitlines() if line.strip()]
    advice = [line for line in lines if "→" in line]
    errors = [n for n, line in enumerate(lines) if "Error" in line or "Exception" in line]
    return advice[-1] if advice else " ".join(lines[errors[0] : errors[0] + 3] if errors else lines[-2:])[:400]
