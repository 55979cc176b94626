"""By what an epoch is selected, and how much of the selected one is luck."""

from __future__ import annotations

import math
from collections.abc import Sequence

SELECTED_BY = {"qvhighlights": "MR-full-mAP", "charades_sta": "MR-full-mAP", "tvsum": "average"}
"""The headline number of the watched split whose largest value selects an epoch (released rule); a column of `log.csv`.

`average`: TVSum's top-5 mAP, a fraction."""

NEIGHBOURS = 5


def luck(curve: Sequence[float]) -> float:
    """How far the selected evaluation stands above its neighbours.

    curve: the selection metric at every evaluation, in order of epochs; the largest is selected, the first of equals.
    Returns its value minus the mean of five evaluations on each side (fewer at an end), in the curve's unit; NaN
    when there is no neighbour.
    """
    if len(curve) < 2:
        return math.nan
    selected = max(range(len(curve)), key=curve.__getitem__)
    around = [*curve[max(0, selected - NEIGHBOURS) : selected], *curve[selected + 1 : selected + 1 + NEIGHBOURS]]
    return float(curve[selected] - math.fsum(around) / len(around))
