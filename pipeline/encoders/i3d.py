"""Inception-I3D: rows of motion as released for TVSum (RGB, flow) and Charades-STA (RGB).

                   TVSum                                      Charades-STA
    sampling       stacks of 32 frames at 16 fps: 2 s         windows of 24 frames at 24 fps: 1 s
    resize, crop   short side 256, PIL bilinear; centre 224   none from a short side of 226; centre 224
    normalisation  RGB, or flow as pictures, 2x/255 − 1       RGB, 2x/255 − 1
    layer          Mixed_5c                                   the same
    pooling        over 2×7×7, then over time: one row        over 2×7×7: two rows of 0.5 s, in order of time
    weights        Kinetics-400, hassony2's conversion        fine-tuned on Charades, piergiaj's conversion

A row has 1,024 float32 numbers, and none is below 0. The frames of the released rows were written into files between
decoding and network: into an H.264 file for TVSum, and into JPEG files for Charades. Our frames are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.encoders.base import Weights, at_once

if TYPE_CHECKING:
    from torch import Tensor, nn

CROP = 224
"""Width and height of the network's input in pixels."""


OverTime = Literal["mean", "rows"]
"""The rule by which positions in time become rows. `mean` makes one row, their mean. `rows` makes one row of each
position, in order."""


class RgbI3D:
    """Turns a stack of frames into one row, or into one row for each position in time."""

    def __init__(self, weights: Weights, device: str, *, conversion: str, over_time: OverTime) -> None:
        """Build the network. conversion: a name in `inception.CONVERSIONS`.

        Raises PipelineError for a weight file that does not hold it.
        """
        from pipeline.encoders import inception

        self._device, self._over_time = device, over_time
        self._network = inception.features(weights, inception.CONVERSIONS[conversion], 3).to(device)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [n, frames, 224, 224, 3]. Returns float32 [n · rows of an input, 1024]."""
        import torch

        with torch.inference_mode():
            found = positions(self._network, colours(frames, self._device))
            return rows_of(found, self._over_time).cpu().numpy()


class FlowI3D:
    """Turns a stack of frames, with one frame more, into the flow between them, and the flow into rows."""

    def __init__(self, weights: Weights, device: str, *, conversion: str, over_time: OverTime) -> None:
        """Build RAFT and the network. conversion: a name in `inception.CONVERSIONS`.

        weights: those of the network; `further` holds those of RAFT.
        Raises PipelineError for a weight file that does not hold its network.
        """
        from pipeline.encoders import flow, inception

        (raft,) = weights.further
        self._device, self._over_time = device, over_time
        self._raft = flow.Raft(raft, device)
        self._network = inception.features(weights, inception.CONVERSIONS[conversion], 2).to(device)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [n, 33, height, width, 3], short side 256. Returns float32 [n · rows of an input, 1024]."""
        import torch

        with torch.inference_mode():
            stacks: Iterable[Tensor] = torch.from_numpy(frames).to(self._device, non_blocking=True)
            found = (positions(self._network, self._pictures(stack)) for stack in stacks)
            return torch.cat([rows_of(part, self._over_time) for part in found]).cpu().numpy()

    def _pictures(self, stack: Tensor) -> Tensor:
        """Turn frames [33, height, width, 3] into their flow, as pictures cut to the centre: [1, 2, 32, 224, 224]."""
        from pipeline.encoders.flow import as_pictures

        flow = self._raft.between(stack)
        y, x = ((size - CROP) // 2 for size in flow.shape[2:])
        return as_pictures(flow[:, :, y : y + CROP, x : x + CROP]).transpose(0, 1)[None]


def colours(frames: np.ndarray, device: str) -> Tensor:
    """Turn uint8 RGB [n, time, height, width, 3] into float32 [n, 3, time, height, width] in -1 … 1."""
    import torch

    clips = torch.from_numpy(frames).to(device, non_blocking=True)
    return clips.permute(0, 4, 1, 2, 3).float().mul_(2 / 255).sub_(1)


def positions(network: nn.Module, clips: Tensor) -> Tensor:
    """Apply the network to [n, channels, time, 224, 224]. Returns [n, ⌈time/8⌉ − 1, 1024]."""
    import torch

    return torch.cat([network(part).flatten(2) for part in at_once(clips)]).transpose(1, 2)


def rows_of(found: Tensor, over_time: OverTime) -> Tensor:
    """Turn [n, positions, 1024] into rows: [n, 1024] for `mean`, [n · positions, 1024] in order of time for `rows`."""
    return found.mean(1) if over_time == "mean" else found.flatten(0, 1)
