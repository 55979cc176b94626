"""A finding is one line of the doctor's table: what was examined, what was found there, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import PipelineError, printable

Level = Literal["ok", "note", "problem"]
"""The levels of findings. A problem has to be solved before the run can start. A note does not stop the run."""

SHOWN = 4
"""Largest number of names that a finding lists."""


@dataclass(frozen=True)
class Finding:
    """One line of the table. check: what was examined. remedy: what to do now, as an instruction; empty for `ok`."""

    check: str
    level: Level
    what: str
    remedy: str = ""


def ok(check: str, what: str) -> Finding:
    """Return a finding after which nothing has to be done."""
    return Finding(check, "ok", what)


def note(check: str, what: str, remedy: str) -> Finding:
    """Return a finding that does not stop the run."""
    return Finding(check, "note", printable(what), printable(remedy))


def problem(check: str, what: str, remedy: str) -> Finding:
    """Return a finding that has to be solved before the run can start."""
    return Finding(check, "problem", printable(what), printable(remedy))


def of_error(check: str, error: PipelineError) -> Finding:
    """Return the finding of an error that a user can act on."""
    where = f"{error.where}: " if error.where else ""
    return problem(check, where + error.what, error.remedy or "see that place")


def named(names: Iterable[object], shown: int = SHOWN) -> str:
    """Return a list of names as text: the first few, and how many more there are."""
    listed = [str(name) for name in names]
    more = len(listed) - shown
    return ", ".join(listed[:shown]) + (f" and {more:,} more" if more > 0 else "")


def can_start(findings: Sequence[Finding]) -> bool:
    """Tell whether no finding is a problem."""
    return all(finding.level != "problem" for finding in findings)
