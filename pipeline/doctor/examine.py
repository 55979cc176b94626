"""Runs all checks, each in a thread with a time limit. A check that hangs, crashes or raises becomes a line of the
table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Thread

from pipeline.doctor import decoders, file_system, gpu, installation, network, plan, present, results, space
from pipeline.doctor.case import Case, Invocation, read
from pipeline.doctor.findings import Finding, of_error, ok, problem
from pipeline.errors import PipelineError, printable
from pipeline.nouns import counted

Check = Callable[[Case], Iterator[Finding]]

LIMIT_S = 300.0
"""Seconds that a check may take. `--digests` may take hours, and has no limit."""


def config(case: Case) -> Iterator[Finding]:
    """Say whether the config can work, and what it asks for."""
    if case.refused is not None:
        yield of_error("config", case.refused)
    elif case.needs is not None:
        names = case.needs.of_datasets
        extras = " and ".join(case.needs.extras) or "light installation"
        n = counted(len(case.needs.cfg.experiments), "experiment")
        text = f"{case.invocation.configfile} can work; {case.invocation.target} has {n} on {', '.join(names)}"
        yield ok("config", f"{text}; it needs: {extras}")


CHECKS: dict[str, Check] = {
    "config": config,
    "packages": installation.check,
    "decoders": decoders.check,
    "gpu": gpu.check,
    "disk": space.check,
    "results folder": file_system.check,
    "network": network.check,
    "sources": present.check,
    "files": results.check,
    "plan": plan.check,
}
"""The name of a check, which its line has if the check itself fails → the check, in the order of the table."""


def examine(invocation: Invocation) -> list[Finding]:
    """Run all checks at the same time, and return their findings in the order of the table."""
    case = read(invocation)
    found: dict[str, list[Finding]] = {name: [] for name in CHECKS}
    threads = {
        name: Thread(target=_collect, args=(name, check, case, found[name]), daemon=True)
        for name, check in CHECKS.items()
    }
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + LIMIT_S
    for name, thread in threads.items():
        thread.join(None if invocation.digests else max(0.0, end - time.monotonic()))
        if thread.is_alive():
            what = f"this check did not end within {LIMIT_S:g} s"
            found[name].append(
                problem(name, what, "see whether the disks, the network and the GPU of this machine answer")
            )
    return [finding for findings in found.values() for finding in list(findings)]


def _collect(name: str, check: Check, case: Case, found: list[Finding]) -> None:
    try:
        found.extend(check(case))  # what was found before an error stays
    except PipelineError as error:
        found.append(of_error(name, error))
    except Exception as error:
        what = f"this check failed ({type(error).__name__}: {printable(error)})"
        found.append(problem(name, what, "install the environment again: `make clean`, then `make install`"))
