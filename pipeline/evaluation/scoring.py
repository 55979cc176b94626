"""Scores predictions against ground truth, with one result per file.

The metrics file has the official keys in the official order. It also has `n_queries`, `unrounded` (the same tree at
full precision) and `notes`, and the blocks that papers on the dataset add (`charades`: two more numbers).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline import datasets
from pipeline.datasets.definition import Dataset, Highlights
from pipeline.datasets.ground_truth import duration_form
from pipeline.errors import PipelineError
from pipeline.evaluation.highlights import score_highlights
from pipeline.evaluation.moments import MAX_PREDICTIONS, RangeScores, score_moments
from pipeline.evaluation.official import BLOCKS, NOTHING, Part, Tree, highlight_part, moment_part, rounded
from pipeline.evaluation.predictions import refuse_errors
from pipeline.evaluation.top5 import domain_means, score_top5, tie_note
from pipeline.evaluation.truth import Qid, Truth, by_qid, clips_of
from pipeline.evaluation.validate import SALIENCY, WINDOWS, Finding, Row, check
from pipeline.nouns import counted


@dataclass(frozen=True)
class Result:
    """The scores of one prediction file.

    metrics: the metrics file, as JSON values. queries: one row per query in the order of the annotations (qid, vid,
    video, then one value from 0 to 1 per headline metric, or None for a query without a value). Each headline number is
    100 times the mean of its column. TVSum has one column: the number of a domain is the mean over its rows, and
    `average` is the mean of the domains. findings: all findings of the validation.
    """

    dataset: str
    metrics: Tree
    queries: list[Row]
    findings: list[Finding] = field(default_factory=list)


def evaluate(dataset: str, predictions: Sequence[Row], annotations: Iterable[Row]) -> Result:
    """Check and score predictions. Both arguments are rows in the community's JSONL form, as dicts, in any order.

    dataset: a name in `pipeline.datasets`. Scores and windows may be lists or a NumPy array a row. Raises
    PipelineError, which lists every error (its line is the position in `predictions`) or names an unusable annotation.
    """
    return evaluate_on(dataset, predictions, by_qid(dataset, annotations))


def evaluate_on(dataset: str, predictions: Sequence[Row], truth: Truth) -> Result:
    """Do the same as `evaluate` on a ground truth that `by_qid` or `load_truth` has checked, for callers that use it
    many times. Raises PipelineError, which lists every error (its line is the position in `predictions`).
    """
    rows, findings = check(dataset, enumerate(predictions, start=1), truth)
    refuse_errors(findings, "predictions")
    return score(dataset, rows, truth, findings)


def score(dataset: str, rows: Sequence[Row], truth: Truth, findings: Sequence[Finding] = ()) -> Result:
    """Score rows that `check` returned as scorable, by the rules of the community's scorer.

    A query without a prediction row is left out of every mean, as in the relaxed mode of that scorer. If a query has
    several rows, AP takes the windows of all of them, and every other number takes the last row. Raises PipelineError
    if no row is left.
    """
    predicted = {row["qid"]: row for row in rows}
    annotations = {qid: annotation for qid, annotation in truth.items() if qid in predicted}
    if not annotations:
        raise PipelineError("no prediction can be scored", where=dataset, remedy="name predictions of that split")
    about = datasets.get(dataset)
    if about.highlights and about.rates_every_clip:
        metrics, columns, notes = _score_top5(about.highlights, predicted, annotations)
    else:
        metrics, columns, notes = _score_queries(about, rows, predicted, annotations)
    if len(annotations) < len(truth):
        notes.append(
            f"scored on {len(annotations):,} of {counted(len(truth), 'query')}; not comparable with numbers on all"
        )
    return Result(dataset, metrics | {"notes": notes}, _query_rows(about, annotations, columns), list(findings))


def _score_queries(
    dataset: Dataset, rows: Sequence[Row], predicted: Truth, annotations: Truth
) -> tuple[Tree, dict[str, np.ndarray], list[str]]:
    keys = next(iter(predicted.values()))
    moments = highlights = NOTHING
    extra: list[Part] = []
    if WINDOWS in keys:
        ranges = _score_windows(rows, predicted, annotations)
        moments = moment_part(ranges)
        extra = [BLOCKS[kind](name, ranges["full"]) for name, kind in dataset.also_scored.items()]
    if SALIENCY in keys and dataset.highlights:
        highlights = _score_saliency(dataset, dataset.highlights.raters, predicted, annotations)
    parts = [highlights, moments, *extra]
    trees = {name: tree for part in parts for name, tree in part.trees.items()}
    unrounded = {"brief": moments.brief | highlights.brief, **trees}
    counts = {"all": len(annotations), **moments.counts}
    return (
        {**rounded(unrounded), "n_queries": counts, "unrounded": unrounded},
        {name: column for part in [moments, highlights, *extra] for name, column in part.columns.items()},
        [],
    )


def _score_windows(rows: Sequence[Row], predicted: Truth, annotations: Truth) -> dict[str, RangeScores]:
    pooled: dict[Qid, list[Sequence[float]]] = {}
    for row in rows:
        pooled.setdefault(row["qid"], []).extend(row[WINDOWS][:MAX_PREDICTIONS])
    return score_moments(
        [pooled[qid] for qid in annotations],
        [predicted[qid][WINDOWS][0] for qid in annotations],
        [annotation["relevant_windows"] for annotation in annotations.values()],
    )


def _score_saliency(dataset: Dataset, raters: int, predicted: Truth, annotations: Truth) -> Part:
    rows = annotations.values()
    return highlight_part(
        score_highlights(
            [predicted[qid][SALIENCY] for qid in annotations],
            [clips_of(dataset, row) for row in rows],
            [row["relevant_clip_ids"] for row in rows],
            [row["saliency_scores"] for row in rows],
            raters=raters,
        )
    )


def _score_top5(
    rated: Highlights, predicted: Truth, annotations: Truth
) -> tuple[Tree, dict[str, np.ndarray], list[str]]:
    values = score_top5((predicted[qid][SALIENCY], row["label"]) for qid, row in annotations.items())
    domains = [row["domain"] for row in annotations.values()]
    means = domain_means(values, domains)
    metrics = {
        "brief": rounded(means, decimals=5),
        "percent": rounded({domain: 100 * value for domain, value in means.items()}),
        "n_queries": {"all": len(values), **{domain: domains.count(domain) for domain in dict.fromkeys(domains)}},
        "unrounded": {"brief": means},
        "annotations": duration_form(annotations.values(), rated.clip_s),
    }
    ties = (tie_note(row["vid"], predicted[qid][SALIENCY], len(row["label"])) for qid, row in annotations.items())
    return metrics, {"top5-mAP": values}, [*filter(None, ties)]


def _query_rows(dataset: Dataset, annotations: Truth, columns: Mapping[str, np.ndarray]) -> list[Row]:
    values = np.column_stack(list(columns.values()))
    table = values.astype(object)
    table[np.isnan(values)] = None
    return [
        {"qid": qid, "vid": row["vid"], "video": dataset.video_of(row["vid"])}
        | ({"domain": row["domain"]} if dataset.domains else {})
        | dict(zip(columns, line, strict=True))
        for (qid, row), line in zip(annotations.items(), table.tolist(), strict=True)
    ]
