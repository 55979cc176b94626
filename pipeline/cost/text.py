"""Writes an estimate as text: a column per dataset, a line per quantity, and how each figure is known."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

from pipeline.cost.estimate import Estimate, Quantity

LABEL, CELL = 40, 14

WIDTH = 110

HOW_KNOWN = """\
exact      the table of sources states the size
reported   others say so: sizes; the authors' log of QVHighlights V, 56 ms a step on an RTX 4090, evaluations included
counted    from the released annotations
measured   CPU seconds of one thread on a busy Zen 4 core (a quiet one needs down to half), random weights; decoding for
           two sizes, since nobody states the videos'; training to the last epoch, without evaluations
assumed    archives unpack to their own size; one whose size nobody states holds what is asked of it, and may hold more;
           a GPU does 5·10¹² multiply-adds a second, and a step of any dataset takes it as long as one of QVHighlights;
           a step of another method takes it as many times as long as one of TR-DETR as on a CPU, where it was measured.
           No GPU was at hand: no GPU hour is measured, and decoding on few cores takes longer than encoding on a GPU"""


def text(estimate: Estimate, where: str, jobs: str = "") -> str:
    """Return the tables and remarks of an estimate. where: the name of the config. jobs: the line about the workflow's
    jobs, or ''."""
    datasets = list(dict.fromkeys(name for fact in estimate.facts for name in fact.amounts))
    remarks = [jobs] if jobs else []
    if estimate.unsized:
        remarks.append(f"Not counted, of unknown size: {', '.join(estimate.unsized)}.")
    if estimate.unknown:
        remarks.append(f"Not estimated, its annotations are none of the released files: {', '.join(estimate.unknown)}.")
    table = "\n".join(_table(estimate, datasets)) if datasets else ""
    told = "\n".join(fill(remark, WIDTH) for remark in remarks)
    return "\n\n".join(filter(None, [where, table, told]))


def _table(estimate: Estimate, datasets: list[str]) -> Iterator[str]:
    yield _row("", [*datasets, "all"], "")
    for fact in estimate.facts:
        yield _line(fact, datasets, digits=1 if fact.label.startswith("hours") else 0)
    for cost in estimate.costs:
        yield from ["", *_block(cost, datasets)] if cost.parts else _block(cost, datasets)


def _block(cost: Quantity, datasets: list[str]) -> Iterator[str]:
    yield _line(cost, datasets)
    for part in cost.parts:
        yield _line(part, datasets, indent="  ")


def _line(line: Quantity, datasets: list[str], digits: int = 1, indent: str = "") -> str:
    cells = [_number(line.amounts.get(name), digits) for name in datasets] + [_number(line.total, digits)]
    return _row(indent + line.label, cells, line.known)


def _number(amount: float | None, digits: int) -> str:
    if amount is None:
        return ""
    if 0 < amount < 0.05 and digits:
        return "<0.1"
    return f"{amount:,.{digits}f}"


def _row(label: str, cells: list[str], known: str) -> str:
    return f"{label:{LABEL}}{''.join(f'{cell:>{CELL}}' for cell in cells)}  {known}".rstrip()
