"""VGG-16 of ImageNet, with six rows a second. It is a stand-in, under its own name, for the VGG of Charades.

    sampling       every fourth frame of the 24-fps grid, as the dataset's own features have it
    resize, crop   short side 256, PIL bilinear; centre 224 × 224
    normalisation  RGB, ImageNet's mean and standard deviation
    layer          fc7 after ReLU: 4096 numbers, none below 0
    source         torchvision's `vgg16`; weights IMAGENET1K_V1 (the variant IMAGENET1K_FEATURES has no fc6 and fc7)

The released features come from a network that was fine-tuned on Charades. Its weights are not available any more. So
our rows have the same shape but other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.encoders.base import Weights

if TYPE_CHECKING:
    from torch import nn

FC7_RELU = 5
"""Number of modules of torchvision's classifier up to the ReLU of fc7: fc6, ReLU, dropout, fc7, ReLU."""


class Vgg16:
    """Turns a frame into fc7 after ReLU: 4096 numbers, not normalised."""

    def __init__(self, weights: Weights, device: str, *, mean: Sequence[float], std: Sequence[float]) -> None:
        """Build the network. mean, std: those of red, green and blue, as fractions of 1.

        Raises PipelineError for a weight file that does not hold VGG-16.
        """
        import torch

        self._device = device
        self._network = _up_to_fc7(filled(weights)).to(device)
        self._mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(std, device=device).view(3, 1, 1)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [rows, 1, 224, 224, 3]. Returns float32 [rows, 4096]."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(frames[:, 0]).to(self._device, non_blocking=True).permute(0, 3, 1, 2)
            return self._network(pixels.float().div_(255).sub_(self._mean).div_(self._std)).cpu().numpy()


def filled(weights: Weights) -> Any:
    """Build the whole network and fill it with its weights, for inference."""
    import torch
    from torchvision.models import vgg16

    from pipeline.encoders.state import fill

    with torch.device("meta"):
        empty = vgg16()
    return fill(empty, weights, "VGG-16")


def _up_to_fc7(network: Any) -> nn.Module:
    from torch import nn

    return nn.Sequential(network.features, network.avgpool, nn.Flatten(), *network.classifier[:FC7_RELU])
