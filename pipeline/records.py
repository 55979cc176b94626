"""Queries and predictions, and how they are read from and written to the community's JSONL.

Every error about a row names its file and line. Units: seconds, except TVSum's released `duration`, which counts
2-second clips and is converted by `pipeline.datasets.tvsum`.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from io import BufferedReader
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

from pipeline import files, limits
from pipeline.errors import PipelineError, is_printable, printable
from pipeline.names import name_problem

Window = tuple[float, float]
"""Start and end in seconds."""

GZIP = b"\x1f\x8b"
"""The first bytes of a packed file."""

HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
"""One half of a surrogate pair, by which JSON escapes a rare character. Alone it is no character and cannot be
printed."""

NO_TEXT = ("is not UTF-8", "holds half a character (an unpaired surrogate)")
"""The message for a line whose bytes are no text."""

LONGEST_LINE = 1 << 24
"""Longest line in bytes, 16 MiB. A line holds one query. The ratings of 20 people for every second of a day take 4 MB.
Memory grows with it: JSON can take twenty times the bytes that it is written in."""

BEGINNING = 80
"""Bytes of a line that an error quotes."""

LONGEST_S = 1_000_000
"""Longest duration of a video, in seconds: 11 days. Work and memory of the scorer grow with it."""


@dataclass(frozen=True, slots=True)
class Query:
    """One annotated query.

    duration: seconds. relevant_windows: seconds, None if the dataset has no moments (TVSum) or hides them.
    relevant_clip_ids, saliency_scores: QVHighlights' rated clips, three integers 0 to 4 each. label: TVSum's ratings,
    one row of 20 numbers (1 to 5) per 2-second clip. domain: TVSum's category.
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
    """Return a record as a JSON row. Fields that are None are left out. The row shares the lists and tuples of the
    record."""
    values = ((field.name, getattr(record, field.name)) for field in fields(record))
    return {name: value for name, value in values if value is not None}


def read_jsonl(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, row) of a `.jsonl` or `.jsonl.gz` file. Blank lines and a missing last newline are
    allowed. Raises PipelineError with file and line for a line that is no JSON object.
    """
    for number, row, problem in read_lines(path):
        if row is None or problem:
            raise PipelineError(problem, where=f"{path}, line {number}", remedy="correct or remove the line")
        yield number, row


def read_lines(path: Path | str) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Yield (line number from 1, row or None, problem or '') of each line that is not blank. Reading goes on after a
    bad line.

    A row that contains NaN, Infinity or a key twice is yielded with its problem. A byte-order mark is skipped. Raises
    PipelineError if the file cannot be read, if it is a pipe or written in UTF-16, if it has a line longer than
    LONGEST_LINE, or if it is one JSON list or object over several lines.
    """
    odd: list[str] = []
    twice: list[str] = []

    def remember(name: str) -> float:
        odd.append(name)
        return float(name)

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(found)
        if len(row) < len(found):
            twice.extend(name for name, n in Counter(name for name, _ in found).items() if n > 1)
        return row

    decoder = json.JSONDecoder(parse_constant=remember, object_pairs_hook=pairs)
    try:
        with _opened(path) as file:
            is_first = True
            for number, line in enumerate(limits.lines_of(file.readline, LONGEST_LINE), start=1):
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise PipelineError("is written in UTF-16", where=path, remedy="save it in the encoding UTF-8")
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if text.strip():
                    odd.clear()
                    twice.clear()
                    row, problem = _parse(decoder, text)
                    if row is None and is_first and not problem.startswith((*NO_TEXT, limits.TOO_DEEP)):
                        _refuse_one_value(path)
                    is_first = False
                    if twice:
                        problem = problem or f"holds the key `{printable(twice[0])}` twice"
                    yield number, row, problem or (f"holds {odd[0]}, which is no JSON number" if odd else "")
    except limits.TooLongError as error:
        remedy = "write each row on a line of its own; one row holds one query"
        raise PipelineError(f"cannot be read ({error})", where=path, remedy=remedy) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise PipelineError(
            f"cannot be read ({reason})", where=path, remedy="name a readable .jsonl or .jsonl.gz"
        ) from error


def beginnings(path: Path | str, numbers: Collection[int]) -> dict[int, str]:
    """Return line number → the first characters of that line, for errors about lines that are no rows."""
    found = {}
    with _opened(path) as file:
        for number, line in enumerate(limits.lines_of(file.readline, LONGEST_LINE), start=1):
            if number in numbers:
                found[number] = line[:BEGINNING].decode("utf-8", "replace").strip()
    return found


