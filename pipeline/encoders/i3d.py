"""Inception-I3D: rows of motion as released for TVSum (RGB, flow) and Charades-STA (RGB).

                   TVSum                                      Charades-STA
    sampling       stacks of 32 frames at 16 fps: 2 s         windows of 24 frames at 24 fps: 1 s
    resize, crop   short side 256, PIL bilinear; centre 224   none from a short side of 226; centre 224
    normalisation  RGB, or flow as pictures, 2x/255 − 1       RGB, 2x/255 − 1
    layer          Mixed_5c                                   the same
    pooling        over 2×7×7, then over time: one row        over 2×7×7: two rows of 0.5 s, in order of time
    weights        Kinetics-400, hassony2's conversion        fine-tuned on Charades, piergiaj's conversion

A row has 1,024 numbers, none below 0, float32. The released rows went through files between decoding and network, an
H.264 one for TVSum, JPEG for Charades; ours do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.encoders.base import Weights, at_once

if TYPE_CHECKING:
    from torch import Tensor, nn

CROP = 224
"""Side of what the network sees, in pixels."""


class TvsumRgb:
    """A stack of 32 frames → one row."""

    preprocessing = (
        "stacks of 32 frames at 16 fps; short side 256, PIL bilinear; centre crop 224; RGB in -1 … 1;"
        " Mixed_5c pooled over 2×7×7, mean over time"
    )
    sampling = "stacks16"
    view = "crop224of256"
    batch = 8
    rows_per_input = 1

    def __init__(self, weights: Weights, device: str) -> None:
        from pipeline.encoders import inception

        self._device = device
        self._network = inception.features(weights, inception.HASSONY2, 3).to(device)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Uint8 RGB [rows, 32, 224, 224, 3] → float32 [rows, 1024]."""
        import torch

        with torch.inference_mode():
            return positions(self._network, colours(frames, self._device)).mean(1).cpu().numpy()


class TvsumFlow:
    """33 frames → the flow between them → one row. weights: the network's; further: RAFT's."""

    preprocessing = (
        "stacks of 33 frames at 16 fps; short side 256, PIL bilinear; flow by RAFT (large, 20 updates), cut at 20"
        " pixels, in 256 steps; centre crop 224; -1 … 1; Mixed_5c pooled over 2×7×7, mean over time"
    )
    sampling = "stacks16-flow"
    view = "short256"
    batch = 1
    rows_per_input = 1

    def __init__(self, weights: Weights, device: str) -> None:
        from pipeline.encoders import flow, inception

        (raft,) = weights.further
        self._device = device
        self._raft = flow.Raft(raft, device)
        self._network = inception.features(weights, inception.HASSONY2, 2).to(device)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Uint8 RGB [rows, 33, height, width, 3], short side 256 → float32 [rows, 1024]."""
        import torch

        with torch.inference_mode():
            stacks: Iterable[Tensor] = torch.from_numpy(frames).to(self._device, non_blocking=True)
            rows = [positions(self._network, self._pictures(stack)).mean(1) for stack in stacks]
            return torch.cat(rows).cpu().numpy()

    def _pictures(self, stack: Tensor) -> Tensor:
        """[33, height, width, 3] → [1, 2, 32, 224, 224]."""
        from pipeline.encoders.flow import as_pictures

        flow = self._raft.between(stack)
        y, x = ((size - CROP) // 2 for size in flow.shape[2:])
        return as_pictures(flow[:, :, y : y + CROP, x : x + CROP]).transpose(0, 1)[None]


class CharadesRgb:
    """A window of 24 frames → two rows of half a second each."""

    preprocessing = (
        "windows of 24 frames at 24 fps; native size, from a short side of 226; centre crop 224; RGB in -1 … 1;"
        " Mixed_5c pooled over 2×7×7, two rows a window"
    )
    sampling = "stacks24"
    view = "crop224"
    batch = 8
    rows_per_input = 2

    def __init__(self, weights: Weights, device: str) -> None:
        from pipeline.encoders import inception

        self._device = device
        self._network = inception.features(weights, inception.PIERGIAJ, 3).to(device)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Uint8 RGB [windows, 17 to 24, 224, 224, 3] → float32 [2 · windows, 1024]."""
        import torch

        with torch.inference_mode():
            return positions(self._network, colours(frames, self._device)).flatten(0, 1).cpu().numpy()


def colours(frames: np.ndarray, device: str) -> Tensor:
    """Uint8 RGB [n, time, height, width, 3] → float32 [n, 3, time, height, width] in -1 … 1."""
    import torch

    clips = torch.from_numpy(frames).to(device, non_blocking=True)
    return clips.permute(0, 4, 1, 2, 3).float().mul_(2 / 255).sub_(1)


def positions(network: nn.Module, clips: Tensor) -> Tensor:
    """[n, channels, time, 224, 224] → [n, ⌈time/8⌉ − 1, 1024]."""
    import torch

    return torch.cat([network(part).flatten(2) for part in at_once(clips)]).transpose(1, 2)
