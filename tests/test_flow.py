"""Optical flow: torchvision's RAFT on padded frames, its flow as pictures, and what the flow I3D is given."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pipeline.encoders.base import Weights, encoder_of
from pipeline.errors import PipelineError

torch = pytest.importorskip("torch")
optical_flow = pytest.importorskip("torchvision.models.optical_flow")

from pipeline.encoders import flow, inception  # noqa: E402

FAMILY = "i3d-inception-flow-raft-tvsum"
RANDOM = Weights.named("random:1", None)


def frames(n, height, width):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


# ---- RAFT ----


@pytest.fixture(scope="module")
def state():
    """Return RAFT's state with numbers in all places. The deltas are so small that twenty of them stay within the
    frame."""
    with torch.device("meta"):
        network = optical_flow.raft_large(weights=None)
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, entry in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(9)
        elif name.endswith("running_var"):
            state[name] = torch.rand(entry.shape, generator=generator) + 0.5
        else:
            scale = 0.1 if "flow_head.conv2" in name else 1
            n_inputs = entry[0].numel() if entry.ndim > 1 else 100
            state[name] = torch.randn(entry.shape, generator=generator) * scale * n_inputs**-0.5
    return state


def saved(state, path):
    torch.save(state, path)
    return Weights.named("released", path, "0" * 64)


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    return saved(state, tmp_path_factory.mktemp("weights") / "raft.pth")


def test_flow_is_torchvisions_for_each_pair_of_padded_frames(torch_one_thread, state, file, monkeypatch):
    # The smallest frames whose coarsest correlations are more than a point; two pieces, the second not full.
    monkeypatch.setattr(flow, "PAIRS", 2)
    stack = frames(4, 122, 131)
    network = optical_flow.raft_large(weights=None).eval()
    network.load_state_dict(state)
    to_input = optical_flow.Raft_Large_Weights.C_T_SKHT_V1.transforms()
    edges = torch.from_numpy(np.pad(stack, ((0, 0), (3, 3), (2, 3), (0, 0)), mode="edge")).permute(0, 3, 1, 2)
    with torch.inference_mode():
        flows = flow.Raft(file, "cpu").between(torch.from_numpy(stack))
        pairs = pairwise(edges)
        expected = torch.cat([network(*to_input(a[None], b[None]), num_flow_updates=20)[-1] for a, b in pairs])
    assert flows.shape == (3, 2, 128, 136)
    assert 0.1 < expected.std() < 50
    torch.testing.assert_close(flows, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(256, 341), (455, 256), (256, 256), (257, 263), (1, 1)])
def test_frames_are_padded_by_their_edges_to_a_multiple_of_8_the_odd_one_at_the_end(size):
    image = np.random.default_rng(0).random((2, 3, *size), np.float32)
    missing = [8 * -(-side // 8) - side for side in size]
    expected = np.pad(image, ((0, 0), (0, 0), *((n // 2, n - n // 2) for n in missing)), mode="edge")
    np.testing.assert_array_equal(flow.padded(torch.from_numpy(image)), expected)


def test_flow_becomes_pictures_as_the_published_tool_makes_them():
    pixels = np.concatenate([np.random.default_rng(0).normal(0, 12, 5000), [-20, 20, -99, 99, 0, 0.04, -0.04, np.inf]])
    steps = np.rint(128 + 255 * np.clip(pixels, -20, 20) / 40)
    assert (steps.min(), steps.max()) == (0, 256)
    pictures = flow.as_pictures(torch.from_numpy(pixels))
    np.testing.assert_allclose(pictures, 2 * steps / 255 - 1, atol=1e-12)
    np.testing.assert_allclose(flow.as_pictures(torch.from_numpy(pixels).float()), pictures, atol=1e-6)
    assert pixels[-1] == np.inf, "the flow itself stays as it was"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"update_block.flow_head.conv2.bias": None}, r"\(1 missing: update_block.flow_head.conv2.bias\)"),
        ({"update_block.flow_head.conv2.bias": torch.ones(3)}, r"\(1 of another shape: .* \(3,\) for \(2,\)\)"),
        ({"fnet.conv1.weight": torch.ones(3)}, r"\(1 unknown: fnet.conv1.weight\)"),
    ],
)
def test_a_file_of_another_flow_network_is_refused(state, tmp_path, change, why):
    changed = {name: entry for name, entry in (state | change).items() if entry is not None}
    with pytest.raises(PipelineError, match=rf"x: does not hold RAFT \(large\) {why} → fetch it again"):
        flow.Raft(saved(changed, tmp_path / "x"), "cpu")


# ---- the family ----


class Sees(torch.nn.Module):
    """A stand-in for the network that keeps its inputs."""

    def forward(self, clips):
        self.given = clips
        return torch.arange(3.0).view(1, 1, 3, 1, 1).expand(1, 1024, 3, 1, 1)


class Ramps:
    """A stand-in for RAFT. The flow of pair n is (n, row of the pixel) / 8 pixels on the padded frame."""

    def __init__(self, weights, device):
        self.weights = weights

    def between(self, stack):
        n, height, width = len(stack) - 1, *(8 * -(-side // 8) for side in stack.shape[1:3])
        pair = torch.arange(n).view(n, 1, 1).expand(n, height, width)
        row = torch.arange(height).view(1, height, 1).expand(n, height, width)
        return torch.stack([pair, row], 1) / 8


def test_the_network_is_given_the_middle_of_the_padded_flow(monkeypatch):
    network = Sees()
    monkeypatch.setattr(inception, "features", lambda weights, conversion, n_channels: network)
    monkeypatch.setattr(flow, "Raft", Ramps)
    encoder = encoder_of(FAMILY)(Weights.joined(RANDOM, Weights.named("random:2", None)), "cpu")
    rows = encoder.encode(np.zeros((1, 33, 236, 300, 3), np.uint8))
    np.testing.assert_array_equal(rows, np.ones((1, 1024), np.float32))
    assert network.given.shape == (1, 2, 32, 224, 224)
    pair, row = (np.rint(128 + 255 / 40 * values) for values in (np.arange(32) / 8, np.arange(8, 232) / 8))
    pixels = (network.given[0] + 1) * 127.5
    np.testing.assert_allclose(pixels[0, :, 5, 7], pair, atol=1e-4)
    np.testing.assert_allclose(pixels[1, 3, :, 0], np.minimum(row, 256), atol=1e-4)


def test_each_network_has_the_weights_of_its_own(monkeypatch, file, tmp_path):
    taken = {}
    monkeypatch.setattr(flow, "Raft", lambda weights, device: taken.setdefault("raft", weights))
    encoder_of(FAMILY)(Weights.joined(RANDOM, file), "cpu")
    assert taken["raft"].path == file.path
    with pytest.raises(PipelineError, match=r"Inception-I3D of 2 channels .*missing"):
        encoder_of(FAMILY)(Weights.joined(file, RANDOM), "cpu")
