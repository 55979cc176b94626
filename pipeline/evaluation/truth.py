"""Ground truth: annotation rows of any of the three datasets, checked and keyed by qid.

What a scorer would trip over later (a hidden ground truth, a rated clip behind the video's end) is refused here, and so
is every moment that `annotate` calls impossible (`datasets/ground_truth.py`): `evaluate`, `validate` and `compare` read
the truth through this module alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from pipeline import records
from pipeline.datasets.ground_truth import clip_complaint, window_complaint
from pipeline.errors import PipelineError
from pipeline.evaluation.highlights import ANNOTATORS, RATINGS, n_clips
from pipeline.evaluation.tvsum import duration_form


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
    if problem := records.key_problem(row):
        return problem
    if dataset == "tvsum":
        return _label_complaint(row)
    return _window_complaint(row) or (_rating_complaint(row) if dataset == "qvhighlights" else "")


def _window_complaint(row: dict[str, Any]) -> str:
    windows = row["relevant_windows"]
    sound = _is_table(windows, 2) and len(windows) > 0 and records.are_numbers(list(chain.from_iterable(windows)))
    if not sound:
        return "`relevant_windows` must hold at least one [start, end], finite numbers"
    return window_complaint(windows, row["duration"])


def _label_complaint(row: dict[str, Any]) -> str:
    label = row["label"]
    width = len(label[0]) if _is_table(label) and label else 0
    if not width or not _is_table(label, width) or not records.are_numbers(list(chain.from_iterable(label))):
        return "`label` must have equally many annotators for every clip, a finite number each"
    if not duration_form([row]):
        return f"duration {row['duration']} fits {len(label)} labelled clips neither as clips nor as seconds"
    return ""


def _rating_complaint(row: dict[str, Any]) -> str:
    clips, ratings, n = row["relevant_clip_ids"], row["saliency_scores"], n_clips(row["duration"])
    if not isinstance(clips, list | tuple) or not _is_table(ratings, ANNOTATORS) or len(clips) != len(ratings):
        return f"needs {ANNOTATORS} `saliency_scores` for each of its `relevant_clip_ids`"
    if odd := _not_whole(clips, n):
        return f"`relevant_clip_ids` must be numbers of the video's {n} clips (found {odd[0]!r})"
    if twice := clip_complaint(clips):
        return twice
    if odd := _not_whole(list(chain.from_iterable(ratings)), RATINGS):
        return f"`saliency_scores` must be integers 0 to {RATINGS - 1} (found {odd[0]!r})"
    return ""


def _is_table(rows: Any, width: int | None = None) -> bool:
    """Whether it is a list of lists, each of `width` entries where one is given."""
    return isinstance(rows, list | tuple) and all(
        isinstance(row, list | tuple) and width in (None, len(row)) for row in rows
    )


def _not_whole(values: Sequence[Any], below: int) -> list[Any]:
    """Those that are no integers from 0 to `below` - 1; booleans are none."""
    if set(map(type, values)) <= {int} and all(0 <= value < below for value in values):
        return []
    return [v for v in values if not isinstance(v, Integral) or isinstance(v, bool) or not 0 <= int(v) < below]
