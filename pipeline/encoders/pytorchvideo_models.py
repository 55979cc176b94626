"""pytorchvideo's networks, and its bad manners, which end here.

Its `transforms` do not import beside a current torchvision; `pretrained=` reaches for the network and unpickles what
comes; SlowFast overwrites the list that it is called with; the pools are of one size, so that 224 × 224 pixels and the
stated number of frames are the only input. Its networks are what its checkpoints, and PySlowFast's, fit.
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
    """`slowfast_r50` or `i3d_r50` on the meta device, to be filled."""
    with torch.device("meta"):
        return getattr(hub, name)(pretrained=False)


def read_checkpoint(path: Path, called: str) -> dict[str, Tensor]:
    """The tensors of one of its files, by name. Raises PipelineError."""
    return tensors_by_name(path, called, inside="model_state")


def normalised(clips: Tensor) -> Tensor:
    """Uint8 RGB [rows, time, 224, 224, 3] → float32 [rows, 3, time, 224, 224], (x/255 − 0.45)/0.225."""
    return clips.permute(0, 4, 1, 2, 3).float().div_(255).sub_(0.45).div_(0.225)


def fuse(module: nn.Module) -> None:
    """Multiply every normalisation into the convolution before it: a seventh of the time, equal up to rounding."""
    before: tuple[str, nn.Module] = ("", module)
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm3d) and isinstance(before[1], nn.Conv3d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        else:
            fuse(child)
        before = (name, child)
