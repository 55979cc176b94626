"""Families that a config defines by the name of a model in a library. They are made from their definition.

An example in config.yaml is `families: {vit-l14: {encoder: open_clip, model: ViT-L-14, weights: FILE}}`. A process that
reads the config registers them. A job does not read the config, so it gets the definitions through an environment
variable, like those of a user's own datasets.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pipeline.errors import PipelineError
from pipeline.family import Cost, Family
from pipeline.library_models import TORCHVISION_VIDEO, OpenClipModel, holders_of, open_clip_models

VARIABLE = "TR_DETR_FAMILIES"
"""The environment variable with all definitions, as JSON."""

Definition = Mapping[str, Any]
"""The content of a section under `families`: `encoder`, `model`, `weights`, and `pretrained` and `batch` if they are
given. A path under `weights` is absolute."""

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""The pattern of a family's name. The name becomes a folder and part of messages."""

RANDOM = "random:"
"""The beginning of the value of `weights` if the weights are random numbers."""

SAFETENSORS = ".safetensors"
"""The suffix of files from which open_clip's models are read. Such a file contains no code."""

TEXT = "-text"
"""The suffix of the family of a definition's text tower."""

IMAGE_BATCH = 16
FRAMES_AT_ONCE = 64
"""Largest number of frames in a batch of clips, unless one clip has more."""

_PICTURES_S_PER_GMAC = 0.11 / 4.4
_QUERIES_S_PER_GMAC = 0.034 / 1.2
_CLIPS_S_PER_GMAC = 1.8 / 50.3
"""Seconds of one core per 10⁹ multiply-adds, as CLIP's two towers and SlowFast have them (`families.py`)."""
_GFLOPS_FRAMES = 16
"""Number of frames for which torchvision counts its multiply-adds."""


def families_of(name: str, definition: Definition) -> dict[str, Family]:
    """Return the families of one definition: `NAME`, and `NAME-text` if it has a text tower that can be used here.

    Raises PipelineError for a model, a tag or a weight file that does not exist or does not fit.
    """
    where = f"families.{name}"
    if not NAME.fullmatch(name):
        raise PipelineError(
            "is no name for a family", where=where, remedy="use small letters, digits and single hyphens"
        )
    weights = (_weights_name(name, definition["weights"], where),)
    if definition["encoder"] == "torchvision_video":
        return {name: _video_family(definition, weights, where)}
    model = _open_clip_model(definition, where)
    made = {name: _image_family(definition, model, weights)}
    if not why_without_words(definition["model"]):
        made[name + TEXT] = _text_family(model, weights)
    return made


def why_without_words(model: str) -> str:
    """Return why a model of open_clip has no family of words here, or '' if it has one."""
    row = open_clip_models()[model][0]
    if not row.tokenizer:
        return ""
    what = "text tower" if not row.text_dim else f"tokenizer ({row.tokenizer})"
    return f"the {what} of {model} needs the package transformers, which is not among the packages of this pipeline"


def _weights_name(name: str, weights: str, where: str) -> str:
    if is_file(weights):
        return source_of(name)
    if not re.fullmatch(r"random:[0-9]{1,18}|[A-Za-z0-9][A-Za-z0-9-]*", weights):
        raise PipelineError(
            f"`weights` is {weights!r}",
            where=where,
            remedy="name a file, a row of sources.csv, or random:SEED with a whole number of at most 18 digits",
        )
    return weights


def source_of(name: str) -> str:
    """Return the name of the source that is made for a definition's weight file, in addition to the rows of
    sources.csv."""
    return f"{name}-weights"


def is_file(weights: str) -> bool:
    """Tell whether `weights` is a file, and not random or the name of a row of sources.csv. Such names have no `.` and
    no `/`."""
    return not weights.startswith(RANDOM) and bool({".", "/"} & set(weights))


def _open_clip_model(definition: Definition, where: str) -> OpenClipModel:
    """Return the model with the preparation of pictures that its weights need."""
    name, tag = definition["model"], definition.get("pretrained")
    rows = open_clip_models().get(name)
    if rows is None:
        raise _unknown(name, open_clip_models(), "open_clip", where)
    if is_file(definition["weights"]) and not definition["weights"].endswith(SAFETENSORS):
        raise PipelineError(
            f"`weights` is {definition['weights']}, and open_clip's models are read from {SAFETENSORS}",
            where=where,
            remedy=f"name the file of these weights whose name ends in {SAFETENSORS}",
        )
    if tag is not None:
        if found := [row for row in rows if tag in row.pretrained]:
            return found[0]
        others = [other for other in holders_of(tag) if other.startswith(name) or name.startswith(other)]
        known = sorted(known for row in rows for known in row.pretrained)
        have = "has it: it computes" if len(others) == 1 else "have it: they compute"
        twin = f", and {' and '.join(others)} {have} with the other activation" if others else ""
        raise PipelineError(
            f"`pretrained`: {name} has no weights {tag!r}{twin}",
            where=where,
            remedy=f"name one of {', '.join(known)}" if known else "leave `pretrained` out",
        )
    if len(rows) > 1 and not definition["weights"].startswith(RANDOM):
        kinds = "; or ".join(", ".join(row.pretrained) for row in rows)
        raise PipelineError(
            f"the published weights of {name} need pictures that are prepared in {len(rows)} ways",
            where=where,
            remedy=f"say which weights these are, or which they were trained from: `pretrained: TAG`, one of {kinds}",
        )
    return rows[0]


