"""An encoder in one file, as in CONTRIBUTING.md. A test copies it to pipeline/encoders/toy.py and makes two families
with it.

A row is one linear layer on three numbers of a frame, one for each colour.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.encoders.base import Weights

DIM = 16

ENTRIES = """
    "toy-mean": Family(
        reader="frames224",
        dim=16,
        encoder="pipeline.encoders.toy:ToyEncoder",
        options={"statistic": "mean"},
        weights=("toy-weights",),
        sampling="middle",
        view="frames224",
        batch=4,
        preprocessing="frame before each clip's middle; mean of each colour",
    ),
    "toy-spread": Family(
        reader="frames224",
        dim=16,
        encoder="pipeline.encoders.toy:ToyEncoder",
        options={"statistic": "std"},
        weights=("toy-weights",),
        sampling="middle",
        view="frames224",
        batch=4,
        preprocessing="frame before each clip's middle; standard deviation of each colour",
    ),
"""
"""The lines that are added to `FAMILIES` in pipeline/families.py: two families of one class."""


class ToyEncoder:
    """A frame → one row. statistic: what is taken of each colour's pixels."""

    def __init__(self, weights: Weights, device: str, *, statistic: Literal["mean", "std"]) -> None:
        """Build the network. Raises PipelineError for a weight file that does not fit."""
        import torch

        from pipeline.encoders.state import fill, read_safetensors

        with torch.device("meta"):
            empty = torch.nn.Linear(3, DIM)
        self._network = fill(empty, weights, "the toy", read=read_safetensors(("",))).to(device)
        self._device, self._statistic = device, statistic

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Turn uint8 RGB [rows, 1, 224, 224, 3] into float32 [rows, 16]."""
        import torch

        colours = getattr(frames[:, 0].astype(np.float32) / 255, self._statistic)(axis=(1, 2))
        with torch.inference_mode():
            return self._network(torch.from_numpy(colours).to(self._device)).cpu().numpy()
