"""The rules that find a mistake in a row of ground truth. `annotate` and everything that scores use the same rules.

Each rule takes a row in JSON form and returns what is wrong with it, or '' if nothing is wrong. A row that breaks a
rule of this file is *unusable*: a scorer would fail on it, or would count every prediction for it as a miss without
saying so. A dataset lists the rules that apply to it (`usable`). It also lists its own rules for the *released form*
(`released_form`). For example, windows that touch each other can be scored, but no released file of QVHighlights
contains such windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from numbers import Integral
from typing import Any

from pipeline import records
from pipeline.datasets.definition import Complaint
from pipeline.grids import whole_clips
from pipeline.nouns import counted

Row = Mapping[str, Any]

RATINGS = 5
"""Number of different ratings in `saliency_scores`: they are the integers 0 to 4."""


def first_complaint(rules: Iterable[Complaint], row: Row) -> str:
    """Return the complaint of the first rule that the row breaks, or '' if it follows all rules.

    The rules are applied in order, so a rule may rely on the rules before it.
    """
    return next((said for rule in rules if (said := rule(row))), "")


def missing_key(row: Row, keys: Iterable[str]) -> str:
    """Return the first of `keys` that is absent or null in the row, or '' if all are there."""
    return next((key for key in keys if row.get(key) is None), "")


def windows_complaint(row: Row) -> str:
    """Check `relevant_windows`: at least one [start, end] in seconds, each longer than 0 and inside the video.

    Returns what is wrong, or ''.
    """
    windows = row["relevant_windows"]
    sound = is_table(windows, 2) and len(windows) > 0 and records.are_numbers(list(chain.from_iterable(windows)))
    if not sound:
        return "`relevant_windows` must hold at least one [start, end], finite numbers"
    for start, end in windows:
        window = f"window [{start}, {end}]"
        if start > end:
            return f"{window} of `relevant_windows` is empty: it ends before it starts"
        if start == end:
            return f"{window} of `relevant_windows` is empty: it has no length"
        if start < 0:
            return f"{window} of `relevant_windows` leaves the video: it starts before 0"
        if end > row["duration"]:
            return f"{window} of `relevant_windows` leaves the video: it passes the end at {row['duration']} s"
    return ""


def ratings_complaint(row: Row, *, raters: int, clip_s: float) -> str:
    """Check `relevant_clip_ids` and `saliency_scores`.

    `relevant_clip_ids` must be different clips of the video, and each must have `raters` integers from 0 to 4 in
    `saliency_scores`. clip_s: length of a rated clip in seconds. Returns what is wrong, or ''.
    """
    clips, ratings, n = row["relevant_clip_ids"], row["saliency_scores"], whole_clips(row["duration"], clip_s)
    if not isinstance(clips, list | tuple) or not is_table(ratings, raters) or len(clips) != len(ratings):
        return f"needs {raters} `saliency_scores` for each of its `relevant_clip_ids`"
    if odd := _not_whole(clips, n):
        return f"`relevant_clip_ids` must be numbers of the video's {counted(n, 'clip')} (found {odd[0]!r})"
    twice = next((clip for clip, times in Counter(clips).items() if times > 1), None)
    if twice is not None:
        return f"`relevant_clip_ids` names clip {twice} more than once"
    if odd := _not_whole(list(chain.from_iterable(ratings)), RATINGS):
        return f"`saliency_scores` must be integers 0 to {RATINGS - 1} (found {odd[0]!r})"
    return ""


def label_complaint(row: Row, *, clip_s: float) -> str:
    """Check `label` and `duration`.

    `label` must hold the same number of finite ratings for every clip. `duration` must be the number of these clips
    (the released form) or their length in seconds (our form). clip_s: length of a rated clip in seconds. Returns what
    is wrong, or ''.
    """
    label = row["label"]
    width = len(label[0]) if is_table(label) and label else 0
    if not width or not is_table(label, width) or not records.are_numbers(list(chain.from_iterable(label))):
        return "`label` must have equally many annotators for every clip, a finite number each"
    if not duration_form([row], clip_s):
        return f"duration {row['duration']} fits {counted(len(label), 'labelled clip')} neither as clips nor as seconds"
    return ""


def duration_form(annotations: Iterable[Row], clip_s: float) -> str:
    """Return in words which form rows with a `label` have.

    In released rows `duration` counts clips. In our rows it is in seconds. clip_s: length of a rated clip in seconds.
    Returns '' if the duration of a row fits its label in neither form.
    """
    forms = {_form(row, clip_s) for row in annotations}
    return "" if "" in forms else " and ".join(sorted(forms))


def is_table(rows: Any, width: int | None = None) -> bool:
    """Tell whether `rows` is a list of lists. If `width` is given, each of them must have this number of entries."""
    return isinstance(rows, list | tuple) and all(
        isinstance(row, list | tuple) and width in (None, len(row)) for row in rows
    )


def _form(row: Row, clip_s: float) -> str:
    clips = len(row["label"])
    if row["duration"] == clips:
        return f"durations count {clip_s:g}-second clips (released form)"
    # In one released row `label` is a clip shorter than the video, so the two lengths need not be equal.
    return "durations are seconds" if abs(row["duration"] / clip_s - clips) < 2 else ""


def _not_whole(values: Sequence[Any], below: int) -> list[Any]:
    """Return the values that are not integers from 0 to `below` - 1. A boolean does not count as an integer."""
    # Almost every row passes this test, which costs a fraction of the exact one below.
    if set(map(type, values)) <= {int} and all(0 <= value < below for value in values):
        return []
    return [v for v in values if not isinstance(v, Integral) or isinstance(v, bool) or not 0 <= int(v) < below]
