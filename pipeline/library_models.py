"""Facts about the models of open_clip and torchvision that a config may name: sizes of pictures and rows, clips, means,
costs.

A config has to be read on machines where neither library is installed, and a plan must not import them. `open_clip.csv`
is written from the installed open_clip (`encoders/open_clip_table.py`). There are few video models of torchvision, so
they are listed here. Tests compare both with the libraries.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

OPEN_CLIP = Path(__file__).with_name("open_clip.csv")


@dataclass(frozen=True)
class OpenClipModel:
    """A model of open_clip, with one way in which pictures are prepared for its weights.

    pretrained: open_clip's tags of the weights that need this preparation. image_dim, text_dim: length of a picture's
    and of a token's row; 0 if the text tower is not open_clip's own. context: the number of tokens of a query, with
    both ends. tokenizer: the tokenizer of the package transformers that it needs, or '' for open_clip's own. size:
    width and height of a picture in pixels. mean, std: those of red, green and blue, as fractions of 1. resize:
    `shortest` (and a centre crop) or `squash`. image_macs, text_macs: multiply-adds of a picture and of a query, in
    10⁹.
    """

    model: str
    pretrained: tuple[str, ...]
    image_dim: int
    text_dim: int
    context: int
    tokenizer: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize: str
    image_macs: float
    text_macs: float


COLUMNS = tuple(field.name for field in fields(OpenClipModel))
_LISTS = {"pretrained": str, "mean": float, "std": float}
_NUMBERS = {"image_dim": int, "text_dim": int, "context": int, "size": int, "image_macs": float, "text_macs": float}


def as_text(row: OpenClipModel) -> list[str]:
    """Return the cells of a row. Lists are joined with blanks."""
    values = [getattr(row, column) for column in COLUMNS]
    return [" ".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]


@cache
def open_clip_models() -> dict[str, tuple[OpenClipModel, ...]]:
    """Return the name of each model → its rows, one for each preparation of pictures. The first row belongs to the
    weights that were published first."""
    with open(OPEN_CLIP, encoding="utf-8", newline="") as file:
        rows = [_row(cells) for cells in csv.DictReader(file)]
    return {row.model: tuple(other for other in rows if other.model == row.model) for row in rows}


def _row(cells: dict[str, str]) -> OpenClipModel:
    values: dict[str, Any] = dict(cells)
    values |= {column: tuple(map(kind, cells[column].split())) for column, kind in _LISTS.items()}
    values |= {column: kind(cells[column]) for column, kind in _NUMBERS.items()}
    return OpenClipModel(**values)


class VideoModel(NamedTuple):
    """A video model of torchvision, as the transforms and the documentation of its weights say.

    dim: length of a row before the classifier. frames, rate: length of a clip in frames, and its frames per second,
    with which the published accuracies were measured. resize: (short side,) or (height, width) in pixels. crop: height
    and width. gflops: torchvision's count for 16 frames.
    """

    dim: int
    frames: int
    rate: str
    resize: tuple[int, ...]
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    gflops: float


_KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
_GREY = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

TORCHVISION_VIDEO: dict[str, VideoModel] = {
    "mc3_18": VideoModel(512, 16, "15", (128, 171), 112, *_KINETICS, 43.343),
    "mvit_v1_b": VideoModel(768, 16, "7.5", (256,), 224, *_GREY, 70.599),
    "mvit_v2_s": VideoModel(768, 16, "7.5", (256,), 224, *_GREY, 64.224),
    "r2plus1d_18": VideoModel(512, 16, "15", (128, 171), 112, *_KINETICS, 40.519),
    "r3d_18": VideoModel(512, 16, "15", (128, 171), 112, *_KINETICS, 40.697),
    "s3d": VideoModel(1024, 128, "15", (256, 256), 224, *_KINETICS, 17.979),
    "swin3d_b": VideoModel(1024, 32, "15", (256,), 224, *_IMAGENET, 140.667),
    "swin3d_s": VideoModel(768, 32, "15", (256,), 224, *_IMAGENET, 82.841),
    "swin3d_t": VideoModel(768, 32, "15", (256,), 224, *_IMAGENET, 43.882),
}
"""Name in `torchvision.models.video` → the model. All weights that torchvision has of one model agree in these."""


def holders_of(tag: str) -> Iterable[str]:
    """Return the models of open_clip that have weights of this tag."""
    return [model for model, rows in open_clip_models().items() if any(tag in row.pretrained for row in rows)]
