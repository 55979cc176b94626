"""Builds the networks of pytorchvideo. Only this file uses that library.

The library has four traps. Its module `transforms` cannot be imported beside a current torchvision. Its option
`pretrained=` downloads a file and unpickles it. Its SlowFast overwrites the list that it is called with. Its pools have
one fixed size, so the only possible input is 224 × 224 pixels and the stated number of frames. The library is used
because its own checkpoints and those of PySlowFast fit its networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorchvideo.models import hub
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.encoders.state import tensors_by_name


def empty(name: str) -> Any:
    """Build `slowfast_r50` or `i3d_r50` on the meta device, without numbers."""
    with torch.device("meta"):
        return getattr(hub, name)(pretrained=False)


def read_checkpoint(path: Path, called: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint of pytorchvideo, by name. Raises PipelineError for another file."""
    return tensors_by_name(path, called, inside="model_state")


def normalised(clips: Tensor) -> Tensor:
    """Turn uint8 RGB [rows, time, 224, 224, 3] into float32 [rows, 3, time, 224, 224], (x/255 − 0.45)/0.225."""
    return clips.permute(0, 4, 1, 2, 3).float().div_(255).sub_(0.45).div_(0.225)


def fuse(module: nn.Module) -> None:
    """Multiply every normalisation into the convolution before it. The results are equal up to rounding.

    The network then needs no pass over its values for the normalisations.
    """
    before: tuple[str, nn.Module] = ("", module)
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm3d) and isinstance(before[1], nn.Conv3d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        else:
            fuse(child)
        before = (name, child)
