"""The part of a page that compares prediction files: numbers with intervals, and paired differences."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation import Comparison, compare
from pipeline.evaluation.intervals import holm, star
from pipeline.reporting.page.scored_files import Benchmark, Examined


@dataclass(frozen=True)
class Difference:
    """One cell of a matrix: the file of the row minus that of the column, in points. star: `**`, `*` or ''."""

    value: float
    low: float | None
    high: float | None
    p: float | None
    star: str


@dataclass(frozen=True)
class Matrix:
    """Paired differences of one metric. cells: row label → column label → difference."""

    metric: str
    name: str
    labels: list[str]
    cells: dict[str, dict[str, Difference]]
    n_pairs: int


def ranked(benchmark: Benchmark) -> list[Examined]:
    """Return the files, the one with the largest leading number first."""
    return sorted(benchmark.files, key=lambda one: -one.intervals[one.leading].value)


def matrices(benchmark: Benchmark, metrics: tuple[str, ...]) -> list[Matrix]:
    """Return the matrix of each metric that at least two files have.

    Two files are compared on the queries that both contain. Stars are corrected for all pairs of one matrix.
    """
    found = {metric: [one for one in ranked(benchmark) if metric in one.intervals] for metric in metrics}
    pairs: dict[tuple[str, str], dict[str, Comparison]] = {}
    for a, b in _pairs(ranked(benchmark)):
        shared = [metric for metric in metrics if metric in a.intervals and metric in b.intervals]
        if shared:
            pairs[a.label, b.label] = _compared(a, b, shared)
    return [
        _matrix(metric, benchmark.metrics[metric], [one.label for one in files], pairs)
        for metric, files in found.items()
        if len(files) > 1
    ]


def _pairs(files: list[Examined]) -> list[tuple[Examined, Examined]]:
    return [(a, b) for place, a in enumerate(files) for b in files[place + 1 :]]


def _compared(a: Examined, b: Examined, metrics: list[str]) -> dict[str, Comparison]:
    """Compare two files on the metrics that the page shows; all of them would take several times as long."""
    qids = [qid for qid in a.scores if qid in b.scores]
    if not qids:
        return {}
    rows_a, rows_b = ([one.scores[qid] for qid in qids] for one in (a, b))
    return {row.metric: row for row in compare(rows_a, rows_b, only=metrics)}


def _matrix(metric: str, name: str, labels: list[str], pairs: dict[tuple[str, str], dict[str, Comparison]]) -> Matrix:
    shown = {pair: found[metric] for pair, found in pairs.items() if metric in found}
    kept = dict(zip(shown, holm([row.p for row in shown.values()]), strict=True))
    cells: dict[str, dict[str, Difference]] = {label: {} for label in labels}
    for (a, b), row in shown.items():
        difference, p = row.difference, row.p
        mark = star(p, kept[a, b])
        low, high = difference.low, difference.high
        cells[a][b] = Difference(difference.value, low, high, p, mark)
        cells[b][a] = Difference(-difference.value, _opposite(high), _opposite(low), p, mark)
    return Matrix(metric, name, labels, cells, len(shown))


def _opposite(value: float | None) -> float | None:
    return None if value is None else -value
