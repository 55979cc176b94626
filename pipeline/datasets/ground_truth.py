"""What is wrong with a row of ground truth: one set of rules for `annotate` and for everything that scores.

Each rule takes a row in JSON form and says what is wrong with it, or ''. The rules here make a row *unusable*: a scorer
would trip over it, or would count it as a miss of every prediction without a word. A dataset lists those that apply to
it (`usable`), and beside them its own rules for what the *released form* never contains (`released_form`). Windows that
touch each other, for example, can be scored, but no released file of QVHighlights has them.
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

Row = Mapping[str, Any]

RATINGS = 5
"""A rating in `saliency_scores` is one of 0 to 4."""


def first_complaint(rules: Iterable[Complaint], row: Row) -> str:
    """What the first rule that is broken says, or ''. A rule may rely on those before it."""
    return next((said for rule in rules if (said := rule(row))), "")


def missing_key(row: Row, keys: Iterable[str]) -> str:
    """The first of `keys` that the row lacks or that is null, or ''."""
    return next((key for key in keys if row.get(key) is None), "")


def windows_complaint(row: Row) -> str:
    """`relevant_windows` must be at least one [start, end] in seconds, each with a length and inside the video."""
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
    """`saliency_scores` must be `raters` integers 0 to 4 for each of `relevant_clip_ids`, different clips of the video.

    clip_s: seconds of a rated clip.
    """
    clips, ratings, n = row["relevant_clip_ids"], row["saliency_scores"], whole_clips(row["duration"], clip_s)
    if not isinstance(clips, list | tuple) or not is_table(ratings, raters) or len(clips) != len(ratings):
        return f"needs {raters} `saliency_scores` for each of its `relevant_clip_ids`"
    if odd := _not_whole(clips, n):
        return f"`relevant_clip_ids` must be numbers of the video's {n} clips (found {odd[0]!r})"
    twice = next((clip for clip, times in Counter(clips).items() if times > 1), None)
    if twice is not None:
        return f"`relevant_clip_ids` names clip {twice} more than once"
    if odd := _not_whole(list(chain.from_iterable(ratings)), RATINGS):
        return f"`saliency_scores` must be integers 0 to {RATINGS - 1} (found {odd[0]!r})"
    return ""


def label_complaint(row: Row, *, clip_s: float) -> str:
    """`label` must be equally many numbers for every clip, and `duration` must fit it as clips or as seconds.

    clip_s: seconds of a rated clip.
    """
    label = row["label"]
    width = len(label[0]) if is_table(label) and label else 0
    if not width or not is_table(label, width) or not records.are_numbers(list(chain.from_iterable(label))):
        return "`label` must have equally many annotators for every clip, a finite number each"
    if not duration_form([row], clip_s):
        return f"duration {row['duration']} fits {len(label)} labelled clips neither as clips nor as seconds"
    return ""


def duration_form(annotations: Iterable[Row], clip_s: float) -> str:
    """Say in which form rows with a `label` are: released rows count clips as `duration`, ours give seconds.

    clip_s: seconds of a rated clip. '' where a row's duration fits its label in neither form.
    """
    forms = {_form(row, clip_s) for row in annotations}
    return "" if "" in forms else " and ".join(sorted(forms))


def is_table(rows: Any, width: int | None = None) -> bool:
    """Whether it is a list of lists, each of `width` entries where one is given."""
    return isinstance(rows, list | tuple) and all(
        isinstance(row, list | tuple) and width in (None, len(row)) for row in rows
    )


def _form(row: Row, clip_s: float) -> str:
    clips = len(row["label"])
    if row["duration"] == clips:
        return f"durations count {clip_s:g}-second clips (released form)"
    # One released label list is a clip shorter than its video, hence not the whole number of clips exactly.
    return "durations are seconds" if abs(row["duration"] / clip_s - clips) < 2 else ""


def _not_whole(values: Sequence[Any], below: int) -> list[Any]:
    """Those that are no integers from 0 to `below` - 1; booleans are none."""
    if set(map(type, values)) <= {int} and all(0 <= value < below for value in values):
        return []
    return [v for v in values if not isinstance(v, Integral) or isinstance(v, bool) or not 0 <= int(v) < below]
