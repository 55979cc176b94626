"""QVHighlights: moments, and rated clips of 2 seconds, in 150-second pieces of YouTube videos.

Released rows already have the form that this project uses, so nothing is converted. The rules here refuse what the
released files never contain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pipeline.datasets.archives import Archive, Layout
from pipeline.datasets.definition import Dataset, Highlights, Released
from pipeline.datasets.ground_truth import ratings_complaint, windows_complaint
from pipeline.errors import PipelineError

HIGHLIGHTS = Highlights(clip="2s", raters=3, scored_by="levels")
CLIP_S = int(HIGHLIGHTS.clip_s)

RELEASED = {
    "fd28404187468f57cf99242be2963127dc9b4aef26c7de3cb9469569801f2625": Released("train", 7218, 7100, 294.94),
    "f668a1eaea156ec5315e14718999cea043a8cf948d3cafbd8e8d655318c3cd02": Released("val", 1550, 1519, 63.13),
    "0462f0cb582b54913671ba5ebfc325931ffa6d422c60cb72520749fc6d5d05a3": Released("test", 1542, 1529, 63.52),
    "bd50ec6bb5dd3f72571126ba5fdc7418efdd9219a9487984e483a02e2ce5d493": Released("test", 1542, 1529, 63.52),
}
"""The counted content of each released annotation file. The key is the SHA-256 of the file.

Of the two test files, the first one comes without ground truth.
"""

MOMENT_DETR: Archive = {
    "slowfast-r50-caffe2": Layout("slowfast_features/{vid}.npz", "features"),
    "clip-vit-b32": Layout("clip_features/{vid}.npz", "features"),
    "pann-cnn14": Layout("pann_features/{vid}.npy"),
    "clip-text": Layout("clip_text_features/qid{qid}.npz", "last_hidden_state", "pooler_output"),
}
"""The layout of Moment-DETR's archive. UMT's archive has the same layout and also contains the sound."""

_VID = re.compile(r"(?P<youtube>[A-Za-z0-9_-]{11})_(?P<start>\d+\.\d)_(?P<end>\d+\.\d)")


def split_vid(vid: str) -> tuple[str, float, float]:
    """Split a vid of the form `{youtube id}_{start}_{end}` into its parts.

    Returns the YouTube id (11 characters, which may contain `_` and begin with `-`), and start and end in seconds.
    Raises PipelineError for a vid of another form.
    """
    parts = _VID.fullmatch(vid)
    if parts is None:
        raise PipelineError("is no `{11 characters}_{start}_{end}`", where=f"vid {vid!r}", remedy="correct the vid")
    return parts["youtube"], float(parts["start"]), float(parts["end"])


def youtube_video(vid: str) -> str:
    """Return the id of the YouTube video that a piece was cut from.

    Everything after the second last `_`, and this `_`, is removed. Scoring also gets vids of other forms, so no form is
    required.
    """
    return vid.rsplit("_", 2)[0]


def _odd_video(row: Mapping[str, Any]) -> str:
    try:
        _, start, end = split_vid(row["vid"])
    except PipelineError as error:
        return f"vid {row['vid']!r} {error.what}"
    duration = row["duration"]
    if not 0 < duration <= end - start or duration % CLIP_S != 0:
        return f"duration {duration} of {row['vid']} is not an even number of seconds up to {end - start}"
    return ""


def _odd_windows(row: Mapping[str, Any]) -> str:
    previous_end = -1.0
    for start, end in row.get("relevant_windows") or ():
        if start % CLIP_S or end % CLIP_S:
            return f"window [{start}, {end}] is off the {CLIP_S} s grid"
        if start <= previous_end:
            return f"window [{start}, {end}] touches the one before it, or begins earlier than that one ends"
        previous_end = end
    return ""


def _odd_clips(row: Mapping[str, Any]) -> str:
    covered = [clip for window in row.get("relevant_windows") or () for clip in _covered(window)]
    named = list(row.get("relevant_clip_ids") or ())
    return "" if named == covered else "relevant_clip_ids are not the clips of its windows"


def _covered(window: Sequence[float]) -> range:
    """Return the numbers of the clips that a window covers. Clip i is [2i, 2i + 2) in seconds, and windows lie on even
    seconds."""
    return range(int(window[0]) // CLIP_S, int(window[1]) // CLIP_S)


DATASET = Dataset(
    name="qvhighlights",
    truth_keys=("duration", "relevant_windows", "relevant_clip_ids", "saliency_scores"),
    usable=(windows_complaint, partial(ratings_complaint, raters=HIGHLIGHTS.raters, clip_s=HIGHLIGHTS.clip_s)),
    released_form=(_odd_video, _odd_windows, _odd_clips),
    hides_truth=True,
    released=RELEASED,
    video_of=youtube_video,
    moments=True,
    highlights=HIGHLIGHTS,
    tables=(1, 4),
    figure=2,
    predictions_end="-predictions-{split}",
    longest_s=150.0,
    padded_s=150.0,
    archives=(MOMENT_DETR,),
    name_in_options="hl",
)
