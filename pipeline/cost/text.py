"""Writes an estimate as text: a column per dataset, a line per quantity, and how each figure is known."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

from pipeline.cost.estimate import Estimate, Quantity

LABEL, CELL = 40, 14

WIDTH = 110

HOW_KNOWN = """\
exact      The table of sources states the size.
reported   Others report the number: sizes, and 56 ms a step on an RTX 4090, evaluations included, from the
           authors' log of QVHighlights V.
counted    The number follows from the released annotations.
measured   These are CPU seconds of one thread on a busy Zen 4 core with random weights. An idle core may need
           only half. Decoding is given for two sizes, because nobody states the size of the videos. Training is
           counted to the last epoch, without evaluations.
assumed    An archive unpacks to its own size. An archive whose size nobody states has the size of the features
           that are read from it, but it may be larger. A GPU does 5·10¹² multiply-adds a second. On a GPU, a step
           of any dataset takes as long as a step of QVHighlights. The ratio of the steps of another method and of
           TR-DETR is the same as on a CPU, where it was measured. Evaluations cost what those of QVHighlights V do
           (every fifth epoch, batches of 100 queries). With `evaluate_every: 1` or smaller batches they take longer.
           No GPU was available, so no GPU hour is measured. With few cores, decoding takes longer than encoding on a
           GPU."""
"""The explanation of the last column, which says how each figure is known."""


def text(estimate: Estimate, where: str, jobs: str = "") -> str:
    """Return the tables and remarks of an estimate. where: the name of the config. jobs: the line about the workflow's
    jobs, or ''."""
    datasets = list(dict.fromkeys(name for fact in estimate.facts for name in fact.amounts))
    remarks = [jobs] if jobs else []
    if estimate.unsized:
        remarks.append(f"Not counted, because the size is unknown: {', '.join(estimate.unsized)}.")
    if estimate.unknown:
        names = ", ".join(estimate.unknown)
        remarks.append(f"Not estimated, because the annotations are not the released files: {names}.")
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
