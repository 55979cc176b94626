"""The first part of the report: a sentence for each table, coverage, cost, and Table 4 as steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pipeline import csv_file
from pipeline.config import Experiment
from pipeline.errors import PipelineError
from pipeline.layout import Layout
from pipeline.layout.runs import SECONDS
from pipeline.reporting import published
from pipeline.reporting.comparisons import Judged, Key
from pipeline.reporting.published import ABOUT
from pipeline.reporting.reproduced import Reproduced
from pipeline.reporting.sentences import sentence

STEPS = {"(a)": "neither", "(f)": "+ task cooperation", "(g)": "+ alignment (LGAM)", "(j)": "+ refinement (VFR)"}
"""Rows of Table 4 that add one module after another → the modules that each row adds."""


@dataclass(frozen=True)
class Coverage:
    """The part of one table that was reproduced.

    rows: the number of rows in the paper. with_runs: how many of them have runs here. sentence: the result of TR-DETR's
    row, or of the first row with runs. missing: the names of the rows of the paper's own method that have no runs here.
    beyond: the names of the rows with runs here that the paper does not have.
    """

    number: int
    subject: str
    rows: int
    with_runs: int
    sentence: str
    missing: list[str]
    beyond: list[str]


@dataclass(frozen=True)
class Step:
    """A row of Table 4 as a step of the waterfall, mAP Avg. in percent."""

    key: str
    name: str
    published: float
    reproduced: float | None


def coverage(number: int, rows: Mapping[str, Sequence[Reproduced]], judged: Mapping[Key, Judged]) -> Coverage:
    """Return which part of one table was reproduced."""
    every = published.table(number)
    rows_of = {row.key: row for row in published.known(number)}
    beyond = [row.key for row in published.beyond(number) if row.key in rows]
    key = next((k for k in (ABOUT[number].ours, *rows) if k in rows), None)
    method = rows_of[ABOUT[number].ours].method
    ours = [row.key for row in every if row.method == method or number == 4]
    said = [sentence(number, rows_of[key], one, judged[key, one.label]) for one in rows[key]] if key else []
    missing = [name for name in ours if name not in rows]
    with_runs = len(rows) - len(beyond)
    return Coverage(number, ABOUT[number].subject, len(every), with_runs, " ".join(filter(None, said)), missing, beyond)


def steps(rows: Mapping[str, Sequence[Reproduced]]) -> list[Step]:
    """Return Table 4 as steps, each of which adds modules to the one before."""
    of = {row.key: row for row in published.table(4)}
    found = []
    for key, name in STEPS.items():
        trained = [one for one in rows.get(key, ()) if one.experiment.source != "predictions"]
        values = trained[0].selected.get("mAP Avg.", []) if trained else []
        printed = float(of[key].values["mAP Avg."])
        found.append(Step(key, name, printed, fmean(values) if values else None))
    return found


def scale(found: Sequence[Step]) -> int:
    """Return the end of an axis that is long enough for every step, as a multiple of ten percent."""
    return max((10 * (int(max(step.published, step.reproduced or 0)) // 10 + 1) for step in found), default=100)


def seconds_of(layout: Layout, experiments: Mapping[str, Experiment]) -> tuple[int, float]:
    """Return the number of trained runs that exist, and the seconds that their epochs took."""
    n, total = 0, 0.0
    for name, experiment in experiments.items():
        for run in experiment.runs if experiment.source != "predictions" else []:
            path = layout.run(name, run) / SECONDS
            if path.is_file():
                n += 1
                total += _sum(path)
    return n, total


def _sum(path: Path) -> float:
    try:
        return sum(float(row["seconds"]) for row in csv_file.read(path))
    except (PipelineError, KeyError, ValueError):  # No number of the report depends on this file.
        return 0.0
