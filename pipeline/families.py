"""Every family of features, as data: what makes its rows, from which input, with which weights, and what a row costs.

A family is one exact kind of feature. To add one is to add an entry to `FAMILIES`; a class is needed only where a
library is new (`pipeline/encoders/`). What the entry says of the input is known without importing that class, so that a
plan, a passport and an estimate cost nothing. The passport is what a store carries to say of which family its rows are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """What one row costs; where words are encoded, what one query costs.

    cpu_s: seconds of one core. macs: multiply-adds, in 10⁹. known: `measured`, or `assumed` where nobody measured it.
    """

    cpu_s: float
    macs: float
    known: str = "measured"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One exact kind of feature. Only `dim`, the length of a row, is said of every family.

    reader: `frames224`, `native`, `sound` or `words`; None for families that only an archive has ("released only").
    encoder: the class that makes the rows, `module:Class`; None for families that only an archive has.
    options: what that class is given beside weights and device; every value is one that a config file can hold.
    weights: names in sources.csv, in the order the encoder takes them; none where nobody has them.
    sampling: which frames one input holds, a name in `video.frame_grid.SAMPLINGS`. view: what those frames look like,
    `frames224` or a name in `video.views.VIEWS`. Both are empty for sound and words.
    batch: the most inputs (frames, pieces of sound, queries) that the encoder is given at a time; 1 for words whose
    numbers are computed. rows_per_input: how many rows one input gives, in order of time.
    preprocessing: one line for the passport that names sampling, resize filter, crop and normalisation.
    grid: the only grid it can be made on; None where it can be made on any, or by nobody.
    instead_of: the released family that this one stands in for, because nobody can make that one again.
    from_word_table: whether the released systems take the rows of such words from a table while they train. No archive
    holds these rows, so every experiment makes them.
    cost: of one row; None where nobody measured it (`cost_of` then assumes one).
    revision: a number that is raised when the numbers of the rows change.
    """

    dim: int
    reader: str | None = None
    encoder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    sampling: str = ""
    view: str = ""
    batch: int = 1
    rows_per_input: int = 1
    preprocessing: str = ""
    grid: str | None = None
    instead_of: str | None = None
    from_word_table: bool = False
    cost: Cost | None = None
    revision: int = 1


_CLIP = {"model": "ViT-B-32-quickgelu"}
_CLIP_TEXT: dict[str, Any] = {
    "reader": "words",
    "dim": 512,
    "encoder": "pipeline.encoders.clip:TextEncoder",
    "weights": ("clip-vit-b32",),
    "cost": Cost(0.034, 1.2),
    "revision": 2,
}
# Moment-DETR's copy of the tokeniser cuts at 30 tokens; 8 of 10,310 QVHighlights queries are longer.
_MOST_TOKENS = {"most_tokens": 30}

_GLOVE: dict[str, Any] = {
    "reader": "words",
    "dim": 300,
    "encoder": "pipeline.encoders.glove:GloVe",
    "weights": ("glove-6b",),
    "batch": 1024,
    "from_word_table": True,
    "cost": Cost(0.0, 0.0),
}

_SLOWFAST: dict[str, Any] = {
    "reader": "frames224",
    "dim": 2304,
    "encoder": "pipeline.encoders.slowfast:SlowFast",
    "sampling": "motion",
    "view": "frames224",
    "batch": 4,
    "preprocessing": (
        "32 frames of each clip at 30 fps, spread by the source's rate, 8 of them slow;"
        " short side 224, swscale bilinear; centre crop 224; RGB, mean 0.45, std 0.225"
    ),
    "cost": Cost(1.8, 50.3),
    "revision": 3,
}

_PANN: dict[str, Any] = {
    "reader": "sound",
    "dim": 2048,
    "encoder": "pipeline.encoders.pann:Cnn14",
    "weights": ("pann-cnn14",),
    "batch": 32,
    "preprocessing": "mean of channels, soxr_hq to 32 kHz; 2 s around each row's middle, zeros beyond the edges",
    "cost": Cost(0.17, 4.2),
    "revision": 3,
}

