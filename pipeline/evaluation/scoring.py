"""Predictions and ground truth to one result per file.

The metrics file holds the official keys in the official order; beside them stand `n_queries`, `unrounded` (the same
tree at full precision) and `notes`, and for Charades-STA a block `charades` with the two numbers its papers add.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.errors import PipelineError
from pipeline.evaluation.highlights import score_highlights
from pipeline.evaluation.moments import MAX_PREDICTIONS, RangeScores, score_moments
from pipeline.evaluation.official import NOTHING, Part, Tree, charades_part, highlight_part, moment_part, rounded
from pipeline.evaluation.predictions import refuse_errors
from pipeline.evaluation.truth import Qid, Truth, by_qid, clips_of, task_of
from pipeline.evaluation.tvsum import domain_means, duration_form, score_tvsum, tie_note
from pipeline.evaluation.validate import SALIENCY, WINDOWS, Finding, Row, check


@dataclass(frozen=True)
class Result:
    """What one prediction file is worth.

    metrics: the metrics file, as JSON values. queries: one row per query in the order of the annotations (qid, vid,
    video, then one value from 0 to 1 per headline metric, None where the query does not take part): each headline
    number is 100 times the mean of its column (TVSum's one column: a domain's number that of its rows, `average` the
    mean of the domains'). findings: what validation had to say.
    """

    dataset: str
    metrics: Tree
    queries: list[Row]
    findings: list[Finding] = field(default_factory=list)


def evaluate(dataset: str, predictions: Sequence[Row], annotations: Iterable[Row]) -> Result:
    """Check and score predictions; both arguments are rows in the community's JSONL form, as dicts, in any order.

    dataset: `qvhighlights`, `charades_sta` or `tvsum`. Scores and windows may be lists or a NumPy array a row.
    Raises PipelineError listing every error (line = place in `predictions`), or naming an unusable annotation.
    """
    return evaluate_on(dataset, predictions, by_qid(dataset, annotations))


def evaluate_on(dataset: str, predictions: Sequence[Row], truth: Truth) -> Result:
    """`evaluate` on a ground truth that `by_qid` or `load_truth` has checked, for callers that score on it many times.

    Raises PipelineError listing every error (line = place in `predictions`).
    """
    rows, findings = check(dataset, enumerate(predictions, start=1), truth)
    refuse_errors(findings, "predictions")
    return score(dataset, rows, truth, findings)


def score(dataset: str, rows: Sequence[Row], truth: Truth, findings: Sequence[Finding] = ()) -> Result:
    """Score rows that `check` called scorable, by the rules of the community's scorer.

    A query without a row is left out of every mean (that scorer's relaxed mode); of a repeated query AP sees all
    windows, everything else the last row. Raises PipelineError when no row is left.
    """
    predicted = {row["qid"]: row for row in rows}
    annotations = {qid: annotation for qid, annotation in truth.items() if qid in predicted}
    if not annotations:
        raise PipelineError("no prediction can be scored", where=dataset, remedy="name predictions of that split")
    if dataset == "tvsum":
        metrics, columns, notes = _score_tvsum(predicted, annotations)
    else:
        metrics, columns, notes = _score_queries(dataset, rows, predicted, annotations)
    if len(annotations) < len(truth):
        notes.append(f"scored on {len(annotations):,} of {len(truth):,} queries; not comparable with numbers on all")
    return Result(dataset, metrics | {"notes": notes}, _query_rows(dataset, annotations, columns), list(findings))


def video_of(dataset: str, vid: str) -> str:
    """The video a vid was cut from: QVHighlights cuts several 150-s pieces out of one YouTube video."""
    return vid.rsplit("_", 2)[0] if dataset == "qvhighlights" else vid


def _score_queries(
    dataset: str, rows: Sequence[Row], predicted: Truth, annotations: Truth
) -> tuple[Tree, dict[str, np.ndarray], list[str]]:
    keys = next(iter(predicted.values()))
    moments = highlights = extra = NOTHING
    if WINDOWS in keys:
        ranges = _score_windows(rows, predicted, annotations)
        moments = moment_part(ranges)
        extra = charades_part(ranges["full"]) if dataset == "charades_sta" else NOTHING
    if SALIENCY in keys and task_of(dataset).highlights:
        highlights = _score_saliency(predicted, annotations)
    unrounded = {"brief": moments.brief | highlights.brief, **highlights.trees, **moments.trees, **extra.trees}
    counts = {"all": len(annotations), **moments.counts}
    return (
        {**rounded(unrounded), "n_queries": counts, "unrounded": unrounded},
        moments.columns | highlights.columns | extra.columns,
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


def _score_saliency(predicted: Truth, annotations: Truth) -> Part:
    rows = annotations.values()
    return highlight_part(
        score_highlights(
            [predicted[qid][SALIENCY] for qid in annotations],
            [row["duration"] for row in rows],
            [row["relevant_clip_ids"] for row in rows],
            [row["saliency_scores"] for row in rows],
        )
    )


def _score_tvsum(predicted: Truth, annotations: Truth) -> tuple[Tree, dict[str, np.ndarray], list[str]]:
    values = score_tvsum((predicted[qid][SALIENCY], row["label"]) for qid, row in annotations.items())
    domains = [row["domain"] for row in annotations.values()]
    means = domain_means(values, domains)
    metrics = {
        "brief": rounded(means, decimals=5),
        "percent": rounded({domain: 100 * value for domain, value in means.items()}),
        "n_queries": {"all": len(values), **{domain: domains.count(domain) for domain in dict.fromkeys(domains)}},
        "unrounded": {"brief": means},
        "annotations": duration_form(annotations.values()),
    }
    ties = (tie_note(row["vid"], predicted[qid][SALIENCY], clips_of("tvsum", row)) for qid, row in annotations.items())
    return metrics, {"top5-mAP": values}, [*filter(None, ties)]


def _query_rows(dataset: str, annotations: Truth, columns: Mapping[str, np.ndarray]) -> list[Row]:
    values = np.column_stack(list(columns.values()))
    table = values.astype(object)
    table[np.isnan(values)] = None
    return [
        {"qid": qid, "vid": row["vid"], "video": video_of(dataset, row["vid"])}
        | ({"domain": row["domain"]} if dataset == "tvsum" else {})
        | dict(zip(columns, line, strict=True))
        for (qid, row), line in zip(annotations.items(), table.tolist(), strict=True)
    ]
