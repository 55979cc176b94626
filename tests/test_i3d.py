"""Inception-I3D: both public conversions against a second forward pass written from the file's side, and their rows."""

from __future__ import annotations

import io
import os
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.encoders.base import Weights, encoder_of
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from pipeline.encoders import i3d, inception  # noqa: E402

CONVERSIONS = {"hassony2": inception.HASSONY2, "piergiaj": inception.PIERGIAJ}
EPSILON = {"hassony2": 1e-5, "piergiaj": 1e-3}
CLASSES = {"hassony2": 400, "piergiaj": 157}
TVSUM, CHARADES = "i3d-inception-rgb-tvsum", "i3d-inception-rgb-charades"

CHANNELS = """3b 192 64 96 128 16 32 32; 3c 256 128 128 192 32 96 64; 4b 480 192 96 208 16 48 64;
4c 512 160 112 224 24 64 64; 4d 512 128 128 256 24 64 64; 4e 512 112 144 288 32 64 64; 4f 528 256 160 320 32 128 128;
5b 832 256 160 320 32 128 128; 5c 832 384 192 384 48 128 128"""
BRANCHES = {
    "hassony2": ("branch_0", "branch_1.0", "branch_1.1", "branch_2.0", "branch_2.1", "branch_3.1"),
    "piergiaj": ("b0", "b1a", "b1b", "b2a", "b2b", "b3b"),
}


def layers(style):
    """Return the names of the layers in a public file, in order."""
    stem = ["conv3d_1a_7x7", "conv3d_2b_1x1", "conv3d_2c_3x3"]
    mixed = [f"mixed_{line.split()[0]}" for line in CHANNELS.split(";")]
    return [name if style == "hassony2" else name.capitalize() for name in stem + mixed]


def public_state(style, n_channels=3, seed=0):
    """Return a file's content: random numbers under the public names. Variances are small so that epsilon matters."""
    units = dict(zip(layers(style)[:3], ((64, n_channels, 7), (64, 64, 1), (192, 64, 3)), strict=True))
    for layer, line in zip(layers(style)[3:], CHANNELS.split(";"), strict=True):
        width, a, b, c, d, e, f = map(int, line.split()[1:])
        shapes = (a, width, 1), (b, width, 1), (c, b, 3), (d, width, 1), (e, d, 3), (f, width, 1)
        units |= {f"{layer}.{name}": shape for name, shape in zip(BRANCHES[style], shapes, strict=True)}
    draw = torch.Generator().manual_seed(seed)
    norm = "batch3d" if style == "hassony2" else "bn"
    state = {}
    for name, (n_out, n_in, kernel) in units.items():
        scale = (n_in * kernel**3) ** -0.5
        state[f"{name}.conv3d.weight"] = torch.randn(n_out, n_in, *(kernel,) * 3, generator=draw) * scale
        state[f"{name}.{norm}.weight"] = torch.rand(n_out, generator=draw) + 0.5
        state[f"{name}.{norm}.bias"] = torch.randn(n_out, generator=draw) * 0.2
        state[f"{name}.{norm}.running_mean"] = torch.randn(n_out, generator=draw) * 0.1
        state[f"{name}.{norm}.running_var"] = torch.rand(n_out, generator=draw) + 0.02
    classifier = "conv3d_0c_1x1" if style == "hassony2" else "logits"
    state[f"{classifier}.conv3d.weight"] = torch.randn(CLASSES[style], 1024, 1, 1, 1, generator=draw)
    state[f"{classifier}.conv3d.bias"] = torch.randn(CLASSES[style], generator=draw)
    return state


