"""Ground truth: annotation rows of any dataset, checked by its rules and keyed by qid.

A row that is unusable by the dataset's rules (`datasets/ground_truth.py`) is refused here, and so is a row without
ground truth. `evaluate`, `validate` and `compare` read ground truth only through this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from pipeline import datasets, records
from pipeline.datasets.definition import Dataset
from pipeline.datasets.ground_truth import first_complaint, missing_key
from pipeline.errors import PipelineError
from pipeline.grids import whole_clips

Qid = int | str
Truth = dict[Qid, dict[str, Any]]


def load_truth(dataset: str, path: Path | str, domain: str | None = None) -> Truth:
    """Read an annotation file (`.jsonl`, `.jsonl.gz`; the released form or ours), or one domain in it.

    Raises PipelineError for an unreadable file, a row that cannot be ground truth, or a domain without rows.
    """
    rows = [row for _, row in records.read_jsonl(path) if domain in (None, row.get("domain"))]
    if not rows:
        which = "row" if domain is None else f"row of domain {domain}"
        raise PipelineError(f"has no {which}", where=path, remedy="name the annotation file of the predicted split")
    return by_qid(dataset, rows, path)


def by_qid(dataset: str, annotations: Iterable[dict[str, Any]], where: object = "annotations") -> Truth:
    """Return annotation rows by qid, in their order. Raises PipelineError, which names the row that cannot be ground
    truth."""
    about = datasets.get(dataset)
    truth: Truth = {}
    for number, row in enumerate(annotations, start=1):
        place = f"{where}, row {number} (qid {row.get('qid')})"
        if key := missing_key(row, ("qid", "vid", *about.truth_keys)):
            raise PipelineError(
                f"has no `{key}`", where=place, remedy=f"name the {dataset} annotations that hold the ground truth"
            )
        qid = str(row["qid"]) if about.qid_is_vid else as_qid(row["qid"])
        complaint = "qid is no integer" if qid is None else "repeats a qid" if qid in truth else ""
        complaint = complaint or first_complaint((records.key_problem, *about.usable), row)
        if qid is None or complaint:
            raise PipelineError(complaint, where=place, remedy="correct or remove the row")
        truth[qid] = row
    return truth


def as_qid(value: object) -> int | None:
    """Return a qid as an integer, or None if it is none. 3158, 3158.0 and "3158" are the same query; callers warn about
    the last form."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
    if isinstance(value, bool) or not isinstance(value, (Integral, Real)):
        return None
    return int(value) if isinstance(value, Integral) or float(value).is_integer() else None  # type: ignore[call-overload]


def clips_of(dataset: Dataset, annotation: dict[str, Any]) -> int:
    """Return the number of clips of a saliency vector: one for each `label`, or the whole clips of the duration.

    Raises ValueError for a dataset without rated clips.
    """
    if dataset.highlights is None:
        raise ValueError(f"nobody rated clips of {dataset.name}")
    if dataset.rates_every_clip:
        return len(annotation["label"])
    return whole_clips(annotation["duration"], dataset.highlights.clip_s)
