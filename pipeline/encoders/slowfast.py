"""SlowFast R50 8×8, Kinetics-400: rows of motion as Moment-DETR's released features have them.

    sampling       32 frames of the clip's 30-fps grid, spread by the source's rate (fast), and 8 of those (slow)
    resize, crop   short side 224, long side truncated, swscale bilinear; centre 224 × 224
    normalisation  RGB, (x/255 − 0.45)/0.225
    layer          the two pathways after their last stage; dropout and classifier are not applied
    pooling        mean over 8×7×7 (slow, 2048) and 32×7×7 (fast, 256), concatenated slow first: 2304, float32
    source         the network of pytorchvideo; two weight files, two families, which never mix

The Caffe2 file is a pickle of Python 2. `caffe2_file.py` reads it without running anything in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.encoders.base import Weights, at_once

if TYPE_CHECKING:
    from torch import Tensor, nn

CALLED = "SlowFast R50"

SLOW_OF_FAST = (0, 4, 8, 13, 17, 22, 26, 31)
"""The positions of the slow pathway's frames among the 32 frames: ⌊linspace(0, 31, 8)⌋."""


Release = Literal["caffe2", "pytorchvideo"]
"""The origin of the weights.

`caffe2` is PySlowFast's model zoo, with which the released features were made. `pytorchvideo` is pytorchvideo's own
file.
"""


class SlowFast:
    """Turns 32 frames of a clip into one row."""

    def __init__(self, weights: Weights, device: str, *, release: Release) -> None:
        """Build the network. Raises PipelineError for a weight file that does not fit."""
        self._device = device
        self._network = _network(filled(weights, release)).to(device)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [rows, 32, 224, 224, 3]. Returns float32 [rows, 2304]."""
        import torch

        with torch.inference_mode():
            clips = torch.from_numpy(frames).to(self._device, non_blocking=True)
            rows = [self._network(pathways(part)).flatten(1) for part in at_once(clips)]
            return torch.cat(rows).cpu().numpy()


def filled(weights: Weights, release: Release) -> Any:
    """Build the whole network and fill it with its weights, for inference.

    Raises PipelineError for a file that does not hold this network, or that holds code.
    """
    from pipeline.encoders.pytorchvideo_models import empty, read_checkpoint
    from pipeline.encoders.state import fill

    network = empty("slowfast_r50")
    if release == "caffe2":
        return fill(network, weights, CALLED, CAFFE2_NAMES.__getitem__, read_blobs)
    return fill(network, weights, CALLED, read=read_checkpoint)


def pathways(clips: Tensor) -> list[Tensor]:
    """Turn uint8 [rows, 32, 224, 224, 3] into the normalised inputs of both pathways.

    Returns slow [rows, 3, 8, 224, 224] and fast [rows, 3, 32, 224, 224]. The list is new at every call, because the
    network overwrites its entries.
    """
    from pipeline.encoders.pytorchvideo_models import normalised

    fast = normalised(clips)
    return [fast[:, :, list(SLOW_OF_FAST)], fast]


def _caffe2_names() -> dict[str, str]:
    layers: dict[str, str] = {}
    for pathway, t in enumerate(("", "t_")):
        stem = f"blocks.0.multipathway_blocks.{pathway}"
        layers |= {f"{stem}.conv": f"{t}conv1", f"{stem}.norm": f"{t}res_conv1_bn"}
        for stage, depth in {2: 3, 3: 4, 4: 6, 5: 3}.items():
            for block in range(depth):
                ours = f"blocks.{stage - 1}.multipathway_blocks.{pathway}.res_blocks.{block}"
                theirs = f"{t}res{stage}_{block}_branch"
                for part in "abc":
                    layers |= {f"{ours}.branch2.conv_{part}": f"{theirs}2{part}"}
                    layers |= {f"{ours}.branch2.norm_{part}": f"{theirs}2{part}_bn"}
                if block == 0:
                    layers |= {f"{ours}.branch1_conv": f"{theirs}1", f"{ours}.branch1_norm": f"{theirs}1_bn"}
    for stage, last in enumerate(("pool1", "res2_2_branch2c_bn", "res3_3_branch2c_bn", "res4_5_branch2c_bn")):
        ours, theirs = f"blocks.{stage}.multipathway_fusion", f"t_{last}_subsample"
        layers |= {f"{ours}.conv_fast_to_slow": theirs, f"{ours}.norm": f"{theirs}_bn"}
    norm = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    names = {"blocks.6.proj.weight": "pred_w", "blocks.6.proj.bias": "pred_b"}
    for layer, blob in layers.items():
        kinds = norm if blob.endswith("_bn") else {"weight": "w"}
        names |= {f"{layer}.{kind}": f"{blob}_{suffix}" for kind, suffix in kinds.items()}
    return names


CAFFE2_NAMES = _caffe2_names()
"""The Caffe2 blob for every entry of pytorchvideo's network.

`t_` marks the fast pathway. `…_subsample` marks the layers that lead from the fast to the slow pathway.
"""


def read_blobs(path: Path, called: str) -> dict[str, Tensor]:
    """Read the arrays of a Caffe2 file, `{"blobs": {name: array}}`, without those of the optimiser.

    Nothing in the file is run. Raises PipelineError for a pickle that asks for anything but arrays, and for other
    content.
    """
    import torch

    from pipeline.encoders.caffe2_file import read_arrays
    from pipeline.encoders.state import unfit

    try:
        found = read_arrays(path, "blobs")
    except (OSError, ValueError, MemoryError) as error:
        raise unfit(path, called, f"{type(error).__name__}: {error}") from error
    blobs = {name: blob for name, blob in found.items() if not name.endswith("_momentum")}
    if strange := [name for name, blob in blobs.items() if not isinstance(blob, np.ndarray) or blob.dtype.kind != "f"]:
        raise unfit(path, called, f"no numbers in {', '.join(strange[:3])}")
    return {name: torch.from_numpy(blob) for name, blob in blobs.items()}


def _network(whole: Any) -> nn.Module:
    """Return the part of the network that ends with the pooled pathways."""
    from torch import nn

    from pipeline.encoders.pytorchvideo_models import fuse

    features = nn.Sequential(*whole.blocks[:6])
    fuse(features)
    return features
