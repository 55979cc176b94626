"""A dataset of one's own, as CONTRIBUTING.md describes it: moments, and one person's ratings of clips of 1 second.

A test copies this file into `pipeline/datasets/`, and its name into the registry. Its files give times in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pipeline.datasets.definition import Dataset, Highlights
from pipeline.datasets.ground_truth import ratings_complaint, windows_complaint
from pipeline.records import Query

HIGHLIGHTS = Highlights(clip="1s", raters=1, scored_by="levels")


def _long_query(row: Mapping[str, Any]) -> str:
    return "" if len(row["query"].split()) <= 5 else "`query` has more than five words"


def _seconds(query: Query) -> Query:
    windows = tuple((start / 1000, end / 1000) for start, end in query.relevant_windows or ())
    return replace(query, duration=query.duration / 1000, relevant_windows=windows)


DATASET = Dataset(
    name="toy",
    truth_keys=("duration", "relevant_windows", "relevant_clip_ids", "saliency_scores"),
    usable=(windows_complaint, partial(ratings_complaint, raters=HIGHLIGHTS.raters, clip_s=HIGHLIGHTS.clip_s)),
    released_form=(_long_query,),
    to_seconds=_seconds,
    video_of=lambda vid: vid.split("_")[0],
    moments=True,
    highlights=HIGHLIGHTS,
    selected_by="HL-min-VeryGood-mAP",
    selected_by_label="HD mAP",
)
