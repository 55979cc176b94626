"""Writes the findings as one table for people, and as data for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import wrap

from pipeline.doctor.case import Invocation
from pipeline.doctor.findings import Finding, can_start
from pipeline.errors import readable
from pipeline.nouns import counted

WIDTH = 118
LEVELS = ("ok", "note", "problem")


def text(findings: Sequence[Finding], invocation: Invocation) -> str:
    """Return the table: a line per check with its remedy below it, and a last line that says whether the run can
    start."""
    column = max((len(finding.check) for finding in findings), default=0)
    lines = [line for finding in findings for line in _lines(finding, column)]
    return readable(
        "\n".join(
            [f"{invocation.configfile}, target {invocation.target}", "", *lines, "", verdict(findings, invocation)]
        )
    )


def verdict(findings: Sequence[Finding], invocation: Invocation) -> str:
    """Return the last line of the table."""
    n = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    counts = f"{n['ok']} ok, {counted(n['note'], 'note')}, {counted(n['problem'], 'problem')}"
    if can_start(findings):
        return f"{counts}. The run can start: {command(invocation)}"
    return f"{counts}. The run cannot start before each problem is solved. The text after → says how."


def command(invocation: Invocation) -> str:
    """Return the command of the run that was examined."""
    other = "" if str(invocation.configfile) == "config.yaml" else f" --configfile {invocation.configfile}"
    entries = "".join(f" '{entry}'" for entry in invocation.entries)
    return f"snakemake --cores 8 {invocation.target}{other}" + (f" --config{entries}" if entries else "")


def as_json(findings: Sequence[Finding], invocation: Invocation) -> str:
    """Return the findings as JSON: `target`, `can_start`, and a list of `check`, `level`, `what` and `remedy`."""
    content = {
        "target": invocation.target,
        "can_start": can_start(findings),
        "findings": [asdict(finding) for finding in findings],
    }
    return readable(json.dumps(content, indent=2, ensure_ascii=False))


def _lines(finding: Finding, column: int) -> Iterator[str]:
    indent = " " * (column + 11)
    begin = f"{finding.level:7}  {finding.check:{column}}  "
    yield from wrap(finding.what, WIDTH, initial_indent=begin, subsequent_indent=indent, break_on_hyphens=False)
    if finding.remedy:
        yield from wrap(
            finding.remedy, WIDTH, initial_indent=f"{indent}→ ", subsequent_indent=f"{indent}  ", break_on_hyphens=False
        )
