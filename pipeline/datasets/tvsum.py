"""TVSum: twenty people rated every 2-second clip of 50 videos in ten domains. There are no moments.

The released `duration` counts clips. It is turned into seconds here (2 × n), because this project counts time in
seconds everywhere. Each domain has one val video, and Table 3 reports this same video.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pipeline.datasets.archives import Archive, Layout
from pipeline.datasets.definition import Dataset, Highlights, Released
from pipeline.datasets.ground_truth import is_table, label_complaint
from pipeline.nouns import counted
from pipeline.records import Query

DOMAINS = ("VT", "VU", "GA", "MS", "PK", "PR", "FM", "BK", "BT", "DS")
"""The ten domains, in the order of Table 3."""

HIGHLIGHTS = Highlights(clip="2s", raters=20, scored_by="top5")

RELEASED = {
    "f23a819e3b97d1404b986995cfd84e2c8e6ec2ab6f1fb8e035984332c8918380": Released("train", 40, 40, 2.44),
    "4b0788e8aa8091fd57f5a1d550d8998d9fda206e5014b716e52d3232b2d5a426": Released("val", 10, 10, 1.04),
}
"""The counted content of each released annotation file. The key is the SHA-256 of the file."""

UMT: Archive = {
    "i3d-inception-rgb-tvsum": Layout("video_features/{vid}_rgb.npy"),
    "i3d-inception-flow-tvsum": Layout("video_features/{vid}_opt.npy"),
    "pann-cnn14": Layout("audio_features/{vid}.npy"),
    "clip-token-table": Layout("query_features/{vid}.npz", "token", "text", (1, -1)),
}


def _odd_domain(row: Mapping[str, Any]) -> str:
    known = row["domain"] in DOMAINS
    return "" if known else f"domain {row['domain']!r} of {row['vid']} is none of {' '.join(DOMAINS)}"


def _odd_ratings(row: Mapping[str, Any]) -> str:
    label, raters = row["label"], HIGHLIGHTS.raters
    if not is_table(label, raters) or not all(1 <= score <= 5 for ratings in label for score in ratings):
        return f"labels of {row['vid']} are not {raters} numbers from 1 to 5 for each clip"
    return ""


def _odd_duration(row: Mapping[str, Any]) -> str:
    if len(row["label"]) != row["duration"]:
        return (
            f"{row['vid']} has {counted(len(row['label']), 'row')} of labels and a duration of {row['duration']} clips"
        )
    return ""


def _in_seconds(query: Query) -> Query:
    counts_clips = isinstance(query.label, tuple) and len(query.label) == query.duration
    # A duration that is not the number of clips stays as it is. `label_complaint` then says what is wrong with it.
    return replace(query, duration=HIGHLIGHTS.clip_s * query.duration) if counts_clips else query


DATASET = Dataset(
    name="tvsum",
    truth_keys=("duration", "label", "domain"),
    usable=(partial(label_complaint, clip_s=HIGHLIGHTS.clip_s),),
    released_form=(_odd_domain, _odd_ratings, _odd_duration),
    qid_is_vid=True,
    to_seconds=_in_seconds,
    released=RELEASED,
    moments=False,
    highlights=HIGHLIGHTS,
    domains=DOMAINS,
    tables=(3,),
    figure=3,
    selected_by="average",  # top-5 mAP as a fraction of 1, averaged over domains
    to_percent=100.0,
    selected_by_label="top-5 mAP",
    one_video_vector=True,
    normalise_text=False,
    padded_s=323.0,
    archives=(UMT,),
    name_in_options="tvsum",
    options_cut_text=False,
)
