"""VGG-16 against torchvision's own forward pass, and its weight file."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.encoders import vgg
from pipeline.encoders.base import Weights, encoder_of
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES

torch = pytest.importorskip("torch")


def frames(n):
    return np.random.default_rng(0).integers(0, 256, (n, 1, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network(torch_one_thread):
    """Return the whole network, random, with biases that are not 0."""
    network = vgg.filled(Weights.named("random:3", None))
    generator = torch.Generator().manual_seed(4)
    for name, tensor in network.state_dict().items():
        if name.endswith("bias"):
            tensor.normal_(0, 0.1, generator=generator)
    return network


@pytest.fixture(scope="module")
def encoder(network):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(vgg, "filled", lambda weights: network)
        return encoder_of("vgg16-imagenet")(Weights.named("random:3", None), "cpu")


def test_rows_are_torchvisions_forward_pass_without_the_last_layer(network, encoder):
    from torchvision.transforms.functional import normalize

    rows = encoder.encode(frames(2))
    pixels = torch.from_numpy(frames(2)[:, 0]).permute(0, 3, 1, 2) / 255
    classifier, network.classifier = network.classifier, network.classifier[:-1]
    with torch.inference_mode():
        expected = network(normalize(pixels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))).numpy()
    network.classifier = classifier
    assert (rows.dtype, rows.shape) == (np.float32, (2, FAMILIES["vgg16-imagenet"].dim))
    assert rows.min() == 0
    assert np.abs(rows[0] - rows[1]).max() > 1e-3
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)


def test_a_row_is_the_same_alone_and_in_a_batch(encoder):
    np.testing.assert_allclose(encoder.encode(frames(2)[1:]), encoder.encode(frames(2))[1:], rtol=1e-4, atol=1e-6)


def write_constant(path, change=None):
    """Write a weight file of the right shapes. All numbers are 0 except the bias of fc7, which is 3. Each number is
    stored in one byte."""
    from torchvision.models import vgg16

    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in vgg16().state_dict().items()}
    values = {name: 3 if name == "classifier.3.bias" else 0 for name in shapes}
    state = {name: torch.full(shape, values[name], dtype=torch.uint8) for name, shape in shapes.items()}
    torch.save({name: tensor for name, tensor in (state | (change or {})).items() if tensor is not None}, path)
    return Weights.named("released", path)


def test_a_weight_file_is_torchvisions_table_of_tensors(tmp_path):
    rows = encoder_of("vgg16-imagenet")(write_constant(tmp_path / "x.pth"), "cpu").encode(frames(1))
    np.testing.assert_array_equal(rows, np.full((1, 4096), 3))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"classifier.0.weight": None}, "1 missing: classifier.0.weight"),
        ({"features.0.weight": torch.zeros(1)}, r"1 of another shape: features.0.weight \(1,\) for \(64, 3, 3, 3\)"),
    ],
)
def test_a_file_of_another_network_is_refused(tmp_path, change, why):
    with pytest.raises(PipelineError, match=rf"x.pth: does not hold VGG-16 \({why}"):
        encoder_of("vgg16-imagenet")(write_constant(tmp_path / "x.pth", change), "cpu")
