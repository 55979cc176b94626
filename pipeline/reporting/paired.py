"""Matrices of the paired differences between all rows of a table, in one headline metric: which method beats which.

A matrix contains experiments that were scored on the same queries of one split, at one epoch. First the mean over the
seeds of each experiment is taken, then the difference of two experiments is computed query by query. Its interval and
its p are computed over videos (`pipeline/evaluation/intervals.py`). Holm's correction is for all pairs of the matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline import records
from pipeline.config import Experiment
from pipeline.evaluation.intervals import Comparison, compare, holm
from pipeline.layout import matrix_name, queries_path_of
from pipeline.layout.places import MetricsFile
from pipeline.layout.runs import EPOCHS, RELEASED_RUN, RunId
from pipeline.manifests import files_of_all
from pipeline.nouns import counted
from pipeline.reporting import published
from pipeline.reporting.published import ABOUT
from pipeline.reporting.reproduced import METRIC_OF, TOP5


@dataclass(frozen=True)
class Contestant:
    """One experiment (one point of its sweep) of a matrix.

    label: the experiment's name, with the point's name if it has a sweep. row: the row of the table that it reproduces.
    seeds: the number of seeds; 0 for released predictions. values: qid → the row of per-query results, whose metric is
    the mean over seeds, from 0 to 1. Queries without a value of the metric are not in it.
    """

    label: str
    row: str
    seeds: int
    values: Mapping[Any, Mapping[str, Any]]

    def mean(self, metric: str) -> float:
        """Return the headline number in percent, which is the mean over the queries."""
        return 100 * fmean(row[metric] for row in self.values.values())


@dataclass(frozen=True)
class Matrix:
    """All pairs of a group of contestants, compared in one metric.

    name: the name of its files. column: the name of the metric in tables. pairs: (label of the row, label of the
    column) → row - column, in percent, for the pairs in the order of the contestants; the reverse direction has the
    opposite sign. survives: pairs that survive Holm's correction. left_out: sentences about experiments that are not in
    the matrix: they were scored on other queries, or have no value of the metric. of_last_epoch: the name of the matrix
    of the same split at the last epoch, or '' if there is none.
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
    of_last_epoch: str = ""

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
        of_last_epoch: str = "",
    ) -> Matrix:
        """Compare every two contestants. All of them must have been scored on the same queries, and have the metric.

        column: the name of the metric in tables."""
        pairs = {(a.label, b.label): _compared(a, b, metric) for a, b in combinations(contestants, 2)}
        kept = holm([one.p for one in pairs.values()])
        survives = frozenset(pair for pair, survives in zip(pairs, kept, strict=True) if survives)
        return cls(name, title, split, epoch, metric, column, contestants, pairs, survives, left_out, of_last_epoch)

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

    number: the paper's table. metrics: manifests of `score`. A matrix needs at least two contestants.
    """
    scored: dict[MetricsFile, Path] = {
        of_run: path for path in files_of_all(metrics) if (of_run := MetricsFile.of(path))
    }
    column = ABOUT[number].headline
    metric = METRIC_OF.get(column, TOP5)
    for split in ("test", "val"):
        of_split = {name: e for name, e in experiments.items() if e.table == number and e.report == split}
        of_epochs: dict[str, tuple[list[Contestant], list[str]]] = {}
        for epoch in EPOCHS if split == "val" else EPOCHS[:1]:
            found = [c for name, e in of_split.items() for c in _contestants(name, e, split, epoch, metric, scored)]
            alike, left_out = _on_the_same_queries(number, found)
            if len(alike) > 1:
                of_epochs[epoch] = alike, left_out
        for epoch, (alike, left_out) in of_epochs.items():
            n = len(alike[0].values)
            heading = _title(number, title, split, epoch, column, n)
            last = matrix_name(number, split, EPOCHS[1]) if epoch == EPOCHS[0] and EPOCHS[1] in of_epochs else ""
            name, shown = matrix_name(number, split, epoch), column if _is_whole(number, n) else f"mean of {n}"
            yield Matrix.of(name, heading, alike, metric, shown, split, epoch, left_out, last)


def _contestants(
    name: str, experiment: Experiment, split: str, epoch: str, metric: str, scored: Mapping[MetricsFile, Path]
) -> Iterator[Contestant]:
    """Yield the contestants of an experiment (one for each point of its sweep) on a split at an epoch. A seed that
    lacks one of its domains is left out."""
    for point, key in published.keys_of(experiment).items():
        by_seed: dict[int, list[Path]] = {}
        expected = _runs(experiment, point)
        for run, seed in expected.items():
            if path := scored.get(MetricsFile(name, run, split, epoch)):
                by_seed.setdefault(seed, []).append(queries_path_of(path))
        complete = [paths for paths in by_seed.values() if len(paths) == len(expected) // len(set(expected.values()))]
        if not complete:
            continue
        seeds = [{row["qid"]: row for path in paths for _, row in records.read_jsonl(path)} for paths in complete]
        shared = [qid for qid in seeds[0] if all(qid in rows for rows in seeds)]
        means = {qid: _mean([rows[qid].get(metric) for rows in seeds]) for qid in shared}
        values = {qid: seeds[0][qid] | {metric: mean} for qid, mean in means.items() if mean is not None}
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


def _on_the_same_queries(number: int, found: Sequence[Contestant]) -> tuple[list[Contestant], list[str]]:
    """Return the largest group of contestants that were scored on the same queries, and a sentence for each of the
    others."""
    groups: dict[frozenset[Any], list[Contestant]] = {}
    for one in found:
        if one.values:
            groups.setdefault(frozenset(one.values), []).append(one)
    alike = max(groups.values(), key=len, default=[])
    return alike, [_why_left_out(number, one, alike[0]) for one in found if alike and one not in alike]


def _why_left_out(number: int, one: Contestant, shown: Contestant) -> str:
    unit = ABOUT[number].unit
    if not one.values:
        return (
            f"{one.label} is left out, because its predictions give no value of {ABOUT[number].headline.rstrip('.')}."
        )
    return (
        f"{one.label} is left out, because it was scored on {counted(len(one.values), unit)}, and this matrix is about"
        f" {counted(len(shown.values), unit)}: they are not the same."
    )


def _compared(a: Contestant, b: Contestant, metric: str) -> Comparison:
    """Compare two contestants query by query, as the command `compare` does."""
    (found,) = compare(list(a.values.values()), list(b.values.values()), only={metric})
    return found


def _is_whole(number: int, n: int) -> bool:
    """Tell whether a mean of `n` queries may be called as the paper's. A mean over a part of the domains may not."""
    return ABOUT[number].unit == "query" or n == ABOUT[number].queries


def _title(number: int, title: str, split: str, epoch: str, column: str, n_queries: int) -> str:
    name = "mean over domains" if column == "Avg." else column
    if not _is_whole(number, n_queries):
        name = f"mean over {n_queries} of the {ABOUT[number].queries} domains"
    stands_on = f"{split}, {epoch} epoch, {counted(n_queries, ABOUT[number].unit)}"
    return " ".join(f"{title}, Table {number} in pairs: row - column, {name} in points, {stands_on}".split())