def _opened(path: Path | str) -> gzip.GzipFile | BufferedReader:
    """Open a file, and unpack it if its first bytes are those of gzip, whatever its name is.

    Raises PipelineError for a pipe, which could be read only once and may never end.
    """
    files.refuse_special(Path(path))
    with open(path, "rb") as file:
        is_packed = file.read(len(GZIP)) == GZIP
    return gzip.open(path, "rb") if is_packed else open(path, "rb")


def _refuse_one_value(path: Path | str) -> None:
    """Raise PipelineError if the whole file is one JSON value. The user then sees one sentence instead of one for every
    line. A file that is longer than a line may be is not read as a whole.
    """
    with _opened(path) as file:
        content = file.read(LONGEST_LINE + 1)
        if len(content) > LONGEST_LINE:
            return
        try:
            value = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "object"
        raise PipelineError(
            f"is one JSON {kind} (of {len(value):,}); one object per line is wanted (JSONL)",
            where=path,
            remedy="write each row on a line of its own, without brackets around the rows and commas between them",
        )


def write_jsonl(path: Path | str, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with files.atomic(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_queries(path: Path | str) -> list[Query]:
    """Read annotation rows in our form. Raises PipelineError naming file, line and key for a row that does not fit."""
    return [query_from_row(row, f"{path}, line {number}") for number, row in read_jsonl(path)]


def query_from_row(row: dict[str, Any], where: str) -> Query:
    """Build a Query from an annotation row; unknown keys are ignored.

    Raises PipelineError for a key that is missing, a qid that is neither integer nor text, a query or vid that is no
    text, a vid or qid that names no file, and a duration that is no positive number. The other keys are checked by the
    rules of the dataset.
    """
    for key in ("qid", "query", "vid", "duration"):
        if row.get(key) is None:
            raise PipelineError(f"annotation row has no `{key}`", where=where, remedy="add it or remove the row")
    if not isinstance(row["qid"], int | str) or isinstance(row["qid"], bool):
        raise PipelineError(f"`qid` {row['qid']!r} is neither integer nor text", where=where, remedy="correct the row")
    problem = key_problem(row) or _path_problem(row)
    if problem:
        raise PipelineError(problem, where=where, remedy="correct the row")
    return Query(
        qid=row["qid"],
        query=row["query"],
        vid=row["vid"],
        duration=float(row["duration"]),
        relevant_windows=_tuples(row.get("relevant_windows")),
        relevant_clip_ids=_tuples(row.get("relevant_clip_ids")),
        saliency_scores=_tuples(row.get("saliency_scores")),
        domain=row.get("domain"),
        label=_tuples(row.get("label")),
    )


def key_problem(row: Mapping[str, Any]) -> str:
    """Return what is wrong with the keys that the annotations of every dataset have, or '' if nothing is wrong."""
    for key in ("query", "vid", "domain"):
        if not isinstance(row.get(key, ""), str | None):
            return f"`{key}` {row[key]!r} is no text"
    for key in ("qid", "vid", "domain"):
        if isinstance(row.get(key), str) and not is_printable(row[key]):
            return f"`{key}` {row[key]!r} holds characters that cannot be printed"
    if not are_numbers([row["duration"]]) or row["duration"] <= 0:
        return f"`duration` {row['duration']!r} is no positive number"
    if row["duration"] > LONGEST_S:
        return f"`duration` {row['duration']!r} is longer than any video may be ({LONGEST_S:,} s)"
    return ""


def _path_problem(row: dict[str, Any]) -> str:
    """Return why the vid or the qid cannot be part of a path, or ''. Both become part of paths."""
    for key in ("vid", "qid"):
        if problem := name_problem(str(row[key])):
            return f"`{key}` {row[key]!r} {problem}"
    return ""


def are_numbers(values: Sequence[Any]) -> bool:
    """Tell whether all values are finite numbers that a float can represent. Booleans do not count as numbers."""
    kinds = set(map(type, values))
    if not kinds <= {int, float} and not all(issubclass(kind, Real) and kind is not bool for kind in kinds):
        return False
    try:
        return all(map(isfinite, values))
    except OverflowError:
        return False


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _parse(decoder: json.JSONDecoder, line: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        row = decoder.decode(line.decode("utf-8"))
        if HALF_CHARACTER.search(line):
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return None, NO_TEXT[0]
    except UnicodeEncodeError:
        return None, NO_TEXT[1]
    except RecursionError:
        return None, limits.TOO_DEEP
    except ValueError as error:
        return None, f"is no JSON ({error})"
    if limits.is_too_deep(row):
        return None, limits.TOO_DEEP
    return (row, "") if isinstance(row, dict) else (None, f"is a {type(row).__name__}, not a JSON object")
