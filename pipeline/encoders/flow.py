"""Optical flow by torchvision's RAFT, with the settings of the tool that made the TVSum features.

    network        `raft_large`, weights C_T_SKHT_V1 (ported from RAFT's Sintel model), 20 updates, the last one taken
    input          RGB in -1 … 1, both sides padded to a multiple of 8 by repeating the edges, the odd one at the end
    output         pixels, of the padded frames; that tool does not remove the padding before it crops
    as pictures    clamped to ±20, rounded to 0 … 256 (halves to even), scaled to -1 … 1

The released flow rows were probably made with PWC-Net, whose code nobody can run any more
(docs/features.md, "What cannot be made again").
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.optical_flow import raft_large

from pipeline.encoders.base import Weights
from pipeline.encoders.state import fill

UPDATES = 20

PAIRS = 4
"""Number of pairs of frames that are computed at a time. With 4 pairs of 256 × 455 pixels the process needs 1.5 GB."""

LIMIT = 20
"""The largest movement in pixels. A faster movement is set to it."""


class Raft:
    """RAFT with its weights, on a device. Raises PipelineError for a file that does not hold them."""

    def __init__(self, weights: Weights, device: str) -> None:
        with torch.device("meta"):
            empty = raft_large(weights=None)
        self._network = fill(empty, weights, "RAFT (large)").to(device)

    def between(self, frames: Tensor) -> Tensor:
        """Compute the flow from each frame of uint8 RGB [n + 1, height, width, 3] to the next one.

        Returns float32 [n, 2 (x, y), height, width] in pixels. Height and width are rounded up to a multiple of 8.
        """
        images = padded(frames.permute(0, 3, 1, 2).float().div_(127.5).sub_(1))
        pairs = zip(images[:-1].split(PAIRS), images[1:].split(PAIRS), strict=True)
        return torch.cat([self._network(*pair, num_flow_updates=UPDATES)[-1] for pair in pairs])


def padded(images: Tensor) -> Tensor:
    """Pad [n, channels, height, width] by repeating the edges, so that both sides are multiples of 8."""
    height, width = (-size % 8 for size in images.shape[2:])
    sides = (width // 2, width - width // 2, height // 2, height - height // 2)
    return functional.pad(images, sides, mode="replicate")


def as_pictures(flow: Tensor) -> Tensor:
    """Turn flow v in pixels into the input of a network of pictures: 2 · round(128 + 255 v / 40) / 255 − 1.

    The rounding keeps the steps that the released rows have, because their flow was stored as pictures.
    """
    return flow.clamp(-LIMIT, LIMIT).mul(255 / (2 * LIMIT)).add_(128).round_().mul_(2 / 255).sub_(1)
