"""The ResNet I3D against pytorchvideo's own network, and its checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.encoders import i3d_resnet
from pipeline.encoders.base import Weights
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES

torch = pytest.importorskip("torch")


def frames(n):
    return np.random.default_rng(0).integers(0, 256, (n, 8, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def plain(torch_one_thread):
    """Return pytorchvideo's whole network with numbers in all places."""
    network = i3d_resnet.filled(Weights.named("random:3", None))
    generator = torch.Generator().manual_seed(4)
    for tensor in network.state_dict().values():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5, generator=generator)
    return network


@pytest.fixture(scope="module")
def checkpoint(plain, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "x.pyth"
    torch.save({"model_state": plain.state_dict(), "epoch": 196}, path)
    return path


def test_it_is_the_network_of_28_million_numbers(plain):
    assert sum(parameter.numel() for parameter in plain.parameters()) == 28_043_472


def test_rows_are_pytorchvideos_pooled_last_stage(plain, checkpoint):
    encoder = i3d_resnet.ResNetI3D(Weights.named("released", checkpoint), "cpu")
    rows = encoder.encode(frames(2))
    streams = (torch.from_numpy(frames(2)[1:]).permute(0, 4, 1, 2, 3) / 255 - 0.45) / 0.225
    with torch.inference_mode():
        for block in plain.blocks[:6]:
            streams = block(streams)
    assert streams.shape == (1, 2048, 4, 7, 7)
    expected = streams.mean((2, 3, 4)).numpy()
    assert (rows.dtype, rows.shape) == (np.float32, (2, FAMILIES["i3d-resnet50"].dim))
    np.testing.assert_allclose(rows[1:], expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert np.abs(rows[0] - rows[1]).max() > 1e-4


def test_random_weights_give_rows_that_float16_holds():
    rows = i3d_resnet.ResNetI3D(Weights.named("random:1", None), "cpu").encode(frames(1))
    assert np.isfinite(rows.astype(np.float16)).all()
    assert 0.01 < rows.std() < 100


def test_slowfasts_checkpoint_is_refused(tmp_path):
    from pipeline.encoders.pytorchvideo_models import empty

    path = tmp_path / "x.pyth"
    shapes = {name: tensor.shape for name, tensor in empty("slowfast_r50").state_dict().items()}
    state = {name: torch.zeros(shape, dtype=torch.uint8) for name, shape in shapes.items()}
    torch.save({"model_state": state}, path)
    with pytest.raises(PipelineError, match=r"x.pyth: does not hold I3D ResNet-50 \(\d+ missing: blocks"):
        i3d_resnet.ResNetI3D(Weights.named("released", path), "cpu")
