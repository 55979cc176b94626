"""Ground truth: annotation rows of any of the three datasets, checked and keyed by qid.

What a scorer would trip over later (a hidden ground truth, a rated clip behind the video's end) is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from pipeline import records
from pipeline.errors import PipelineError
from pipeline.evaluation.highlights import ANNOTATORS, n_clips


@dataclass(frozen=True)
class Task:
    """What a dataset's predictions hold, and what its annotations must."""

    moments: bool
    highlights: bool
    needs: tuple[str, ...]


TASKS = {
    "qvhighlights": Task(True, True, ("duration", "relevant_windows", "relevant_clip_ids", "saliency_scores")),
    "charades_sta": Task(True, False, ("duration", "relevant_windows")),
    "tvsum": Task(False, True, ("duration", "label", "domain")),
}

Qid = int | str
Truth = dict[Qid, dict[str, Any]]


def task_of(dataset: str) -> Task:
    """What is scored on a dataset. Raises PipelineError for an unknown name."""
    if dataset not in TASKS:
        raise PipelineError(f"is no dataset that can be scored; there are {', '.join(TASKS)}", where=dataset)
    return TASKS[dataset]


def load_truth(dataset: str, path: Path | str, domain: str | None = None) -> Truth:
    """Read an annotation file (`.jsonl`, `.jsonl.gz`; the released form or ours), or one of TVSum's domains in it.

    Raises PipelineError for an unreadable file, a row that cannot be ground truth, or a domain without rows.
    """
    rows = [row for _, row in records.read_jsonl(path) if domain in (None, row.get("domain"))]
    if not rows:
        which = "row" if domain is None else f"row of domain {domain}"
        raise PipelineError(f"has no {which}", where=path, remedy="name the annotation file of the predicted split")
    return by_qid(dataset, rows, path)


def by_qid(dataset: str, annotations: Iterable[dict[str, Any]], where: object = "annotations") -> Truth:
    """Key annotation rows by qid, order kept. Raises PipelineError naming the row that cannot be ground truth."""
    needs = task_of(dataset).needs
    truth: Truth = {}
    for number, row in enumerate(annotations, start=1):
        place = f"{where}, row {number} (qid {row.get('qid')})"
        for key in ("qid", "vid", *needs):
            if row.get(key) is None:
                raise PipelineError(
                    f"has no `{key}`", where=place, remedy=f"name the {dataset} annotations that hold the ground truth"
                )
        qid = as_qid(row["qid"]) if dataset != "tvsum" else str(row["qid"])
        complaint = (
            "qid is no integer" if qid is None else "repeats a qid" if qid in truth else _complaint(dataset, row)
        )
        if qid is None or complaint:
            raise PipelineError(complaint, where=place, remedy="correct or remove the row")
        truth[qid] = row
    return truth


def as_qid(value: object) -> int | None:
    """A qid as int: 3158 and 3158.0 are one query, "3158" too (the caller warns); None for anything else."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
    if isinstance(value, bool) or not isinstance(value, (Integral, Real)):
        return None
    return int(value) if isinstance(value, Integral) or float(value).is_integer() else None  # type: ignore[call-overload]


def clips_of(dataset: str, annotation: dict[str, Any]) -> int:
    """How many clips a saliency vector should have: whole 2-s clips, or TVSum's label rows."""
    return len(annotation["label"]) if dataset == "tvsum" else n_clips(annotation["duration"])


def _complaint(dataset: str, row: dict[str, Any]) -> str:
    try:
        if dataset == "tvsum":
            return _label_complaint(row["label"])
        return _window_complaint(row["relevant_windows"]) or (
            _rating_complaint(row) if dataset == "qvhighlights" else ""
        )
    except (TypeError, ValueError) as error:
        return f"does not fit ({error})"


def _window_complaint(windows: list[list[float]]) -> str:
    sound = windows and all(len(window) == 2 and isfinite(window[0]) and isfinite(window[1]) for window in windows)
    return "" if sound else "`relevant_windows` must hold at least one [start, end], finite numbers"


def _label_complaint(label: list[list[float]]) -> str:
    widths = set(map(len, label))
    return "" if len(widths) == 1 and widths != {0} else "`label` must have equally many annotators for every clip"


def _rating_complaint(row: dict[str, Any]) -> str:
    clips, ratings = row["relevant_clip_ids"], row["saliency_scores"]
    if len(clips) != len(ratings) or any(len(rating) != ANNOTATORS for rating in ratings):
        return f"needs {ANNOTATORS} `saliency_scores` for each of its `relevant_clip_ids`"
    if clips and not 0 <= min(clips) <= max(clips) < n_clips(row["duration"]):
        return f"`relevant_clip_ids` leave the video's {n_clips(row['duration'])} clips ({min(clips)} to {max(clips)})"
    return ""
