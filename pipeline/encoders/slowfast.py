"""SlowFast R50 8×8, Kinetics-400: rows of motion as Moment-DETR's released features have them (features.md 3.3).

    sampling       32 frames of the clip's 30-fps grid, spread by the source's rate (fast), and 8 of those (slow)
    resize, crop   short side 224, long side truncated, swscale bilinear; centre 224 × 224
    normalisation  RGB, (x/255 − 0.45)/0.225
    layer          the two pathways after their last stage; dropout and classifier are not applied
    pooling        mean over 8×7×7 (slow, 2048) and 32×7×7 (fast, 256), concatenated slow first: 2304, float32
    source         the network of pytorchvideo; two weight files, two families, which never mix

pytorchvideo's bad manners are met here: `pretrained=` reaches for the network and unpickles, and a call overwrites the
list it is given. The Caffe2 file is a bare Python 2 pickle, read by an unpickler that knows arrays and nothing else.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.encoders.base import Weights, randomise
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from torch import Tensor, nn

SLOW_OF_FAST = (0, 4, 8, 13, 17, 22, 26, 31)
"""⌊linspace(0, 31, 8)⌋."""


class Caffe2SlowFast:
    """The network with the numbers that the released features were made with (PySlowFast's model zoo)."""

    preprocessing = (
        "32 frames of each clip at 30 fps, spread by the source's rate, 8 of them slow;"
        " short side 224, swscale bilinear; centre crop 224; RGB, mean 0.45, std 0.225"
    )
    sampling = "motion"
    view = "frames224"
    batch = 8
    rows_per_input = 1

    def __init__(self, weights: Weights, device: str) -> None:
        self._device = device
        self._network = _network(weights, self.read).to(device)

    @staticmethod
    def read(path: Path) -> dict[str, Tensor]:
        """State entries, by pytorchvideo's names. Raises PipelineError for a file that holds other blobs, or code."""
        return _from_blobs(read_blobs(path), path)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Uint8 RGB [rows, 32, 224, 224, 3] → float32 [rows, 2304]."""
        import torch

        with torch.inference_mode():
            clips = torch.from_numpy(frames).to(self._device, non_blocking=True)
            # A CPU gains nothing from a batch, and a row would depend on how many there are.
            parts = clips.split(1) if self._device == "cpu" else [clips]
            return torch.cat([self._network(pathways(part)).flatten(1) for part in parts]).cpu().numpy()


class PytorchvideoSlowFast(Caffe2SlowFast):
    """The same network with the numbers of pytorchvideo's own model zoo."""

    @staticmethod
    def read(path: Path) -> dict[str, Tensor]:
        """State entries, by pytorchvideo's names. Raises PipelineError for a file that is no such checkpoint."""
        import torch

        try:
            return torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise _unfit(path, str(error)) from error


def pathways(clips: Tensor) -> list[Tensor]:
    """Uint8 [rows, 32, 224, 224, 3] → slow [rows, 3, 8, 224, 224] and fast [rows, 3, 32, 224, 224], normalised.

    A new list at every call: the network overwrites it.
    """
    fast = clips.permute(0, 4, 1, 2, 3).float().div_(255).sub_(0.45).div_(0.225)
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
"""Every number of the network: pytorchvideo's name → Caffe2's blob. `t_`: fast pathway; `…_subsample`: fast to slow."""


def read_blobs(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a Caffe2 file, `{"blobs": {name: array}}`, without those of the optimiser; nothing in it is run.

    Raises PipelineError for a pickle that asks for anything but arrays, and for another content.
    """
    try:
        with open(path, "rb") as file:
            content = _ArraysOnly(file, encoding="latin-1").load()
        blobs = {str(name): blob for name, blob in content["blobs"].items() if not str(name).endswith("_momentum")}
    except Exception as error:  # a broken pickle may raise anything
        raise _unfit(path, f"{type(error).__name__}: {error}") from error
    if strange := [name for name, blob in blobs.items() if not isinstance(blob, np.ndarray) or blob.dtype.kind != "f"]:
        raise _unfit(path, f"no numbers in {', '.join(strange[:3])}")
    return blobs


class _ArraysOnly(pickle.Unpickler):
    """Resolves what NumPy's arrays need (features.md 3.3) and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            "numpy.core.multiarray._reconstruct": import_module("numpy._core.multiarray")._reconstruct,
            "numpy.ndarray": np.ndarray,
            "numpy.dtype": np.dtype,
            "_codecs.encode": lambda text, _: text.encode("latin-1"),
        }
        if f"{module}.{name}" not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which arrays do not need")
        return allowed[f"{module}.{name}"]


def _from_blobs(blobs: dict[str, np.ndarray], path: Path) -> dict[str, Tensor]:
    import torch

    missing = [blob for blob in CAFFE2_NAMES.values() if blob not in blobs]
    unknown = sorted(blobs.keys() - set(CAFFE2_NAMES.values()))
    if missing or unknown:
        raise _unfit(path, f"{len(missing)} blobs are missing {missing[:3]}, {len(unknown)} are unknown {unknown[:3]}")
    # The counters of batches, which Caffe2 does not have, matter in training only.
    counters = {entry: torch.tensor(0) for entry in _empty_network().state_dict() if entry not in CAFFE2_NAMES}
    return counters | {entry: torch.from_numpy(blobs[blob]) for entry, blob in CAFFE2_NAMES.items()}


def _network(weights: Weights, read: Callable[[Path], dict[str, Tensor]]) -> nn.Module:
    """The network up to its pooled pathways, with its numbers, for inference. Raises PipelineError."""
    from torch import nn

    network = _empty_network()
    if weights.path is None:
        randomise(network.to_empty(device="cpu"), weights.seed)
    else:
        try:
            network.load_state_dict({name: tensor.float() for name, tensor in read(weights.path).items()}, assign=True)
        except RuntimeError as error:
            raise _unfit(weights.path, str(error)) from error
    features = nn.Sequential(*network.blocks[:6]).eval().requires_grad_(False)
    _fuse(features)
    return features


def _empty_network() -> Any:
    import torch
    from pytorchvideo.models.hub import slowfast_r50

    with torch.device("meta"):
        return slowfast_r50(pretrained=False)


def _fuse(module: nn.Module) -> None:
    """Multiply every normalisation into the convolution before it: a seventh of the time, equal up to rounding."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    before = ("", module)
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm3d) and isinstance(before[1], nn.Conv3d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        else:
            _fuse(child)
        before = (name, child)


def _unfit(path: Path, reason: str) -> PipelineError:
    reason = " ".join(reason.split())[:300]
    return PipelineError(f"does not hold SlowFast R50 ({reason})", where=path, remedy="fetch it again")
