"""The rule that selects an epoch by the number that its dataset names, and a measure of how much of the selected value
is luck."""

from __future__ import annotations

import math
from collections.abc import Sequence

NEIGHBOURS = 5


def selected(curve: Sequence[float]) -> int:
    """Return the position of the evaluation that training selects: the largest value, and the first of equal ones.

    Only a value that compares as larger replaces the kept one. So a NaN that comes first is kept, as in the released
    system.
    """
    return max(range(len(curve)), key=curve.__getitem__)


def luck(curve: Sequence[float]) -> float:
    """Return how much better the selected evaluation is than its neighbours.

    curve: the selection metric at every evaluation, in order of epochs. Returns the selected value minus the mean of
    its neighbours, in the curve's unit. The neighbours are equally many evaluations on each side, at most five. So a
    steady rise or fall cancels and does not count as luck. The result is NaN if one side has no evaluation: the curve
    still rises, or falls from the start.
    """
    at = selected(curve) if curve else 0
    reach = min(NEIGHBOURS, at, len(curve) - 1 - at)
    if reach < 1:
        return math.nan
    around = [*curve[at - reach : at], *curve[at + 1 : at + 1 + reach]]
    return float(curve[at] - math.fsum(around) / len(around))


def still_rising(curve: Sequence[float]) -> bool:
    """Tell whether the last of several evaluations is the selected one, so that its luck cannot be measured."""
    return len(curve) > 1 and selected(curve) == len(curve) - 1
