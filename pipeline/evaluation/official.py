"""Makes the community's metrics file from per-query scores, with its names, its order and its rounding.

Every value is a percentage at full precision until `rounded`. Each headline number has a column of per-query values,
whose mean it is (0 to 1, NaN for a query without a value).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.highlights import LEVELS, HighlightScores
from pipeline.evaluation.moments import RANGES, THRESHOLDS, RangeScores

Tree = dict[str, Any]
NAMES = [f"{threshold:g}" for threshold in THRESHOLDS]


@dataclass(frozen=True)
class Part:
    """The part of the metrics file that belongs to one task: moments or highlights.

    brief: the headline numbers. trees: the other blocks of the file. columns: headline number → its value for each
    query. counts: the number of queries in each range of window lengths.
    """

    brief: Tree
    trees: Tree
    columns: dict[str, np.ndarray]
    counts: dict[str, int]


NOTHING = Part({}, {}, {}, {})


def moment_part(ranges: Mapping[str, RangeScores]) -> Part:
    """Return the `MR-…` numbers of all length ranges, with nulls for a range without queries."""
    trees = {name: _range_tree(scores) for name, scores in ranges.items()}
    full, others = ranges["full"], [name for name in RANGES if name != "full"]
    precision, recall = trees["full"]["MR-mAP"], trees["full"]["MR-R1"]
    brief = {
        "MR-full-R1@0.5": recall["0.5"],
        "MR-full-R1@0.7": recall["0.7"],
        "MR-full-mAP": precision["average"],
        "MR-full-mAP@0.5": precision["0.5"],
        "MR-full-mAP@0.75": precision["0.75"],
        **{f"MR-{name}-mAP": trees[name]["MR-mAP"]["average"] for name in others},
    }
    columns = {
        "MR-full-R1@0.5": full.reaches(0.5),
        "MR-full-R1@0.7": full.reaches(0.7),
        "MR-full-mAP": full.ap.mean(axis=1),
        "MR-full-mAP@0.5": full.ap[:, THRESHOLDS.index(0.5)],
        "MR-full-mAP@0.75": full.ap[:, THRESHOLDS.index(0.75)],
        **{f"MR-{name}-mAP": ranges[name].ap.mean(axis=1) for name in others},
    }
    return Part(brief, trees, columns, {name: int(ranges[name].present.sum()) for name in others})


def first_window_part(name: str, full: RangeScores) -> Part:
    """Return a block of numbers on the first predicted window, as CG-DETR reports them for Charades-STA: R1@0.3 and the
    mean hull IoU. name: the name of the block in the metrics file."""
    columns = {"MR-full-R1@0.3": full.reaches(0.3), "MR-full-mIoU": full.iou}
    return Part({}, {name: {column: 100 * float(values.mean()) for column, values in columns.items()}}, columns, {})


BLOCKS = {"first window": first_window_part}
"""Kinds of blocks that papers on some datasets add. A dataset names them under `also_scored`."""


def highlight_part(scores: HighlightScores) -> Part:
    """Return the `HL-…` numbers of the three levels."""
    brief: Tree = {}
    trees: Tree = {}
    columns: dict[str, np.ndarray] = {}
    for index, level in enumerate(LEVELS):
        name, ap, hit = f"HL-min-{level}", scores.ap[:, :, index], scores.hit[:, index]
        # The copy is contiguous in memory, so NumPy sums it in the community's order.
        trees[name] = {"HL-mAP": 100 * float(ap.copy().mean()), "HL-Hit1": 100 * float(hit.mean())}
        brief |= {f"{name}-mAP": trees[name]["HL-mAP"], f"{name}-Hit1": trees[name]["HL-Hit1"]}
        columns |= {f"{name}-mAP": ap.mean(axis=1), f"{name}-Hit1": hit.astype(np.float64)}
    return Part(brief, trees, columns, {})


def rounded(value: Any, decimals: int = 2) -> Any:
    """Return a tree with every number rounded as the community prints it: in decimal, from its exact binary value."""
    if isinstance(value, dict):
        return {key: rounded(item, decimals) for key, item in value.items()}
    return None if value is None else float(f"{value:.{decimals}f}")


def _range_tree(scores: RangeScores) -> Tree:
    present = scores.present
    if not present.any():
        nothing = dict.fromkeys(NAMES)
        return {"MR-mAP": {**nothing, "average": None}, "MR-R1": nothing}
    ap = scores.ap[present].mean(axis=0)
    recall = (scores.iou[present, None] >= np.array(THRESHOLDS)).mean(axis=0)
    return {"MR-mAP": {**_percent(ap), "average": 100 * float(ap.mean())}, "MR-R1": _percent(recall)}


def _percent(values: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, (100 * values).tolist(), strict=True))
