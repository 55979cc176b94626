"""Reads prediction files (`.jsonl` or `.jsonl.gz`) into rows and findings. Every bad line is reported."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import PipelineError, printable
from pipeline.evaluation.truth import Truth
from pipeline.evaluation.validate import Finding, Row, check, errors
from pipeline.nouns import counted
from pipeline.records import read_lines

SHOWN_PLACES = 10
"""Largest number of places that an error message names for one fact. `validate` lists every one."""

SHOWN_FACTS = 20
"""Largest number of different facts that an error message lists."""

REMEDY = "correct the file (`evaluate --despite-errors` scores what can be scored)"


def load_predictions(path: Path | str, annotations: Truth, dataset: str) -> tuple[list[Row], list[Finding]]:
    """Read and check a prediction file.

    annotations: from `load_truth`. Returns the rows that can be scored and all findings about the file. Raises
    PipelineError only if the file as a whole cannot be read.
    """
    numbered: list[tuple[int, Row]] = []
    broken: list[Finding] = []
    for line, row, problem in read_lines(path):
        if problem:
            broken.append(Finding("E", line, row.get("qid") if row else None, problem))
        if row is not None:
            numbered.append((line, row))
    rows, findings = check(dataset, numbered, annotations)
    return rows, sorted(broken + findings, key=lambda finding: (finding.line is None, finding.line or 0))


def format_findings(findings: list[Finding]) -> str:
    """Return all findings as text, one line each. A fact about several places has one line, with their number."""
    names = {"E": "error", "W": "warning"}
    return "\n".join(f"{names[level]}: {printable(line)}" for level, line in _grouped(findings))


def refuse_errors(findings: list[Finding], where: object) -> None:
    """Raise one PipelineError that lists every error among the findings, if there are any. Long lists of places are
    cut."""
    found = errors(findings)
    if not found:
        return
    listed = [line for _, line in _grouped(found, SHOWN_PLACES)]
    if hidden := listed[SHOWN_FACTS:]:
        listed = [*listed[:SHOWN_FACTS], f"and {len(hidden):,} lines more like these (`validate` prints them)"]
    if len(listed) > 1:
        listed = [counted(len(found), "error"), *(f"  {line}" for line in listed), ""]
    raise PipelineError("\n".join(listed), where=where, remedy=REMEDY)


def _grouped(findings: list[Finding], shown: int | None = None) -> list[tuple[str, str]]:
    """Return (level, line) of each finding. Equal facts share a line, with all (or `shown`) of their places."""
    places: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        places.setdefault((finding.level, finding.what), []).append(_place(finding))
    return [(level, _said_of(what, at, shown)) for (level, what), at in places.items()]


def _said_of(what: str, places: list[str], shown: int | None) -> str:
    if len(places) == 1:
        return ": ".join(filter(None, [*places, what]))
    more = f" and {len(places) - shown:,} more (`validate` lists them)" if shown and len(places) > shown else ""
    return f"{what} ({len(places):,} times): {'; '.join(places[:shown])}{more}"


def _place(finding: Finding) -> str:
    parts = [f"line {finding.line}"] if finding.line else []
    return ", ".join([*parts, f"qid {printable(finding.qid)[:80]}"] if finding.qid is not None else parts)
