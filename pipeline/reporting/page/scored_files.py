"""Scores prediction files and finds their mistakes once. All parts of a page use the result."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import datasets
from pipeline.datasets.definition import Dataset
from pipeline.errors import PipelineError
from pipeline.evaluation import Interval, headline_intervals, load_predictions, load_truth, score
from pipeline.evaluation.anatomy import Anatomy, dissect
from pipeline.evaluation.predictions import refuse_errors
from pipeline.evaluation.truth import Qid, Truth
from pipeline.evaluation.validate import NO_PREDICTION, SALIENCY, WINDOWS, Finding, Row
from pipeline.nouns import counted
from pipeline.reporting.reproduced import METRIC_OF, TOP5

HEADLINE = {metric: column for column, metric in METRIC_OF.items()} | {TOP5: "top-5 mAP"}
"""The community's name of a headline number → the name that tables print, in the order of the tables."""

MOMENT, HIGHLIGHT = METRIC_OF["mAP Avg."], METRIC_OF["HD mAP"]
"""The metrics by which queries are sorted, followed by `TOP5`. The first one that a file has is used."""


@dataclass(frozen=True)
class Examined:
    """One prediction file on one benchmark.

    label: its name on the page. rows: qid → prediction row. scores: qid → per-query results, values from 0 to 1 or
    None. intervals: headline number → percent with its 95 % interval. anatomy: the mistakes of the queries `qids`, in
    their order; None if the file has no windows or the dataset has no moments.
    """

    label: str
    rows: Mapping[Qid, Mapping[str, Any]]
    scores: Mapping[Qid, Mapping[str, Any]]
    intervals: Mapping[str, Interval]
    anatomy: Anatomy | None
    notes: Sequence[str]

    @property
    def qids(self) -> list[Qid]:
        """The qids that were scored, in the order of the annotations."""
        return list(self.scores)

    @property
    def leading(self) -> str:
        """The metric by which its queries are sorted."""
        return next(name for name in (MOMENT, HIGHLIGHT, TOP5) if name in next(iter(self.scores.values())))

    def values(self, metric: str, qids: Sequence[Qid]) -> np.ndarray:
        """Return one metric of some queries, from 0 to 1, or NaN for a query that has no value."""
        found = (self.scores[qid].get(metric) if qid in self.scores else None for qid in qids)
        return np.array([np.nan if value is None else value for value in found], dtype=np.float64)


@dataclass(frozen=True)
class Benchmark:
    """One split of a dataset, with the prediction files that were examined on it. truth: qid → annotation row."""

    dataset: Dataset
    name: str
    truth: Truth
    files: Sequence[Examined]

    @property
    def queries(self) -> int:
        """The number of queries."""
        return len(self.truth)

    @property
    def videos(self) -> int:
        """The number of videos. Intervals are computed over videos."""
        return len({self.dataset.video_of(row["vid"]) for row in self.truth.values()})

    @property
    def metrics(self) -> dict[str, str]:
        """Return the headline numbers that at least one file has → their names."""
        return {name: text for name, text in HEADLINE.items() if any(name in one.intervals for one in self.files)}


def examine(
    dataset: str,
    predictions: Mapping[str, Path | Sequence[Path]],
    annotations: Path,
    *,
    name: str = "",
    scored: Mapping[str, Collection[str]] | None = None,
) -> Benchmark:
    """Score prediction files and find their mistakes.

    predictions: label → file, or the files of all domains. name: the name of the split on the page; the default is the
    file name of the annotations. scored: label → the qids, as text, that count in this file; earlier stages have
    recorded why the others are left out. Raises PipelineError as `score_files` does.
    """
    truth = load_truth(dataset, annotations)
    every = {str(qid) for qid in truth}
    files = [
        examine_file(dataset, label, path, truth, every - set((scored or {}).get(label, every)))
        for label, path in predictions.items()
    ]
    return Benchmark(datasets.get(dataset), name or annotations.name.partition(".")[0], truth, files)


def examine_file(
    dataset: str, label: str, path: Path | Sequence[Path], truth: Truth, skipped: Collection[str] = ()
) -> Examined:
    """Score one prediction file, or those of several domains as one, and find its mistakes.

    Raises one PipelineError that lists every error in the file.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    rows: list[Row] = []
    findings: list[Finding] = []
    for one in paths:
        found, about = load_predictions(one, truth, dataset)
        rows += [row for row in found if str(row["qid"]) not in skipped]
        findings += about
    there = {row["qid"] for row in rows}
    findings = [f for f in findings if f.what != NO_PREDICTION or (str(f.qid) not in skipped and f.qid not in there)]
    refuse_errors(findings, ", ".join(map(str, paths)))
    result = score(dataset, rows, truth, findings)
    by_qid = {row["qid"]: row for row in rows}
    qids = [row["qid"] for row in result.queries]
    anatomy = None
    if WINDOWS in by_qid[qids[0]] and datasets.get(dataset).moments:
        anatomy = dissect([by_qid[qid][WINDOWS] for qid in qids], [truth[qid]["relevant_windows"] for qid in qids])
    intervals = {k: v for k, v in headline_intervals(result.queries).items() if k in HEADLINE}
    scores = dict(zip(qids, result.queries, strict=True))
    return Examined(label, by_qid, scores, intervals, anatomy, result.metrics["notes"])


def has_saliency(one: Examined) -> bool:
    """Tell whether a file has saliency scores."""
    return SALIENCY in next(iter(one.rows.values()))


def named_files(paths: Sequence[Path], names: Sequence[str] = ()) -> dict[str, Path]:
    """Return label → file. A label is the given name, or the file name without suffix. If two are equal, folders are
    added.

    Raises PipelineError if there are not as many names as files, or if two are equal.
    """
    if names and (len(names) != len(paths) or len(set(names)) != len(names)):
        raise PipelineError(
            f"{counted(len(names), 'name')} ({len(set(names))} different ones) for {counted(len(paths), 'file')}",
            where="--names",
            remedy="give each file a name of its own, in the order of --predictions, or leave --names out",
        )
    found = list(names) or [path.name.partition(".jsonl")[0] for path in paths]
    if len(set(found)) < len(found):
        found = [f"{path.parent.name}/{label}" for path, label in zip(paths, found, strict=True)]
    if len(set(found)) < len(found):
        raise PipelineError(
            "several files have the same name", where="--predictions", remedy="tell them apart by --names"
        )
    return dict(zip(found, paths, strict=True))