def _image_family(definition: Definition, model: OpenClipModel, weights: tuple[str, ...]) -> Family:
    size = model.size
    is_squashed = model.resize == "squash"
    fit = f"exact{size}x{size}" if is_squashed else f"short{size}"
    scaled = f"scaled to {size} × {size}" if is_squashed else f"short side {size}"
    crop = "" if is_squashed else f"; centre crop {size}"
    return Family(
        reader="native",
        dim=model.image_dim,
        encoder="pipeline.encoders.clip:ImageEncoder",
        options={"model": model.model, "mean": model.mean, "std": model.std},
        weights=weights,
        sampling="middle",
        view=f"{fit}.{model.interpolation}.crop{size}",
        batch=definition.get("batch") or IMAGE_BATCH,
        preprocessing=(
            f"open_clip {model.model}, image tower; frame before each clip's middle; {scaled},"
            f" PIL {model.interpolation}{crop}; RGB, {_mean_and_std(model.mean, model.std)}"
        ),
        cost=Cost(round(model.image_macs * _PICTURES_S_PER_GMAC, 4), model.image_macs, "assumed"),
        is_own=True,
    )


def _text_family(model: OpenClipModel, weights: tuple[str, ...]) -> Family:
    most = model.context - 2
    return Family(
        reader="words",
        dim=model.text_dim,
        encoder="pipeline.encoders.clip:TextEncoder",
        options={"model": model.model, "most_tokens": most, "rows": "states"},
        weights=weights,
        preprocessing=(
            f"open_clip {model.model}, text tower; CLIP BPE of the lower-cased query, cut to {most} tokens, SOT and EOT"
            " around them; states after ln_final"
        ),
        cost=Cost(round(model.text_macs * _QUERIES_S_PER_GMAC, 4), model.text_macs, "assumed"),
        is_own=True,
    )


def _video_family(definition: Definition, weights: tuple[str, ...], where: str) -> Family:
    name = definition["model"]
    model = TORCHVISION_VIDEO.get(name)
    if model is None:
        raise _unknown(name, TORCHVISION_VIDEO, "torchvision.models.video", where)
    resize = "x".join(map(str, model.resize))
    is_exact = len(model.resize) == 2
    scaled = f"scaled to {model.resize[1]} × {model.resize[0]}" if is_exact else f"short side {resize}"
    macs = round(model.gflops * model.frames / _GFLOPS_FRAMES, 2)
    return Family(
        reader="native",
        dim=model.dim,
        encoder="pipeline.encoders.torchvision_video:VideoEncoder",
        options={"model": name, "mean": model.mean, "std": model.std},
        weights=weights,
        sampling=f"centred{model.frames}at{model.rate}",
        view=f"{'exact' if is_exact else 'short'}{resize}.linear.crop{model.crop}",
        batch=definition.get("batch") or max(1, FRAMES_AT_ONCE // model.frames),
        preprocessing=(
            f"torchvision {name}; {model.frames} frames at {model.rate} fps around each clip's middle; {scaled},"
            f" bilinear without antialiasing; centre crop {model.crop}; RGB, {_mean_and_std(model.mean, model.std)};"
            " before the classifier"
        ),
        cost=Cost(round(macs * _CLIPS_S_PER_GMAC, 4), macs, "assumed"),
        is_own=True,
    )


def _mean_and_std(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    return f"mean {' '.join(map(str, mean))}, std {' '.join(map(str, std))}"


def _unknown(name: str, known: Mapping[str, Any], library: str, where: str) -> PipelineError:
    plain = {_plain(one): one for one in sorted(known)}
    near = [plain[one] for one in get_close_matches(_plain(name), plain, n=3)] or sorted(known)[:5]
    remedy = f"name one of its {len(known)} models, such as {', '.join(near)}"
    return PipelineError(f"{library} has no model {name!r}", where=where, remedy=remedy)


def _plain(name: str) -> str:
    """Return a model's name without what people write in different ways: capitals, `-` and `_`."""
    return re.sub("[-_]", "", name.lower())


def known_here() -> dict[str, Definition]:
    """Return the definitions that the environment variable contains. Raises PipelineError if something else is in this
    variable."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return {}
    try:
        found = json.loads(text)
        return {str(name): checked(definition, VARIABLE) for name, definition in found.items()}
    except (ValueError, AttributeError) as error:
        raise PipelineError(f"holds no families ({error})", where=VARIABLE, remedy=f"unset {VARIABLE}") from error


def export_to_children(definitions: Mapping[str, Definition]) -> None:
    """Write these definitions into the environment variable, for the processes that this one starts."""
    os.environ[VARIABLE] = json.dumps({name: dict(definition) for name, definition in sorted(definitions.items())})


def checked(definition: Any, where: object) -> Definition:
    """Return a definition from a JSON file after a check. Raises PipelineError for anything else."""
    kinds = {"encoder": str, "model": str, "weights": str, "pretrained": str, "batch": int}
    is_one = (
        isinstance(definition, Mapping)
        and {"encoder", "model", "weights"} <= definition.keys() <= kinds.keys()
        and all(type(value) is kinds[key] for key, value in definition.items())
        and definition["encoder"] in ("open_clip", "torchvision_video")
    )
    if not is_one:
        remedy = "run the workflow again: it writes them again"
        raise PipelineError(f"holds a family that is no definition ({definition!r})", where=where, remedy=remedy)
    return dict(definition)
