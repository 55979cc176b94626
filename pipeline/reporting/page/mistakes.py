"""The part of a page about mistakes: what each kind costs, where it happens, and what changed between two files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.anatomy import KINDS
from pipeline.evaluation.moments import RANGES, THRESHOLDS
from pipeline.reporting.page.scored_files import MOMENT, Benchmark, Examined

AT = {"mAP@0.5": THRESHOLDS.index(0.5), "mAP@0.75": THRESHOLDS.index(0.75)}
CHANGED = 0.005
"""Two files differ on a query if its average precision differs by more than this (half a point)."""
MOST = 10
"""Number of queries that are listed as better, and as worse."""


@dataclass(frozen=True)
class Cost:
    """One kind of mistake in one file. points: column → points of mAP that are gained if only this kind is repaired.
    queries: number of queries that have it. main: number of queries whose costliest mistake it is."""

    kind: str
    meaning: str
    points: dict[str, float]
    queries: int
    main: int

    @property
    def average(self) -> float:
        """The cost of this kind in points of mAP Avg."""
        return self.points["mAP Avg."]


@dataclass(frozen=True)
class Group:
    """Queries that have something in common. map_, r1: percent. costs: kind → points of mAP Avg."""

    of: str
    name: str
    n: int
    map_: float
    r1: float
    costs: dict[str, float]


@dataclass(frozen=True)
class Changed:
    """The differences between two files. pairs: (kind in the first, in the second, queries), the commonest first.
    better, worse: [qid, query, AP in percent in the first, in the second], largest change first."""

    first: str
    second: str
    n_better: int
    n_worse: int
    n_equal: int
    pairs: list[tuple[str, str, int]]
    better: list[tuple[Any, str, float, float]]
    worse: list[tuple[Any, str, float, float]]


def costs(one: Examined) -> list[Cost]:
    """Return every kind of mistake of a file, in the order of `KINDS`. The file must have an anatomy."""
    if one.anatomy is None:
        return []
    main, has = one.anatomy.main_mistakes(), one.anatomy.has()
    return [
        Cost(
            kind,
            KINDS[kind],
            {"mAP Avg.": float(points.mean())} | {column: float(points[at]) for column, at in AT.items()},
            int(has[kind].sum()),
            main.count(kind),
        )
        for kind, points in one.anatomy.points().items()
    ]


def groups(benchmark: Benchmark, one: Examined) -> list[Group]:
    """Return groups of the queries of a file: by length, position and number of their windows, and by length of the
    query."""
    if one.anatomy is None:
        return []
    value, r1 = one.values(MOMENT, one.qids), one.values("MR-full-R1@0.7", one.qids)
    found = []
    for of, name, rows in _groups(benchmark, one):
        if rows.any():
            points = {kind: float(cost.mean()) for kind, cost in one.anatomy.points(rows).items()}
            n = int(rows.sum())
            found.append(Group(of, name, n, 100 * float(value[rows].mean()), 100 * float(r1[rows].mean()), points))
    return found


def changed(benchmark: Benchmark, first: Examined, second: Examined) -> Changed | None:
    """Return the differences between two files, query by query, or None if one of them has no windows."""
    if first.anatomy is None or second.anatomy is None:
        return None
    qids = [qid for qid in first.qids if qid in second.scores]
    before, after = first.values(MOMENT, qids), second.values(MOMENT, qids)
    kinds = [dict(zip(one.qids, one.anatomy.main_mistakes(), strict=True)) for one in (first, second) if one.anatomy]
    pairs: dict[tuple[str, str], int] = {}
    for qid in qids:
        pair = (kinds[0][qid] or "none", kinds[1][qid] or "none")
        pairs[pair] = pairs.get(pair, 0) + 1
    difference = after - before

    def listed(order: Sequence[int]) -> list[tuple[Any, str, float, float]]:
        texts = ((qids[i], str(benchmark.truth[qids[i]].get("query", "")), i) for i in order)
        return [(qid, text, 100 * float(before[i]), 100 * float(after[i])) for qid, text, i in texts]

    order = np.argsort(-difference, kind="stable")
    better = [int(i) for i in order if difference[i] > CHANGED]
    worse = [int(i) for i in order[::-1] if difference[i] < -CHANGED]
    return Changed(
        first.label,
        second.label,
        len(better),
        len(worse),
        len(qids) - len(better) - len(worse),
        sorted(((a, b, n) for (a, b), n in pairs.items() if a != b), key=lambda item: -item[2])[:MOST],
        listed(better[:MOST]),
        listed(worse[:MOST]),
    )


def _groups(benchmark: Benchmark, one: Examined) -> Iterator[tuple[str, str, np.ndarray]]:
    rows = [benchmark.truth[qid] for qid in one.qids]
    windows = [np.asarray(row["relevant_windows"], dtype=np.float64).reshape(-1, 2) for row in rows]
    mean_s = np.array([float((w[:, 1] - w[:, 0]).mean()) for w in windows])
    for name in ("short", "middle", "long"):
        above, up_to = RANGES[name]
        text = f"{name}: over {above:g} s" if name == "long" else f"{name}: {above:g} to {up_to:g} s"
        yield "Mean length of its windows", text, (mean_s > above) & (mean_s <= up_to)
    middle = np.array([(w.min() + w.max()) / 2 / row["duration"] for w, row in zip(windows, rows, strict=True)])
    for third, text in enumerate(("first third", "middle third", "last third")):
        inside = (middle >= third / 3) & ((middle < (third + 1) / 3) | (third == 2))
        yield "Place of its windows in the video", text, inside
    number = np.array([len(w) for w in windows])
    for low, high, text in ((1, 1, "1"), (2, 3, "2 or 3"), (4, np.inf, "4 or more")):
        yield "Number of its windows", text, (number >= low) & (number <= high)
    words = np.array([len(str(row.get("query", "")).split()) for row in rows])
    for low, high, text in ((0, 8, "up to 8"), (9, 12, "9 to 12"), (13, np.inf, "13 or more")):
        yield "Words of the query", text, (words >= low) & (words <= high)
