"""Reading annotation rows one by one, each with the place a complaint about it has to name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline import records
from pipeline.errors import PipelineError


class Released(NamedTuple):
    """What a released annotation file holds, counted: queries, different videos, and hours that these last."""

    split: str
    queries: int
    videos: int
    hours: float


def read(path: Path | str) -> Iterator[tuple[str, records.Query]]:
    """Yield (place, query) for every row of a JSONL file; the place is `FILE, line N`.

    Raises PipelineError for a row without `qid`, `query`, `vid` or `duration`, for a qid that an earlier row has,
    and for a file without rows.
    """
    first_line: dict[int | str, int] = {}
    for number, row in records.read_jsonl(path):
        where = f"{path}, line {number}"
        query = records.query_from_row(row, where)
        demand(query.qid not in first_line, f"qid {query.qid} is already on line {first_line.get(query.qid)}", where)
        first_line[query.qid] = number
        yield where, query
    demand(bool(first_line), "has no annotation rows", str(path))


def demand(fact: bool, complaint: str, where: str) -> None:
    """Raise PipelineError with `complaint` unless `fact` holds."""
    if not fact:
        raise PipelineError(complaint, where=where, remedy="correct the row, or fetch the released file again")


def is_table(value: object, width: int) -> bool:
    """Whether `value` is rows of exactly `width` finite numbers each; no rows at all are fine."""
    return isinstance(value, tuple) and all(
        isinstance(row, tuple) and len(row) == width and records.are_numbers(row) for row in value
    )


def demand_whole_qid(query: records.Query, where: str) -> None:
    """Refuse a qid that is no integer, as every scorer does where the qid is not the vid."""
    demand(isinstance(query.qid, int), f"qid {query.qid!r} is no integer", where)


def demand_one_duration(query: records.Query, seen: dict[str, float], where: str) -> None:
    """Refuse a video that has another duration here than in an earlier row; `seen` maps vid to seconds."""
    known = seen.setdefault(query.vid, query.duration)
    demand(known == query.duration, f"{query.vid} lasts {query.duration} s here and {known} s further up", where)