def same(clips, kernel, stride, style, value=0.0):
    """Pad as TensorFlow's SAME does, from the number of windows, or as hassony2 does, who supposes that the stride
    divides every size."""
    pads = []
    for size, width, step in zip(clips.shape[2:], kernel, stride, strict=True):
        n_windows = ceil(size / step)
        total = (n_windows - 1) * step + width - size if style == "piergiaj" else width - step
        pads = [max(total, 0) // 2, max(total, 0) - max(total, 0) // 2, *pads]
    return functional.pad(clips, pads, value=value)


def pooled(clips, kernel, stride, style):
    """Return the maximum over zero-padded windows. With hassony2 windows that begin inside and end outside count,
    too."""
    clips = same(clips, kernel, stride, style)
    begun = [-(size - width) % step for size, width, step in zip(clips.shape[2:], kernel, stride, strict=True)]
    if style == "hassony2":
        clips = functional.pad(clips, [pad for n in reversed(begun) for pad in (0, n)], value=float("-inf"))
    return functional.max_pool3d(clips, kernel, stride)


def reference(state, style, clips):
    """Return Mixed_5c as the public code computes it, from the file's entries."""
    norm = "batch3d" if style == "hassony2" else "bn"

    def unit(name, clips, stride=1):
        kernel = state[f"{name}.conv3d.weight"].to(clips)
        out = functional.conv3d(same(clips, kernel.shape[2:], (stride,) * 3, style), kernel, stride=stride)
        scale, shift, mean, variance = (
            state[f"{name}.{norm}.{part}"].to(out).view(-1, 1, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (scale * (out - mean) / (variance + EPSILON[style]).sqrt() + shift).clamp(min=0)

    first, *names = layers(style)
    clips = pooled(unit(first, clips, 2), (1, 3, 3), (1, 2, 2), style)
    clips = pooled(unit(names[1], unit(names[0], clips)), (1, 3, 3), (1, 2, 2), style)
    for name in names[2:]:
        if name.endswith("4b"):
            clips = pooled(clips, (3, 3, 3), (2, 2, 2), style)
        if name.endswith("5b"):
            clips = pooled(clips, (2, 2, 2), (2, 2, 2), style)
        a, b, c, d, e, f = (f"{name}.{branch}" for branch in BRANCHES[style])
        sides = pooled(clips, (3, 3, 3), (1, 1, 1), style)
        clips = torch.cat([unit(a, clips), unit(c, unit(b, clips)), unit(e, unit(d, clips)), unit(f, sides)], 1)
    return clips


def saved(state, path, **options):
    torch.save(state, path, **options)
    return Weights.named("released", path, "0" * 64)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {style: saved(public_state(style), folder / style) for style in CONVERSIONS}


def frames(n, n_frames):
    return np.random.default_rng(0).integers(0, 256, (n, n_frames, 224, 224, 3), dtype=np.uint8)


# ---- the network ----


@pytest.mark.parametrize(
    ("style", "n_channels", "count"),
    [("hassony2", 3, 12_697_264), ("hassony2", 2, 12_675_312), ("piergiaj", 3, 12_448_189)],
)
def test_the_network_has_the_published_number_of_parameters(style, n_channels, count):
    with torch.device("meta"):
        network = inception.network(CONVERSIONS[style], n_channels)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(
    ("style", "n_frames", "left", "rows"),
    [
        ("hassony2", 32, 4, 3),
        ("hassony2", 64, 8, 7),
        ("piergiaj", 24, 3, 2),
        ("piergiaj", 17, 3, 2),
        ("piergiaj", 16, 2, 1),
    ],
)
def test_an_eighth_of_the_frames_is_left_and_one_less_after_the_pool(style, n_frames, left, rows):
    with torch.device("meta"):
        network = inception.network(CONVERSIONS[style], 3)
        clip = torch.empty(1, 3, n_frames, 224, 224)
        shapes = {name: tuple((clip := layer(clip)).shape[1:]) for name, layer in network.named_children()}
    assert shapes["mixed_5c"] == (1024, left, 7, 7)
    assert shapes["pool"] == (1024, rows, 1, 1)
    if n_frames == 32:
        assert shapes["conv3d_1a_7x7"] == (64, 16, 112, 112)
        assert shapes["mixed_3c"] == (480, 16, 28, 28)
        assert shapes["mixed_4f"] == (832, 8, 14, 14)


@pytest.mark.parametrize("size", [(9, 33, 41), (8, 32, 32), (17, 47, 30), (2, 5, 3)])
@pytest.mark.parametrize("style", CONVERSIONS)
def test_mixed_5c_is_what_the_file_says(torch_one_thread, files, style, size):
    network = inception.features(files[style], CONVERSIONS[style], 3)[:-1].double()
    clip = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = reference(torch.load(files[style].path, weights_only=True), style, clip)
    assert expected.std() > 1e-3
    with torch.inference_mode():
        torch.testing.assert_close(network(clip), expected, rtol=1e-9, atol=1e-12)


@given(st.integers(1, 60), st.sampled_from([(7, 2), (3, 1), (3, 2), (2, 2), (1, 1)]))
def test_padding_leaves_a_window_for_every_stride_and_its_odd_zero_at_the_end(size, window):
    kernel, stride = window
    clip = torch.ones(1, 1, 1, size, 1)
    padded = inception.PIERGIAJ.pad(clip, (1, kernel, 1), (1, stride, 1)).flatten()
    zeros = len(padded) - size
    assert (len(padded) - kernel) // stride + 1 == ceil(size / stride)
    assert torch.equal(padded, functional.pad(torch.ones(size), (zeros // 2, zeros - zeros // 2)))
    supposed = inception.HASSONY2.pad(clip, (1, kernel, 1), (1, stride, 1)).flatten()
    assert len(supposed) == size + max(kernel - stride, 0)
    if size % stride == 0:
        assert torch.equal(supposed, padded)


# ---- its files ----


@pytest.mark.parametrize("n_channels", [2, 3])
@pytest.mark.parametrize("style", CONVERSIONS)
def test_every_tensor_of_the_file_lands_and_the_network_has_no_other(style, n_channels, tmp_path):
    state = public_state(style, n_channels)
    numbered = {name: torch.full_like(tensor, k, dtype=torch.half) for k, (name, tensor) in enumerate(state.items())}
    with torch.device("meta"):
        network = inception.network(CONVERSIONS[style], n_channels)
    inception.fill(network, saved(numbered, tmp_path / "x"), "it", CONVERSIONS[style].name_in_file)
    landed = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    assert len(state) == len(landed) == 287
    assert {tensor.dtype for tensor in landed.values()} == {torch.float32}
    assert sorted(tensor.unique().item() for tensor in landed.values()) == list(range(287))


@pytest.mark.parametrize("counters", [False, True])
def test_files_of_old_and_new_versions_of_torch_are_read(files, tmp_path, counters):
    state = public_state("hassony2")
    if counters:
        state |= {
            name.replace("running_var", "num_batches_tracked"): torch.tensor(7) for name in state if "_var" in name
        }
    old = saved(state, tmp_path / "x", _use_new_zipfile_serialization=False)
    ours, theirs = (
        inception.features(weights, inception.HASSONY2, 3).state_dict() for weights in (files["hassony2"], old)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


STEM = "conv3d_1a_7x7.conv3d.weight"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({STEM: None}, rf"\(1 missing: {STEM}\) → fetch it again"),
        ({"extra.weight": torch.ones(1)}, r"\(1 unknown: extra.weight\)"),
        ({STEM: torch.ones(64, 2, 7, 7, 7)}, r"of another shape: .*\(64, 2, 7, 7, 7\) for \(64, 3, 7, 7, 7\)"),
    ],
)
def test_a_file_of_another_network_is_refused_by_its_own_names(tmp_path, change, why):
    state = {name: tensor for name, tensor in (public_state("hassony2") | change).items() if tensor is not None}
    with pytest.raises(PipelineError, match=rf"x: does not hold Inception-I3D of 3 channels .*{why}"):
        encoder_of(TVSUM)(saved(state, tmp_path / "x"), "cpu")


def test_one_conversion_does_not_pass_for_the_other(files):
    with pytest.raises(
        PipelineError, match=r"287 missing: Conv3d_1a_7x7.conv3d.weight, .*; 287 unknown: conv3d_0c_1x1"
    ):
        encoder_of(CHARADES)(files["hassony2"], "cpu")


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_that_holds_code_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"
    with pytest.raises(PipelineError, match="x: does not hold Inception-I3D"):
        encoder_of(TVSUM)(saved({STEM: Hostile(trap)}, tmp_path / "x"), "cpu")
    assert not trap.exists()


def as_bytes(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


CUT = as_bytes({"a": torch.ones(5), "b": torch.ones(3)}, _use_new_zipfile_serialization=False)
"""A file in the form that torch wrote before 2020, as the public files are. The tests get only the beginning of it."""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        as_bytes([1]),
        as_bytes({"epoch": 3}),
        as_bytes({}),
        *(CUT[:n] for n in range(10, len(CUT), 40)),
    ],
    ids=len,
)
def test_a_file_that_is_no_weight_file_is_named(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(PipelineError, match=r"x: does not hold Inception-I3D of 3 channels \(.*→ fetch it again"):
        encoder_of(CHARADES)(Weights.named("released", tmp_path / "x", "0" * 64), "cpu")


# ---- the rows ----


def test_a_tvsum_row_is_the_mean_of_three_positions(torch_one_thread, files):
    pixels = frames(1, 32)
    clip = torch.from_numpy(pixels).permute(0, 4, 1, 2, 3).double() / 255 * 2 - 1
    maps = reference(torch.load(files["hassony2"].path, weights_only=True), "hassony2", clip.float())
    expected = torch.stack([maps[:, :, k : k + 2].mean((2, 3, 4)) for k in range(3)]).mean(0).numpy()
    rows = encoder_of(TVSUM)(files["hassony2"], "cpu").encode(pixels)
    assert (rows.dtype, rows.shape) == (np.float32, (1, 1024))
    assert rows.min() >= 0
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_random_weights_follow_their_seed():
    first, again, other = (
        inception.features(Weights.named(f"random:{seed}", None), inception.PIERGIAJ, 3).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if first[name].ndim > 1)


def test_random_weights_give_two_rows_that_differ_and_that_float16_holds(torch_one_thread):
    rows = encoder_of(CHARADES)(Weights.named("random:1", None), "cpu").encode(frames(1, 17)).astype(np.float16)
    assert rows.shape == (2, 1024)
    assert np.isfinite(rows).all()
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


class Brightness(torch.nn.Module):
    """A stand-in for the network: 1,024 times the mean of each position's frames. Its windows have 16 frames and begin
    every 8 frames."""

    def forward(self, clips):
        means = clips.mean((1, 3, 4))
        n_positions = ceil(means.shape[1] / 8) - 1
        rows = torch.stack([means[:, 8 * k : 8 * k + 16].mean(1) for k in range(n_positions)], 1)
        return rows[:, None, :, None, None].expand(-1, 1024, -1, 1, 1)


@pytest.fixture
def brightness(monkeypatch):
    monkeypatch.setattr(inception, "features", lambda *_: Brightness())


@pytest.mark.parametrize("n_frames", [24, 17])
def test_a_charades_window_gives_two_rows_in_order_of_time(brightness, n_frames):
    # Window 0 goes from black to white, window 1 back.
    ramp = np.linspace(0, 255, n_frames).astype(np.uint8)
    windows = np.broadcast_to(np.stack([ramp, ramp[::-1]])[..., None, None, None], (2, n_frames, 224, 224, 3))
    kind = encoder_of(CHARADES)
    rows = kind(Weights.named("random:1", None), "cpu").encode(windows.copy())
    assert rows.shape == (2 * FAMILIES[CHARADES].rows_per_input, 1024)
    scaled = windows[:, :, 0, 0, 0] / 127.5 - 1
    expected = [scaled[w, start : start + 16].mean() for w in (0, 1) for start in (0, 8)]
    np.testing.assert_allclose(rows[:, 0], expected, atol=1e-6)
    assert (np.diff(rows[:, 0])[[0, 2]] * [1, -1] > 0).all()


def test_rows_do_not_depend_on_what_stands_beside_them(brightness):
    encoder = encoder_of(TVSUM)(Weights.named("random:1", None), "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 224, 224, 3), dtype=np.uint8)
    together = encoder.encode(pixels)
    assert together.shape == (3, 1024)
    for k in range(3):
        np.testing.assert_array_equal(encoder.encode(pixels[k : k + 1]), together[k : k + 1])


def test_colours_are_scaled_from_minus_one_to_one():
    clip = i3d.colours(np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 1, 3), "cpu")
    assert clip.shape == (1, 3, 1, 1, 1)
    np.testing.assert_allclose(clip.flatten(), [-1, 2 * 51 / 255 - 1, 1], atol=1e-7)
