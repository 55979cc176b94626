"""Charades-STA: each sentence has one moment in a video of people at home. No clips are rated.

The released JSONL has 12,404 training rows, while the paper prints 12,408: four lines and two videos of the original
text files are missing from it, and its authors do not say why. The ends of its windows are clamped to the duration. Its
one held-out split is released as `test` and is called `val` here. Epochs are selected on it, and Table 2 reports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.datasets.archives import Archive, Layout
from pipeline.datasets.definition import Dataset, Released
from pipeline.datasets.ground_truth import windows_complaint

RELEASED = {
    "bcb0deddbb552354323a26dd39d3d9f2fe6d9b70fd9e51697344317364962442": Released("train", 12404, 5336, 45.76),
    "13d6e9152794d87bb501a827edcbe69e5c0428f0af60e926e6b87e4f452ad5b2": Released("val", 3720, 1334, 10.92),
}
"""The counted content of each released annotation file. The key is the SHA-256 of the file."""

UMT: Archive = {
    "vgg16-charades": Layout("rgb_features/{vid}.npy"),
    "vgg16-flow-charades": Layout("opt_features/{vid}.npy"),
    "pann-cnn14-charades": Layout("audio_features/{vid}.npy"),
}

CG_DETR: Archive = {
    "slowfast-r50-caffe2": Layout("slowfast_features/{vid}.npz", "features"),
    "clip-vit-b32": Layout("clip_features/{vid}.npz", "features"),
    "clip-text": Layout("clip_text_features/qid{qid}.npz", "last_hidden_state", "pooler_output"),
    "vgg16-charades": Layout("vgg_features/rgb_features/{vid}.npy"),
}

VSLNET: Archive = {
    # There are two rows for every second that has begun. The last second may be only a short moment, so a file can have
    # two rows more than the video has clips.
    "i3d-inception-rgb-charades": Layout("{vid}.npy", shapes="feature_shapes.json", rows_apart=2),
}

FRAMES: Archive = {
    "vgg16-charades": Layout("Charades_v1_features_rgb/{vid}", every=4),
    "vgg16-flow-charades": Layout("Charades_v1_features_flow/{vid}", every=4),
}
"""The dataset's own archives. They are read but never written: UMT's archive has the same rows in far fewer files."""


def _not_one_window(row: Mapping[str, Any]) -> str:
    n = len(row["relevant_windows"])
    return "" if n == 1 else f"has {n} windows, where every released row has exactly one window"


DATASET = Dataset(
    name="charades_sta",
    truth_keys=("duration", "relevant_windows"),
    usable=(windows_complaint,),
    released_form=(_not_one_window,),
    released=RELEASED,
    moments=True,
    tables=(2,),
    also_scored={"charades": "first window"},
    padded_s=44.8,
    archives=(UMT, CG_DETR, VSLNET, FRAMES),
)
