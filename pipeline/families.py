"""Every family of features, as data: what makes its rows, from which input, with which weights, and what a row costs.

A family is one exact kind of feature. To add one is to add an entry to `FAMILIES`; a class is needed only where a
library is new (`pipeline/encoders/`). What the entry says of the input is known without importing that class, so that a
plan, a passport and an estimate cost nothing. The passport is what a store carries to say of which family its rows are.
A config adds families of the libraries open_clip and torchvision by their names (`families`, `own_families.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline import own_families
from pipeline.errors import PipelineError
from pipeline.family import Cost, Family, Passport

__all__ = [
    "FAMILIES",
    "Cost",
    "Family",
    "Passport",
    "choice_of",
    "cost_of",
    "learn",
    "own_definitions",
    "own_weight_files",
    "register",
    "why_unknown",
]

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
    """Return the cost of one row.

    If nobody measured it, the cost of the most expensive measured family with the same encoder (or else the same
    reader) is assumed.
    """
    family = FAMILIES[name]
    if family.cost is not None:
        return family.cost
    measured = [other for other in FAMILIES.values() if other.cost is not None and other.reader == family.reader]
    alike = [other for other in measured if other.encoder == family.encoder] or measured
    dearest = max((other.cost for other in alike if other.cost is not None), default=Cost(0.0, 0.0))
    return dearest._replace(known="assumed")


def choice_of(source: str, choices: Mapping[str, str]) -> str:
    """Return which weights stand for a name under a family's `weights`: `released`, or `random:SEED`.

    choices: `encoding.weights` of the config.
    """
    return source if source.startswith(own_families.RANDOM) else choices.get(source, "released")


def register(definitions: Mapping[str, own_families.Definition]) -> None:
    """Register the families of these definitions in this process, and remove all other families of the user's own.

    Raises PipelineError for an invalid definition, and for a family that already exists.
    """
    made = {name: own_families.families_of(name, definition) for name, definition in definitions.items()}
    for name in [name for name, family in FAMILIES.items() if family.is_own]:
        del FAMILIES[name]
    _OWN.clear()
    for name, families in made.items():
        _add(name, definitions[name], families)


def learn(definitions: Mapping[str, own_families.Definition]) -> None:
    """Register more definitions in this process. Raises PipelineError if another one of that name is registered."""
    for name, definition in definitions.items():
        if name not in _OWN:
            _add(name, definition, own_families.families_of(name, definition))
        elif _OWN[name] != definition:
            raise PipelineError(
                "another family of that name is already registered in this process",
                where=name,
                remedy="use one process for each",
            )


def why_unknown(family: str) -> str:
    """Return why a definition makes no family of words, if a name asks for that one; else ''."""
    name = family.removesuffix(own_families.TEXT)
    definition = _OWN.get(name, {}) if name != family else {}
    if definition.get("encoder") == "open_clip":
        return own_families.why_without_words(definition["model"])
    return f"`families.{name}` is a model of videos and makes no words" if definition else ""


def own_definitions(families: Iterable[str]) -> dict[str, own_families.Definition]:
    """Return the definitions behind some families: name in the config → definition."""
    wanted = set(families)
    return {
        name: definition
        for name, definition in _OWN.items()
        if wanted & own_families.families_of(name, definition).keys()
    }


def own_weight_files() -> dict[str, Path]:
    """Return the weight files of this machine that definitions name: name of the source → path."""
    return dict(weight_files_of_definitions().values())


def weight_files_of_definitions() -> dict[str, tuple[str, Path]]:
    """Return name of the definition → (name of its source, path of its weight file), for those that name a file."""
    return {
        name: (own_families.source_of(name), Path(definition["weights"]))
        for name, definition in _OWN.items()
        if own_families.is_file(definition["weights"])
    }


def _add(name: str, definition: own_families.Definition, families: Mapping[str, Family]) -> None:
    if taken := [family for family in families if family in FAMILIES]:
        raise PipelineError(
            f"would make {taken[0]}, which is another family", where=f"families.{name}", remedy="give it another name"
        )
    FAMILIES.update(families)
    _OWN[name] = definition


_OWN: dict[str, own_families.Definition] = {}
"""The definitions that this process knows."""

register(own_families.known_here())
