"""The video models of torchvision: R3D, MC3, R(2+1)D, S3D, MViT and Video Swin, without their classifiers.

sampling       the number of frames with which the published accuracies were measured, around the middle of each clip
resize, crop   those of the transforms of the model's own weights, bilinear without antialiasing
normalisation  RGB, (x/255 − mean)/std
layer          the input of the classifier, before dropout and the last linear layer
source         the networks of torchvision; `library_models.py` lists what their weights need
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.encoders.base import Weights, at_once, randomise

CLASSIFIERS = ("fc", "head", "classifier")
"""Names of the classifier in the networks: one of them each."""


class VideoEncoder:
    """Turns a clip of frames into one row."""

    def __init__(
        self, weights: Weights, device: str, *, model: str, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Build the network. model: its name in `torchvision.models.video`. mean, std: as fractions of 1.

        Raises PipelineError for a weight file that does not hold it.
        """
        import torch

        self._device = device
        self._network = _without_classifier(filled(model, weights)).to(device)
        self._mean = torch.tensor(mean, device=device).view(3, 1, 1, 1)
        self._std = torch.tensor(std, device=device).view(3, 1, 1, 1)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [rows, frames, size, size, 3]. Returns float32 [rows, dim]."""
        import torch

        with torch.inference_mode():
            clips = torch.from_numpy(frames).to(self._device, non_blocking=True).permute(0, 4, 1, 2, 3)
            return torch.cat([self._rows(part) for part in at_once(clips)]).cpu().numpy()

    def _rows(self, clips: Any) -> Any:
        return self._network(clips.float().div_(255).sub_(self._mean).div_(self._std))


def filled(model: str, weights: Weights) -> Any:
    """Build the whole network and fill it with its weights, for inference.

    The network is built with numbers, because Video Swin computes tables of positions. Raises PipelineError for a
    weight file that does not hold it.
    """
    from torchvision.models import get_model

    from pipeline.encoders.state import fill, read_safetensors, tensors_by_name

    network = get_model(model, weights=None)
    if weights.path is None:
        randomise(network, weights.seed)
        return fill(network, weights, model)
    is_safetensors = weights.path.suffix == ".safetensors"
    return fill(network, weights, model, read=read_safetensors(("",)) if is_safetensors else tensors_by_name)


def _without_classifier(network: Any) -> Any:
    from torch import nn

    (name,) = [name for name in CLASSIFIERS if hasattr(network, name)]
    setattr(network, name, nn.Identity())
    return network
