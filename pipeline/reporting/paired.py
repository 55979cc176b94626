"""Who beats whom: matrices of the paired differences between everything that a table shows, in one headline metric.

A matrix holds what was scored on the same queries of one split, at one epoch. The difference of two methods is taken
query by query, after the mean over the seeds of each, so its interval and its p stand on videos
(`pipeline/evaluation/intervals.py`), and the correction for many comparisons is Holm's, over all pairs of the matrix.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline import provenance, records
from pipeline.config import Experiment
from pipeline.evaluation.intervals import ENUMERATED, FEW, LEVEL, Comparison, compare, holm
from pipeline.layout import EPOCHS, RELEASED_RUN, MetricsFile, RunId, queries_beside
from pipeline.reporting import forms, published, verdict
from pipeline.reporting.published import ABOUT
from pipeline.reporting.render import NOTHING, Cell, Table, TableLine
from pipeline.reporting.reproduced import METRIC_OF

DECIMALS = 2
"""Means and differences have so many decimals in the forms for people."""
TOP5 = "top5-mAP"
"""The column of per-query results behind the means of Table 3."""
ROW_NAMES = ("Experiment", "Stands for")
COLUMNS = (
    "split,epoch,metric,row,row_mean,row_seeds,column,column_mean,column_seeds,difference,low,high,p,smallest_p,"
    "survives_holm,videos,queries"
)


@dataclass(frozen=True)
class Contestant:
    """One experiment (one point of its sweep) of a matrix.

    label: the experiment's name, with the point's name if it has a sweep. row: the row of the table that it stands for.
    seeds: the number of seeds that took part; 0 for released predictions. values: qid → the row of per-query results,
    whose metric is the mean over seeds, from 0 to 1. Queries that do not take part in the metric are not among them.
    """

    label: str
    row: str
    seeds: int
    values: Mapping[Any, Mapping[str, Any]]

    def mean(self, metric: str) -> float:
        """The headline number in percent, which is the mean over the queries."""
        return 100 * fmean(row[metric] for row in self.values.values())


@dataclass(frozen=True)
class Matrix:
    """All pairs of a group of contestants, compared in one metric.

    name: the name of its files. column: what people call the metric. pairs: (label of the row, label of the column) →
    row - column, in percent, for the pairs in the order of the contestants; the way back has the opposite sign.
    survives: pairs that Holm's correction leaves. left_out: sentences about experiments that stand on other queries.
    """

    name: str
    title: str
    split: str
    epoch: str
    metric: str
    column: str
    contestants: Sequence[Contestant]
    pairs: Mapping[tuple[str, str], Comparison]
    survives: frozenset[tuple[str, str]]
    left_out: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        contestants: Sequence[Contestant],
        metric: str,
        column: str,
        split: str,
        epoch: str,
        left_out: Sequence[str] = (),
    ) -> Matrix:
        """Compare every two contestants. All of them must stand on the same queries, and have the metric.

        column: what people call the metric.
        """
        pairs = {(a.label, b.label): _compared(a, b, metric) for a, b in combinations(contestants, 2)}
        kept = holm([one.p for one in pairs.values()])
        survives = frozenset(pair for pair, survives in zip(pairs, kept, strict=True) if survives)
        return cls(name, title, split, epoch, metric, column, contestants, pairs, survives, left_out)

    def between(self, row: str, column: str) -> tuple[Comparison, float]:
        """Return the comparison of two contestants, and 1 or -1: the sign that makes it row - column."""
        if (row, column) in self.pairs:
            return self.pairs[row, column], 1.0
        return self.pairs[column, row], -1.0


def matrices(
    number: int, title: str, experiments: Mapping[str, Experiment], metrics: Iterable[Path]
) -> Iterator[Matrix]:
    """Yield the matrices of a table: one for each split that its experiments report, at the selected epoch, and one at
    the last epoch for the splits on which the epoch was selected.

    number: the paper's table. metrics: manifests of `score`. A matrix needs two contestants at least.
    """
    scored: dict[MetricsFile, Path] = {
        of_run: path
        for manifest in metrics
        for path in provenance.files_of(manifest)
        if (of_run := MetricsFile.of(path))
    }
    column = ABOUT[number].headline
    metric = METRIC_OF.get(column, TOP5)
    for split in ("test", "val"):
        of_split = {name: e for name, e in experiments.items() if e.table == number and e.report == split}
        for epoch in EPOCHS if split == "val" else EPOCHS[:1]:
            found = [c for name, e in of_split.items() for c in _contestants(name, e, split, epoch, metric, scored)]
            alike, left_out = _on_the_same_queries(found)
            if len(alike) < 2:
                continue
            name = f"paired{number}-{split}" + ("" if epoch == "selected" else f"-{epoch}")
            heading = _title(number, title, split, epoch, column, len(alike[0].values))
            yield Matrix.of(name, heading, alike, metric, column, split, epoch, left_out)


def _contestants(
    name: str, experiment: Experiment, split: str, epoch: str, metric: str, scored: Mapping[MetricsFile, Path]
) -> Iterator[Contestant]:
    """Yield what an experiment (each point of its sweep) has on a split at an epoch. A seed without all of its domains
    takes no part."""
    for point, key in published.keys_of(experiment).items():
        by_seed: dict[int, list[Path]] = {}
        expected = _runs(experiment, point)
        for run, seed in expected.items():
            if path := scored.get(MetricsFile(name, run, split, epoch)):
                by_seed.setdefault(seed, []).append(queries_beside(path))
        complete = [paths for paths in by_seed.values() if len(paths) == len(expected) // len(set(expected.values()))]
        if not complete:
            continue
        seeds = [{row["qid"]: row for path in paths for _, row in records.read_jsonl(path)} for paths in complete]
        shared = [qid for qid in seeds[0] if all(qid in rows for rows in seeds)]
        means = {qid: _mean([rows[qid].get(metric) for rows in seeds]) for qid in shared}
        if values := {qid: seeds[0][qid] | {metric: mean} for qid, mean in means.items() if mean is not None}:
            trained = 0 if experiment.source == "predictions" else len(complete)
            yield Contestant(f"{name} {point}" if experiment.sweep else name, key, trained, values)


def _runs(experiment: Experiment, point: str) -> dict[str, int]:
    """Return run → seed, for one point of the sweep ('' without a sweep)."""
    if experiment.source == "predictions":
        return {RELEASED_RUN: 0}
    parsed = {run: RunId.parse(run) for run in experiment.runs}
    return {run: of.seed for run, of in parsed.items() if point in ("", of.point)}


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None


def _on_the_same_queries(found: Sequence[Contestant]) -> tuple[list[Contestant], list[str]]:
    """Return the largest group of contestants that stand on the same queries, and a sentence for each other one."""
    groups: dict[frozenset[Any], list[Contestant]] = {}
    for one in found:
        groups.setdefault(frozenset(one.values), []).append(one)
    alike = max(groups.values(), key=len, default=[])
    here = len(alike[0].values) if alike else 0
    return alike, [
        f"{one.label} is left out, because it stands on {len(one.values):,} queries, which are not the {here:,} queries"
        " of this matrix."
        for one in found
        if one not in alike
    ]


def _compared(a: Contestant, b: Contestant, metric: str) -> Comparison:
    """Compare two contestants query by query, as the command `compare` does."""
    first, second = (
        [{key: row[key] for key in ("qid", "vid", "video", metric)} for row in one.values.values()] for one in (a, b)
    )
    (found,) = compare(first, second)
    return found


def _title(number: int, title: str, split: str, epoch: str, column: str, n_queries: int) -> str:
    name = "mean over domains" if column == "Avg." else column
    stands_on = f"{split}, {epoch} epoch, {n_queries:,} {'videos' if number == 3 else 'queries'}"
    return " ".join(f"{title}, Table {number} in pairs: row - column, {name} in points, {stands_on}".split())


def as_table(matrix: Matrix) -> Table:
    """Return a matrix in the form in which every table is written: a line and a column for each contestant."""
    labels = [one.label for one in matrix.contestants]
    lines = [
        TableLine(
            "paired",
            one.label,
            one.row,
            {matrix.column: _number(one.mean(matrix.metric))}
            | {label: _cell(matrix, one.label, label) for label in labels if label != one.label},
            remark="released predictions" if not one.seeds else f"{one.seeds} seed{'s' * (one.seeds > 1)}",
        )
        for one in matrix.contestants
    ]
    return Table(
        matrix.title, (), [matrix.column, *labels], lines, _notes(matrix), matrix.name, matrix.title, ROW_NAMES
    )


def _number(value: float) -> Cell:
    return Cell(f"{value:.{DECIMALS}f}", f"{value:.{DECIMALS}f}")


def _cell(matrix: Matrix, row: str, column: str) -> Cell:
    one, sign = matrix.between(row, column)
    difference = verdict.signed(sign * one.difference.value, DECIMALS)
    low_high = sorted(sign * end for end in (one.difference.low, one.difference.high) if end is not None)
    interval = " [{}, {}]".format(*(f"{end:+.{DECIMALS}f}" for end in low_high)) if low_high else ""
    p = "" if one.p is None else f", p {one.p:.2g}{_star(matrix, row, column)}"
    return Cell(f"{difference}{interval}{p}" or NOTHING, difference)


def _star(matrix: Matrix, row: str, column: str) -> str:
    one, _ = matrix.between(row, column)
    if matrix.survives & {(row, column), (column, row)}:
        return "**"
    return "*" if one.p is not None and one.p < 1 - LEVEL else ""


def _notes(matrix: Matrix) -> list[str]:
    n = len(matrix.pairs)
    videos = {one.videos for one in matrix.pairs.values()}
    survive = [f"{row} - {column}" for row, column in matrix.pairs if (row, column) in matrix.survives]
    selected = (
        "The epoch of every trained run was selected on this very split, so the numbers are too high by its luck; the"
        f" matrix of the last epoch is {matrix.name}-last."
    )
    return [
        "A number above 0 says that the method of the row is better than that of the column. In brackets stands the"
        f" 95 % interval of the difference. Methods with several seeds enter with the mean over them. {_test(videos)}",
        f"Pairs: {n}. If no method differed, p < 0.05 would be expected in {n * (1 - LEVEL):.2g} of them. * p < 0.05;"
        f" ** also after Holm's correction for all {n}: {'; '.join(survive) or 'none'}.",
        *([selected] if matrix.split == "val" and matrix.epoch == "selected" and _any_trained(matrix) else []),
        *matrix.left_out,
    ]


def _any_trained(matrix: Matrix) -> bool:
    return any(one.seeds for one in matrix.contestants)


def _test(videos: set[int]) -> str:
    """Return how p and the interval come about, for so many videos."""
    n = max(videos)
    if n >= FEW:
        return f"Interval and p come from a bootstrap over {n:,} videos, paired."
    if n <= ENUMERATED:
        return (
            f"p is exact: all 2^{n} ways to flip the sign of the difference of a whole video ({n} videos), of which the"
            f" smallest p is {2.0 ** (1 - n):.2g}. The interval is Student's t over videos."
        )
    return f"p comes from random flips of the sign of whole videos ({n}); the interval is Student's t over videos."


def to_csv(matrix: Matrix) -> str:
    """Return CSV text: a header, and a line for each pair in both directions, with its numbers in columns."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS.split(","))
    for row in matrix.contestants:
        for column in matrix.contestants:
            if row is not column:
                writer.writerow(_values(matrix, row, column))
    return buffer.getvalue()


def _values(matrix: Matrix, row: Contestant, column: Contestant) -> list[Any]:
    one, sign = matrix.between(row.label, column.label)
    low_high = sorted(sign * end for end in (one.difference.low, one.difference.high) if end is not None)
    survives = bool(matrix.survives & {(row.label, column.label), (column.label, row.label)})
    return [
        matrix.split,
        matrix.epoch,
        matrix.metric,
        *(value for c in (row, column) for value in (c.label, f"{c.mean(matrix.metric):.4f}", c.seeds)),
        f"{sign * one.difference.value + 0.0:.4f}",
        *([f"{end:.4f}" for end in low_high] or ["", ""]),
        "" if one.p is None else f"{one.p:.6g}",
        "" if one.smallest_p is None else f"{one.smallest_p:.6g}",
        "yes" if survives else "no",
        one.videos,
        len(row.values),
    ]


def _as(write: Callable[[Table], str]) -> Callable[[Matrix], str]:
    return lambda matrix: write(as_table(matrix))


FORMATS: dict[str, Callable[[Matrix], str]] = {suffix: _as(write) for suffix, write in forms.FORMATS.items()}
FORMATS["csv"] = to_csv
"""Suffix of a file → how a matrix is written into it."""
