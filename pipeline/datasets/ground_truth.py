"""What makes a ground-truth moment impossible: one set of rules for `annotate` and for everything that scores.

A scorer that accepted such a window would count it as a miss of every prediction, without a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any


def window_complaint(windows: Sequence[Sequence[float]], duration: float) -> str:
    """What is wrong with the first impossible window, '' where all can be ground truth.

    windows: [start, end] in seconds, finite numbers. duration: of the video, in seconds.
    """
    for start, end in windows:
        window = f"window [{start}, {end}]"
        if start > end:
            return f"{window} of `relevant_windows` is empty: it ends before it starts"
        if start == end:
            return f"{window} of `relevant_windows` is empty: it has no length"
        if start < 0:
            return f"{window} of `relevant_windows` leaves the video: it starts before 0"
        if end > duration:
            return f"{window} of `relevant_windows` leaves the video: it passes the end at {duration} s"
    return ""


def clip_complaint(clips: Sequence[Any]) -> str:
    """Which clip `relevant_clip_ids` names more than once; '' where each is named once. Clips must be hashable."""
    twice = next((clip for clip, times in Counter(clips).items() if times > 1), None)
    return "" if twice is None else f"`relevant_clip_ids` names clip {twice} more than once"
