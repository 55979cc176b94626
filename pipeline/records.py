"""Queries and predictions, and the community's JSONL they travel in.

A row's place in its file is part of every complaint about it. Units: seconds, except TVSum's released
`duration`, which counts 2-second clips and is converted by `pipeline.datasets.tvsum`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import PipelineError

Window = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True, slots=True)
class Query:
    """One annotated query.

    duration: seconds. relevant_windows: seconds, None where the dataset has no moments (TVSum) or hides them.
    relevant_clip_ids, saliency_scores: QVHighlights' rated clips, three integers 0 to 4 each.
    label: TVSum's ratings, one row of 20 numbers (1 to 5) per 2-second clip. domain: TVSum's category.
    """

    qid: int | str
    query: str
    vid: str
    duration: float
    relevant_windows: tuple[Window, ...] | None = None
    relevant_clip_ids: tuple[int, ...] | None = None
    saliency_scores: tuple[tuple[int, ...], ...] | None = None
    domain: str | None = None
    label: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of the community's submission form.

    pred_relevant_windows: [start_s, end_s, score], best first; None for TVSum. pred_saliency_scores: one per clip.
    """

    qid: int | str
    query: str
    vid: str
    pred_relevant_windows: list[list[float]] | None
    pred_saliency_scores: list[float] | None


def to_row(record: Query | Prediction) -> dict[str, Any]:
    """A record as a JSON row; fields that are None are left out."""
    return {key: value for key, value in asdict(record).items() if value is not None}


def read_jsonl(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, row) of a `.jsonl` or `.jsonl.gz` file; blank lines, no last newline: both are fine.

    Raises PipelineError with file and line for what is no JSON object.
    """
    path = Path(path)
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parse(line, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise PipelineError(
            f"cannot be read ({reason})", where=path, remedy="name a readable UTF-8 .jsonl file"
        ) from error


def write_jsonl(path: Path | str, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with files.atomic(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_queries(path: Path | str) -> list[Query]:
    """Read annotation rows in our form. Raises PipelineError naming file, line and key for a row that does not fit."""
    return [query_from_row(row, f"{path}, line {number}") for number, row in read_jsonl(path)]


def query_from_row(row: dict[str, Any], where: str) -> Query:
    """Build a Query from an annotation row; unknown keys are ignored. Raises PipelineError for a missing or odd key."""
    for key in ("qid", "query", "vid", "duration"):
        if row.get(key) is None:
            raise PipelineError(f"annotation row has no `{key}`", where=where, remedy="add it or remove the row")
    try:
        return Query(
            qid=row["qid"],
            query=str(row["query"]),
            vid=str(row["vid"]),
            duration=float(row["duration"]),
            relevant_windows=_tuples(row.get("relevant_windows")),
            relevant_clip_ids=_tuples(row.get("relevant_clip_ids")),
            saliency_scores=_tuples(row.get("saliency_scores")),
            domain=row.get("domain"),
            label=_tuples(row.get("label")),
        )
    except (TypeError, ValueError) as error:
        raise PipelineError(f"annotation row does not fit ({error})", where=where, remedy="correct the row") from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise PipelineError(f"is no JSON ({error})", where=where, remedy="correct or remove the line") from error
    if not isinstance(row, dict):
        raise PipelineError(f"is a {type(row).__name__}, not a JSON object", where=where, remedy="correct the line")
    return row
