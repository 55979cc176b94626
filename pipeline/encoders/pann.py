"""PANN Cnn14 turns 2 s of sound into 2,048 numbers. UMT's released features are such numbers.

Network: Cnn14 of `panns_inference`, trained on AudioSet at 32 kHz. The network for 16 kHz is not used.
Sampling: mono float in -1 … 1, in pieces of 64,000 samples. Each piece is one input. Pieces do not overlap, and the
last incomplete piece is dropped.
Front end: STFT 1024, hop 320, Hann, centred with reflection; 64 mel bands 50 to 14,000 Hz; log power (reference 1,
floor 1e-10, no lower limit relative to the maximum). This gives 201 × 64 numbers per piece. Its tensors are part of the
weight file.
Layer: `embedding` = ReLU(fc1(maximum over time + mean over time of the frequency-mean map)). Its numbers are never
negative. They are not the 527 class scores. The layer itself pools over time. Rows are not normalised.
Weights: `Cnn14_mAP=0.431.pth` of Zenodo record 3987831, CC BY 4.0, key `model`; 80,753,615 trained numbers.

`panns_inference` does unwanted things when it is imported. The package itself downloads a table into the user's home
folder through a shell, and without network it sets the number of classes to 0. Its module `models` imports matplotlib,
which writes a list of fonts there. So `models` is imported under a private name, which does not run the package's
`__init__`, and with an empty module in matplotlib's place. The number of classes (527), for which the table would be
downloaded, is passed as an argument.

Building the spectrogram makes librosa compile functions with numba, which takes 15 s. The result is kept beside
librosa. If that folder is read-only, set NUMBA_CACHE_DIR. Otherwise each job compiles them again, in a folder of its
own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.encoders.base import Weights
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from torch import nn

_SETTINGS = {
    "sample_rate": 32_000,
    "window_size": 1024,
    "hop_size": 320,
    "mel_bins": 64,
    "fmin": 50,
    "fmax": 14_000,
    "classes_num": 527,
}

PRIVATE = "_pipeline_panns"
"""The private name under which the package's folder is imported. `panns_inference` itself is never imported."""


class Cnn14:
    """Turns pieces of sound into embeddings.

    On grids finer than 2 s the pieces overlap. That is the stand-in family `pann-cnn14-centred`.
    """

    def __init__(self, weights: Weights, device: str) -> None:
        """Build the network. Raises PipelineError for a weight file that does not hold it."""
        from pipeline.encoders.state import fill, tensors_by_name

        read = partial(tensors_by_name, inside="model")
        self._device = device
        self.network: Any = fill(_built(weights.seed), weights, "Cnn14", read=read).to(device)

    def encode(self, pieces: np.ndarray) -> np.ndarray:
        """Encode float32 [rows, 64000]. Returns float32 [rows, 2048] without negative numbers."""
        import torch

        # TF32 and other fast algorithms of cuDNN lose digits. In quiet sound the logarithm makes such errors large.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            return self.network(torch.from_numpy(pieces).to(self._device))["embedding"].cpu().numpy()


def _built(seed: int) -> nn.Module:
    """Build Cnn14 with the numbers of its own initialisation. Equal seeds give equal numbers."""
    import torch

    with torch.random.fork_rng(devices=[]), numba_cache():
        torch.manual_seed(seed)
        return models_of_the_package().Cnn14(**_SETTINGS)


def models_of_the_package() -> ModuleType:
    """Import `panns_inference.models` without running the rest of the package."""
    name = f"{PRIVATE}.models"
    if name not in sys.modules:
        spec = find_spec("panns_inference")
        if spec is None or spec.submodule_search_locations is None:
            raise PipelineError("is not installed", where="panns_inference", remedy="run `make install`")
        package = ModuleType(PRIVATE)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[PRIVATE] = package
        with without_matplotlib():
            import_module(name)
    return sys.modules[name]


@contextmanager
def without_matplotlib() -> Iterator[None]:
    """Put empty modules in matplotlib's place during the block, if it was not imported before.

    `models` imports matplotlib and never uses it.
    """
    stands_in = [name for name in ("matplotlib", "matplotlib.pyplot") if name not in sys.modules]
    sys.modules.update({name: ModuleType(name) for name in stands_in})
    if stands_in:
        sys.modules["matplotlib"].pyplot = sys.modules["matplotlib.pyplot"]  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in stands_in:
            del sys.modules[name]
        if stands_in and "matplotlib" in sys.modules:  # the real one, imported before without its pyplot
            del sys.modules["matplotlib"].pyplot


@contextmanager
def numba_cache() -> Iterator[None]:
    """Keep numba's cache out of the user's home, which numba uses if librosa's folder is read-only."""
    librosa = find_spec("librosa")
    is_kept = librosa is None or os.access(Path(str(librosa.origin)).parent, os.W_OK)
    if is_kept or "NUMBA_CACHE_DIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="numba-") as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["NUMBA_CACHE_DIR"]
