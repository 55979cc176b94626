"""Reads a released annotation file row by row and checks every row. An error names the row that breaks a rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import records
from pipeline.datasets.definition import Dataset
from pipeline.datasets.ground_truth import first_complaint, missing_key
from pipeline.errors import PipelineError
from pipeline.records import Query

REMEDY = "correct the row, or fetch the released file again"


def read(dataset: Dataset, path: Path | str) -> list[Query]:
    """Read the queries of a file in the dataset's released form. They keep the order of the file.

    In the returned queries, durations and windows are in seconds.
    Raises PipelineError, naming the file and the line, in these cases: a row lacks a key that every row has; a qid has
    the wrong type or appears twice; a video has two durations; only some rows have ground truth; a row breaks a rule of
    the dataset. It also raises PipelineError for a file without rows.
    """
    first_line: dict[int | str, int] = {}
    durations: dict[str, float] = {}
    has_truth: set[bool] = set()
    queries: list[Query] = []
    for number, row in records.read_jsonl(path):
        where = f"{path}, line {number}"
        query = records.query_from_row(row, where)
        _demand(query.qid not in first_line, f"qid {query.qid} is already on line {first_line.get(query.qid)}", where)
        first_line[query.qid] = number
        _demand_qid(dataset, query, where)
        known = durations.setdefault(query.vid, query.duration)
        _demand(known == query.duration, f"{query.vid} lasts {query.duration} s here and {known} s further up", where)
        has_truth.add(_has_truth(dataset, row))
        _demand(len(has_truth) == 1, "some rows of this file have ground truth and some have not", where)
        in_seconds = _in_seconds(dataset, query, where)
        said = _complaint(dataset, row, row if in_seconds is query else records.to_row(in_seconds))
        _demand(not said, f"qid {query.qid}: {said}", where)
        queries.append(in_seconds)
    _demand(bool(queries), "has no annotation rows", str(path))
    return queries


def _has_truth(dataset: Dataset, row: dict[str, Any]) -> bool:
    """Tell whether the row has ground truth. A row may lack it only if the dataset hides it in one of its released
    files."""
    keys = [key for key in dataset.truth_keys if key != "duration"]
    return not dataset.hides_truth or any(row.get(key) is not None for key in keys)


def _in_seconds(dataset: Dataset, query: Query, where: str) -> Query:
    try:
        return dataset.to_seconds(query)
    except (TypeError, ValueError) as error:
        what = f"qid {query.qid}: its times are no numbers ({error})"
        raise PipelineError(what, where=where, remedy=REMEDY) from error


def _complaint(dataset: Dataset, row: dict[str, Any], in_seconds: dict[str, Any]) -> str:
    """Return the complaint of the first rule that a row breaks, or ''.

    row: the row as it was released, to which the rules for the released form apply.
    in_seconds: the same row with times in seconds, to which the rules for usable ground truth apply.
    """
    if _has_truth(dataset, row):
        if key := missing_key(row, dataset.truth_keys):
            return f"has no `{key}`"
        if said := first_complaint(dataset.usable, in_seconds):
            return said
    return first_complaint(dataset.released_form, row)


def _demand_qid(dataset: Dataset, query: Query, where: str) -> None:
    if dataset.qid_is_vid:
        _demand(query.qid == query.vid, f"qid {query.qid!r} is not the vid {query.vid!r}", where)
    else:
        _demand(isinstance(query.qid, int), f"qid {query.qid!r} is no integer", where)


def _demand(fact: bool, complaint: str, where: str) -> None:
    """Raise PipelineError with `complaint` unless `fact` holds."""
    if not fact:
        raise PipelineError(complaint, where=where, remedy=REMEDY)
