"""pytorchvideo's I3D, a ResNet-50 of Kinetics-400: 2048 numbers, not the Inception I3D of the papers.

sampling       8 of the 32 motion frames of a clip, those of SlowFast's slow pathway; nobody has
               released such features, so this choice is ours
resize, crop   short side 224, long side truncated, swscale bilinear; centre 224 × 224
normalisation  RGB, (x/255 − 0.45)/0.225
layer          the last stage, before dropout and classifier
pooling        mean over 4×7×7, float32
source         the network of pytorchvideo, "8 frames at stride 8", with its own weights
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.encoders.base import Weights, at_once

if TYPE_CHECKING:
    from torch import nn


class ResNetI3D:
    """Turns 8 frames of a clip into one row."""

    def __init__(self, weights: Weights, device: str) -> None:
        """Build the network. Raises PipelineError for a weight file that does not hold it."""
        self._device = device
        self._network = _up_to_the_pool(filled(weights)).to(device)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [rows, 8, 224, 224, 3]. Returns float32 [rows, 2048]."""
        import torch

        from pipeline.encoders.pytorchvideo_models import normalised

        with torch.inference_mode():
            clips = normalised(torch.from_numpy(frames).to(self._device, non_blocking=True))
            return torch.cat([self._network(part).flatten(1) for part in at_once(clips)]).cpu().numpy()


def filled(weights: Weights) -> Any:
    """Build the whole network and fill it with its weights, for inference.

    Raises PipelineError for a weight file that does not hold it.
    """
    from pipeline.encoders.pytorchvideo_models import empty, read_checkpoint
    from pipeline.encoders.state import fill

    return fill(empty("i3d_r50"), weights, "I3D ResNet-50", read=read_checkpoint)


def _up_to_the_pool(network: Any) -> nn.Module:
    from torch import nn

    from pipeline.encoders.pytorchvideo_models import fuse

    *stages, head = network.blocks
    features = nn.Sequential(*stages, head.pool)
    fuse(features)
    return features
