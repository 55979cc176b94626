"""Finds all mistakes in a prediction file, by line and qid. They are errors (the file is not scored) or warnings.

The rules follow from the code of the community's scorer. They find what would stop it, what it would score wrongly
without saying so, and what is allowed but is probably a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Literal

from pipeline import datasets
from pipeline.evaluation.moments import MAX_PREDICTIONS
from pipeline.evaluation.truth import Qid, Truth, as_qid, clips_of
from pipeline.nouns import counted
from pipeline.records import are_numbers

Row = dict[str, Any]
Remark = tuple[Literal["E", "W"], str]
NO_PREDICTION = "has no prediction"
"""The text about a query of the annotations that has no row."""
WINDOWS, SALIENCY = "pred_relevant_windows", "pred_saliency_scores"


@dataclass(frozen=True)
class Finding:
    """One fact about a prediction file.

    level: E (error, refused) or W (warning). line: counted from 1, or None if no line has the mistake (a missing
    query).
    """

    level: Literal["E", "W"]
    line: int | None
    qid: Any
    what: str


def check(dataset: str, rows: Iterable[tuple[int, Row]], truth: Truth) -> tuple[list[Row], list[Finding]]:
    """Check numbered prediction rows against the ground truth.

    Returns the rows that can be scored (with the qids of the annotations) and all findings in line order. Rows with an
    error may still be scorable: the community's scorer accepts a reversed window or a repeated query.
    """
    numbered = list(rows)
    keys = expected_keys(dataset, (row for _, row in numbered))
    scorable: list[Row] = []
    findings: list[Finding] = []
    lines: dict[Qid, int] = {}
    if numbered and not keys:
        wanted = " or ".join(f"`{key}`" for key in possible_keys(dataset))
        findings.append(Finding("E", None, None, f"no row has {wanted}"))
    for line, row in numbered:
        qid, remarks = _identify(dataset, row, truth)
        if qid is not None:
            if qid in lines:
                remarks.append(("E", f"repeats the query of line {lines[qid]}"))
            lines.setdefault(qid, line)
            sound = [_check_key(key, row, dataset, truth[qid], remarks) for key in keys]
            if sound and all(sound):
                scorable.append(row if row["qid"] == qid and type(row["qid"]) is type(qid) else row | {"qid": qid})
        findings += [Finding(level, line, row.get("qid") if qid is None else qid, what) for level, what in remarks]
    findings += [Finding("E", None, qid, NO_PREDICTION) for qid in truth if qid not in lines]
    return scorable, findings


def expected_keys(dataset: str, rows: Iterable[Row]) -> list[str]:
    """Return the keys that decide what is scored: those scored on the dataset that at least one row has."""
    present = set(chain.from_iterable(rows))
    return [key for key in possible_keys(dataset) if key in present]


def possible_keys(dataset: str) -> list[str]:
    """Return the keys of predictions that are scored on a dataset."""
    about = datasets.get(dataset)
    return [key for key, wanted in ((WINDOWS, about.moments), (SALIENCY, about.highlights)) if wanted]


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return only the findings that are errors."""
    return [finding for finding in findings if finding.level == "E"]


def _identify(dataset: str, row: Row, truth: Truth) -> tuple[Qid | None, list[Remark]]:
    """Return the ground-truth qid that a row belongs to, or None, and the findings about its qid and vid."""
    given = row.get("qid")
    is_vid = datasets.get(dataset).qid_is_vid
    qid: Qid | None = as_qid(given)
    if is_vid:
        qid = given if isinstance(given, str) else None
    if qid is None:
        found = "is missing; it must be" if given is None else "is not"
        return None, [("E", f"`qid` {found} {'the vid' if is_vid else 'an integer'}")]
    if qid not in truth:
        return None, [("E", "is no query of the annotations")]
    remarks: list[Remark] = []
    if isinstance(given, str) and not isinstance(qid, str):
        remarks.append(("W", f'`qid` is the string "{given}"; read as {qid}'))
    remarks += [
        ("W", f"`{key}` differs from the annotation: {row[key]!r}, there {truth[qid].get(key)!r}")
        for key in ("vid", "query")
        if key in row and row[key] != truth[qid].get(key)
    ]
    return qid, remarks


def _check_key(key: str, row: Row, dataset: str, annotation: Row, remarks: list[Remark]) -> bool:
    """Add the findings on the value of one key, and return whether it can be scored."""
    if key not in row:
        remarks.append(("E", f"has no `{key}`, other rows have"))
        return False
    value = row[key].tolist() if hasattr(row[key], "tolist") else row[key]
    if key == WINDOWS:
        problem = _windows_problem(value)
        about = _about_windows(value, annotation["duration"]) if not problem else ()
    else:
        problem = _saliency_problem(value)
        about = _about_saliency(value, clips_of(datasets.get(dataset), annotation)) if not problem else ()
    remarks += [("E", problem)] if problem else about
    return not problem


def _windows_problem(windows: Any) -> str:
    if not isinstance(windows, (list, tuple)) or not windows:
        return f"`{WINDOWS}` must list at least one window"
    if all(isinstance(window, (list, tuple)) and len(window) == 3 for window in windows) and are_numbers(
        list(chain.from_iterable(windows))
    ):
        return ""
    return f"`{WINDOWS}` must hold [start, end, score], three finite numbers each"


def _saliency_problem(scores: Any) -> str:
    sound = isinstance(scores, (list, tuple)) and len(scores) > 0 and are_numbers(scores)
    return "" if sound else f"`{SALIENCY}` must be finite numbers, at least one"


def _about_windows(windows: Sequence[Sequence[float]], duration_s: float) -> Iterator[Remark]:
    for start, end, _ in windows:
        if not 0 <= start < end <= duration_s:
            yield from _about_ends(start, end, duration_s)
    if len({(start, end) for start, end, _ in windows}) < len(windows):
        yield "W", "lists a window more than once"
    if len(windows) > MAX_PREDICTIONS:
        yield "W", f"{len(windows)} windows; only the first {MAX_PREDICTIONS} listed count"
    scores = [score for _, _, score in windows]
    if scores[0] < max(scores):
        yield "W", "the first window, which R1 looks at, is not the most confident"
    elif any(here < following for here, following in pairwise(scores)):
        yield "W", "windows are not sorted by score"


def _about_ends(start: float, end: float, duration_s: float) -> Iterator[Remark]:
    if start > end:
        yield "E", f"window [{start}, {end}] ends before it starts"
    if start == end:
        yield "W", f"window [{start}, {end}] has no length"
    if start < 0:
        yield "W", f"window [{start}, {end}] starts before 0"
    if end > duration_s:
        yield "W", f"window [{start}, {end}] ends after the video ({duration_s} s)"


def _about_saliency(scores: Sequence[float], clips: int) -> Iterator[Remark]:
    if len(scores) != clips:
        level: Literal["E", "W"] = "W" if len(scores) == clips - 1 else "E"
        yield level, f"{counted(len(scores), 'saliency score')} for {counted(clips, 'clip')}"
    if len(scores) > 1 and min(scores) == max(scores):
        yield "W", "all saliency scores are equal"