FAMILIES: dict[str, Family] = {
    "clip-vit-b32": Family(
        reader="frames224",
        dim=512,
        encoder="pipeline.encoders.clip:ImageEncoder",
        options=_CLIP | {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
        weights=("clip-vit-b32",),
        sampling="middle",
        view="frames224",
        batch=32,
        preprocessing=(
            "frame before each clip's middle; short side 224, swscale bilinear; centre crop 224; RGB, CLIP mean and std"
        ),
        cost=Cost(0.11, 4.4),
        revision=3,
    ),
    "clip-text": Family(
        **_CLIP_TEXT,
        options=_CLIP | _MOST_TOKENS | {"rows": "states"},
        preprocessing=(
            "CLIP BPE of the lower-cased query, cut to 30 tokens, SOT and EOT around them; states after ln_final"
        ),
    ),
    "clip-token-table": Family(
        **_CLIP_TEXT,
        options=_CLIP | _MOST_TOKENS | {"rows": "embedding"},
        preprocessing=(
            "CLIP BPE of the lower-cased title, cut to 30 tokens, SOT and EOT around them; token embedding rows"
        ),
    ),
    "glove-6b-300d": Family(
        **_GLOVE,
        options={"strips_full_stop": True},
        preprocessing="final full stop stripped, split at blanks, lower-cased; unknown words are zeros",
    ),
    "glove-6b-300d-kept-stop": Family(
        **_GLOVE,
        options={"strips_full_stop": False},
        preprocessing="split at blanks, lower-cased, full stops kept; unknown words are zeros",
    ),
    "slowfast-r50-caffe2": Family(**_SLOWFAST, options={"release": "caffe2"}, weights=("slowfast-r50-caffe2",)),
    "slowfast-r50-pytorchvideo": Family(
        **_SLOWFAST, options={"release": "pytorchvideo"}, weights=("slowfast-r50-pytorchvideo",)
    ),
    "i3d-resnet50": Family(
        reader="frames224",
        dim=2048,
        encoder="pipeline.encoders.i3d_resnet:ResNetI3D",
        weights=("i3d-resnet50",),
        sampling="slow",
        view="frames224",
        batch=8,
        preprocessing=(
            "8 frames of each clip at 30 fps, SlowFast's slow ones;"
            " short side 224, swscale bilinear; centre crop 224; RGB, mean 0.45, std 0.225"
        ),
        cost=Cost(1.0, 28.4),
        revision=3,
    ),
    "i3d-inception-rgb-tvsum": Family(
        reader="native",
        dim=1024,
        encoder="pipeline.encoders.i3d:RgbI3D",
        options={"conversion": "hassony2", "over_time": "mean"},
        weights=("i3d-inception-rgb-kinetics",),
        sampling="stacks16",
        view="crop224of256",
        batch=8,
        preprocessing=(
            "stacks of 32 frames at 16 fps; short side 256, PIL bilinear; centre crop 224; RGB in -1 … 1;"
            " Mixed_5c pooled over 2×7×7, mean over time"
        ),
        grid="2s",
        cost=Cost(2.0, 55.6),
        revision=3,
    ),
    "i3d-inception-flow-tvsum": Family(dim=1024),
    "i3d-inception-flow-raft-tvsum": Family(
        reader="native",
        dim=1024,
        encoder="pipeline.encoders.i3d:FlowI3D",
        options={"conversion": "hassony2", "over_time": "mean"},
        weights=("i3d-inception-flow-kinetics", "raft-large"),
        sampling="stacks16-flow",
        view="short256",
        batch=1,
        preprocessing=(
            "stacks of 33 frames at 16 fps; short side 256, PIL bilinear; flow by RAFT (large, 20 updates), cut at 20"
            " pixels, in 256 steps; centre crop 224; -1 … 1; Mixed_5c pooled over 2×7×7, mean over time"
        ),
        grid="2s",
        instead_of="i3d-inception-flow-tvsum",
        cost=Cost(124.0, 4480.0),
        revision=3,
    ),
    "i3d-inception-rgb-charades": Family(
        reader="native",
        dim=1024,
        encoder="pipeline.encoders.i3d:RgbI3D",
        options={"conversion": "piergiaj", "over_time": "rows"},
        weights=("i3d-inception-rgb-charades",),
        sampling="stacks24",
        view="crop224",
        batch=8,
        rows_per_input=2,
        preprocessing=(
            "windows of 24 frames at 24 fps; native size, from a short side of 226; centre crop 224; RGB in -1 … 1;"
            " Mixed_5c pooled over 2×7×7, two rows a window"
        ),
        grid="0.5s",
        cost=Cost(0.72, 20.8),
        revision=3,
    ),
    "vgg16-imagenet": Family(
        reader="native",
        dim=4096,
        encoder="pipeline.encoders.vgg:Vgg16",
        options={"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        weights=("vgg16-imagenet",),
        sampling="every4of24",
        view="crop224of256",
        batch=8,
        preprocessing=(
            "every 4th frame of 24 fps; short side 256, PIL bilinear; centre crop 224; RGB, ImageNet mean and std"
        ),
        grid="1-6s",
        instead_of="vgg16-charades",
        cost=Cost(0.31, 15.5),
        revision=3,
    ),
    "vgg16-charades": Family(dim=4096),
    "vgg16-flow-charades": Family(dim=4096),
    "pann-cnn14": Family(**_PANN),
    "pann-cnn14-centred": Family(**_PANN, instead_of="pann-cnn14-charades"),
    "pann-cnn14-charades": Family(dim=2048),
}
"""Name → family. The costs were measured (seconds) and counted (multiply-adds) by `benchmarks/rates.py`."""


def cost_of(name: str) -> Cost:
    """What one row of a family costs: measured, or else assumed.

    Assumed is the cost of the dearest measured family with the same encoder; where there is none, of the dearest with
    the same reader.
    """
    family = FAMILIES[name]
    if family.cost is not None:
        return family.cost
    measured = [other for other in FAMILIES.values() if other.cost is not None and other.reader == family.reader]
    alike = [other for other in measured if other.encoder == family.encoder] or measured
    dearest = max((other.cost for other in alike if other.cost is not None), default=Cost(0.0, 0.0))
    return dearest._replace(known="assumed")


@dataclass(frozen=True)
class Passport:
    """What says that two arrays are of one kind: the root attributes of every feature store.

    origin: `raw`, or the released archive's name in sources.csv. weights: digest of the weight file, `random:{seed}`,
    `none` or `released`. grid: `2s`, `1s`, `0.5s`, `1-6s` or `tokens`. dim: length of a row. dtype: `float16` or
    `float32`. preprocessing: one line that names sampling, resize filter, crop and normalisation.
    """

    family: str
    revision: int
    origin: str
    weights: str
    grid: str
    dim: int
    dtype: str
    preprocessing: str
