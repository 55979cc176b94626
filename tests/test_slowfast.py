"""SlowFast's frames against a plain transcription, its numbers against pytorchvideo's own, and files that hold code."""

from __future__ import annotations

import os
import pickle
import re
import struct
from bisect import bisect_right
from fractions import Fraction
from itertools import chain
from math import ceil, floor
from types import SimpleNamespace

import numpy as np
import pytest
from made_videos import filtered, make_video

from pipeline.encoders import base
from pipeline.encoders.base import Weights, encoder_of
from pipeline.encoders.slowfast import CAFFE2_NAMES, filled, pathways, read_blobs
from pipeline.errors import PipelineError
from pipeline.video.decode import read_frames
from pipeline.video.frame_grid import motion_frames
from pipeline.video.probe import VideoFacts, probe
from pipeline.video.views import size_224

torch = pytest.importorskip("torch")
pytest.importorskip("pytorchvideo")

RATES = {14: Fraction(14), 24: Fraction(24000, 1001) + Fraction(1, 10), 25: Fraction(25), 29: Fraction(30000, 1001)}
RATES |= {30: Fraction(30), 60: Fraction(60), 15: Fraction(15), 50: Fraction(50)}


def facts_of(duration, rate=Fraction(30), stored=True, pts=None):
    base_time = Fraction(1, 60000)
    ticks = pts or [round(k / rate / base_time) for k in range(int(duration * rate))]
    return VideoFacts(None, "h264", 64, 48, rate, Fraction(duration), stored, base_time, tuple(ticks))


def transcribed(facts, clip_s):
    """Return the published extractor's frames, step by step: the fps filter, whole seconds, whole clips."""
    ticks = [floor(30 * t * facts.time_base + Fraction(1, 2)) for t in facts.pts]
    frames = [max(0, bisect_right(ticks, n) - 1) for n in range(floor(30 * facts.duration + Fraction(1, 2)))]
    while len(frames) % 30:
        frames.append(frames[-1])
    seconds = [frames[k : k + 30] for k in range(0, len(frames), 30)]
    while len(seconds) % clip_s:
        seconds.append(seconds[-1])
    clips = [list(chain(*seconds[k : k + clip_s])) for k in range(0, len(seconds), clip_s)]
    if facts.stored_duration:
        clips = clips[: ceil(facts.duration / clip_s)]
    places = torch.linspace(0, 64 * floor(facts.rate) / 30 - 1, 32).clamp(0, 30 * clip_s - 1).long().tolist()
    return [[clip[place] for place in places] for clip in clips]


@pytest.mark.parametrize("duration", ["7.3", "8", "1.2", "9.01"])
@pytest.mark.parametrize("clip_s", [1, 2])
@pytest.mark.parametrize("rate", [14, 24, 25, 29, 30, 60])
def test_a_clips_frames_are_the_published_ones(rate, clip_s, duration):
    facts = facts_of(Fraction(duration), RATES[rate])
    assert floor(facts.rate) == rate
    assert motion_frames(facts, Fraction(clip_s)).tolist() == transcribed(facts, clip_s)


@pytest.mark.parametrize("clip_s", [1, 2])
@pytest.mark.parametrize("start", [0, 90000])
def test_variable_rates_and_late_starts_keep_to_the_clock(start, clip_s):
    ticks = start + np.cumsum(np.random.default_rng(0).integers(500, 6000, 150))
    facts = facts_of(Fraction(int(ticks[-1]) + 2000, 60000), Fraction(37, 2), False, ticks.tolist())
    assert motion_frames(facts, Fraction(clip_s)).tolist() == transcribed(facts, clip_s)


@pytest.mark.parametrize(
    ("rate", "two_s", "one_s"),
    [(14, 29, 29), (15, 32, 30), (24, 32, 19), (25, 32, 19), (29, 32, 16), (30, 31, 16), (50, 19, 10), (60, 16, 9)],
)
def test_the_sources_rate_decides_how_many_grid_frames_a_clip_shows(rate, two_s, one_s):
    # A 120-fps source has a frame of its own for every grid frame; only its stated rate is changed.
    facts = facts_of(4, Fraction(120))
    facts = VideoFacts(**vars(facts) | {"rate": RATES[rate]})
    shown = [len(set(motion_frames(facts, Fraction(clip_s))[0].tolist())) for clip_s in (2, 1)]
    assert shown == [two_s, one_s]


@pytest.mark.parametrize(
    ("duration", "stored", "two_s", "one_s"),
    [
        ("150.00", True, 75, 150),
        ("150.02", True, 76, 151),
        ("149.98", True, 75, 150),
        ("150.01", True, 75, 150),
        ("150.02", False, 76, 151),
        ("149.98", False, 75, 150),
        ("0.01", True, 1, 1),
    ],
)
def test_rows_follow_the_grids_seconds_and_a_stored_duration(duration, stored, two_s, one_s):
    facts = facts_of(Fraction(duration), stored=stored, pts=list(range(0, int(60000 * float(duration)) + 1, 2000)))
    assert [len(motion_frames(facts, Fraction(clip_s))) for clip_s in (2, 1)] == [two_s, one_s]


@pytest.mark.parametrize("ticks", [range(0, 2700, 24), np.cumsum(np.random.default_rng(0).integers(12, 50, 90))])
def test_the_networks_input_is_ffmpegs_30_fps_grid(tmp_path, ticks):
    path = make_video(tmp_path / "a.mp4", ticks, 98, 64)
    facts = probe(path)
    size = size_224(facts.width, facts.height)
    filters = ("fps", "30"), ("scale", f"{size.width}:{size.height}:flags=bilinear"), ("format", "rgb24")
    shown = filtered(path, *filters)
    # Before a late first frame the clock shows that frame.
    grid = [f.to_ndarray(format="rgb24")[:, size.x : size.x + 224] for f in [shown[0]] * shown[0].pts + shown]
    rows = motion_frames(facts, Fraction(2))
    chunks = read_frames(facts, {"frames224": np.unique(rows).tolist()})
    read = {k: frame for chunk in chunks for k, frame in zip(chunk.indices, chunk.frames, strict=True)}
    places = torch.linspace(0, 64 * floor(facts.rate) / 30 - 1, 32).clamp(0, 59).long()
    expected = torch.stack([torch.from_numpy(grid[place]) for place in places]).permute(3, 0, 1, 2)
    slow, fast = pathways(torch.from_numpy(np.stack([read[k] for k in rows[0]]))[None])
    torch.testing.assert_close(fast[0], (expected / 255 - 0.45) / 0.225)
    torch.testing.assert_close(slow, fast[:, :, torch.linspace(0, 31, 8).long()], rtol=0, atol=0)


# ---- the network and its files ----


@pytest.fixture(scope="module")
def plain(torch_one_thread):
    """Return pytorchvideo's network with numbers in all 662 places."""
    from pytorchvideo.models.hub import slowfast_r50

    with torch.device("meta"):
        network = slowfast_r50(pretrained=False)
    base.randomise(network.to_empty(device="cpu"), 3)
    generator = torch.Generator().manual_seed(4)
    for name, tensor in network.state_dict().items():
        if name.endswith(("norm.weight", "norm_c.weight", "running_var")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(0, 0.2, generator=generator)
    return network.eval()


def caffe2_name(entry):
    """Return a name after the two renamings of the specification, pytorchvideo → PySlowFast → Caffe2, one rule a
    line."""
    for pattern, name in (
        (r"blocks\.6\.proj\.weight", "pred_w"),
        (r"blocks\.6\.proj\.bias", "pred_b"),
        (r"multipathway_blocks\.0\.", ""),
        (r"(blocks\.\d\.)multipathway_blocks\.1\.", r"t_\1"),
        (r"blocks\.0\.conv\.", "conv1."),
        (r"blocks\.0\.norm\.", "res_conv1_bn."),
        (r"blocks\.0\.multipathway_fusion", "t_pool1_subsample"),
        (r"blocks\.1\.multipathway_fusion", "t_res2_2_branch2c_bn_subsample"),
        (r"blocks\.2\.multipathway_fusion", "t_res3_3_branch2c_bn_subsample"),
        (r"blocks\.3\.multipathway_fusion", "t_res4_5_branch2c_bn_subsample"),
        (r"blocks\.(\d)\.res_blocks\.(\d)\.", lambda m: f"res{int(m[1]) + 1}_{m[2]}_"),
        (r"branch2\.conv_(.)", r"branch2\1"),
        (r"branch2\.norm_(.)", r"branch2\1_bn"),
        (r"branch1_conv", "branch1"),
        (r"branch1_norm", "branch1_bn"),
        (r"\.conv_fast_to_slow", ""),
        (r"subsample\.norm", "subsample_bn"),
        (r"bn\.weight", "bn_s"),
        (r"bn\.bias", "bn_b"),
        (r"bn\.running_mean", "bn_rm"),
        (r"bn\.running_var", "bn_riv"),
        (r"\.weight", "_w"),
    ):
        entry = re.sub(pattern, name, entry)
    return entry


class Python2Pickler(pickle._Pickler):
    """Writes bytes and text as the strings of Python 2."""

    dispatch = pickle._Pickler.dispatch | {}

    def _string(self, value):
        data = value if isinstance(value, bytes) else value.encode("latin-1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = _string


def write_blobs(path, blobs, pickler=Python2Pickler):
    with open(path, "wb") as file:
        pickler(file, protocol=2).dump({"blobs": blobs})
    path.write_bytes(path.read_bytes().replace(b"numpy._core.", b"numpy.core."))
    return path


@pytest.fixture(scope="module")
def blobs(plain):
    state = plain.state_dict()
    return {caffe2_name(name): t.numpy() for name, t in state.items() if "num_batches" not in name}


@pytest.fixture(scope="module")
def caffe2_file(blobs, tmp_path_factory):
    momentum = {f"{name}_momentum": np.ones(2, np.float32) for name in blobs}
    return write_blobs(tmp_path_factory.mktemp("weights") / "x.pkl", blobs | momentum)


def frames(n):
    return np.random.default_rng(0).integers(0, 256, (n, 32, 224, 224, 3), dtype=np.uint8)


def test_every_number_of_the_network_comes_from_its_blob(plain, blobs, caffe2_file):
    assert len(blobs) == len(CAFFE2_NAMES) == 552
    state = filled(Weights.named("released", caffe2_file), "caffe2").state_dict()
    assert state.keys() == plain.state_dict().keys()
    assert len(state) == 662
    assert all(torch.equal(state[name], tensor) for name, tensor in plain.state_dict().items() if tensor.ndim)


def test_python_3s_way_of_writing_bytes_is_read_too(blobs, tmp_path):
    path = write_blobs(tmp_path / "x.pkl", {"conv1_w": blobs["conv1_w"]}, pickle.Pickler)
    np.testing.assert_array_equal(read_blobs(path, "SlowFast R50")["conv1_w"], blobs["conv1_w"])


@pytest.fixture(scope="module")
def encoder(caffe2_file):
    return encoder_of("slowfast-r50-caffe2")(Weights.named("released", caffe2_file), "cpu")


@pytest.fixture(scope="module")
def two_rows(encoder):
    return encoder.encode(frames(2))


def test_rows_are_pytorchvideos_pooled_pathways(plain, two_rows):
    pixels = (torch.from_numpy(frames(1)).permute(0, 4, 1, 2, 3) / 255 - 0.45) / 0.225
    streams = [pixels[:, :, [0, 4, 8, 13, 17, 22, 26, 31]], pixels]
    with torch.inference_mode():
        for block in plain.blocks[:5]:
            streams = block(streams)
    expected = np.concatenate([stream.mean((2, 3, 4)).numpy() for stream in streams], axis=1)
    assert [stream.shape[1] for stream in streams] == [2048, 256]
    assert (two_rows.dtype, two_rows.shape) == (np.float32, (2, 2304))
    np.testing.assert_allclose(two_rows[:1], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_row_is_the_same_alone_and_in_a_batch(encoder, two_rows):
    np.testing.assert_allclose(encoder.encode(frames(2)[1:]), two_rows[1:], rtol=1e-5, atol=1e-6)
    assert np.abs(two_rows[0] - two_rows[1]).max() > 1e-4


def test_pytorchvideos_checkpoint_holds_the_same_network(plain, tmp_path):
    path = tmp_path / "x.pyth"
    torch.save({"model_state": plain.state_dict(), "epoch": 196}, path)
    state = filled(Weights.named("released", path), "pytorchvideo").state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in plain.state_dict().items())
    assert encoder_of("slowfast-r50-pytorchvideo")(Weights.named("released", path), "cpu")


def test_random_weights_give_rows_that_float16_holds():
    rows = encoder_of("slowfast-r50-caffe2")(Weights.named("random:1", None), "cpu").encode(frames(1))
    assert np.isfinite(rows.astype(np.float16)).all()
    assert 0.01 < rows.std() < 100


def test_every_call_gives_the_network_a_list_of_its_own(monkeypatch):
    given = []

    class Overwrites(torch.nn.Module):
        """Treats its input as pytorchvideo's blocks do."""

        def forward(self, streams):
            given.append([tuple(stream.shape) for stream in streams])
            streams[0] = streams[1] = torch.zeros(1, 2304, 1, 1, 1)
            return streams[0]

    monkeypatch.setattr("pipeline.encoders.slowfast.filled", lambda *_: SimpleNamespace(blocks=[Overwrites()]))
    encoder = encoder_of("slowfast-r50-caffe2")(Weights.named("random:1", None), "cpu")
    pixels = frames(2)
    before = pixels.copy()
    assert encoder.encode(pixels).shape == encoder.encode(pixels).shape == (2, 2304)
    assert given == [[(1, 3, 8, 224, 224), (1, 3, 32, 224, 224)]] * 4
    np.testing.assert_array_equal(pixels, before)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_holds_code_is_refused_and_not_run(blobs, tmp_path):
    trap = tmp_path / "trap"
    path = write_blobs(tmp_path / "x.pkl", blobs | {"zzz": Hostile(trap)})
    with pytest.raises(PipelineError, match=r"x.pkl: does not hold SlowFast R50 .*asks for posix.mkdir, which arrays"):
        read_blobs(path, "SlowFast R50")
    assert not trap.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile", "torch.load"])
def test_no_other_name_is_resolved(tmp_path, name):
    module, _, function = name.rpartition(".")
    path = tmp_path / "x.pkl"
    path.write_bytes(b"c%b\n%b\n(tR." % (module.encode(), function.encode()))
    with pytest.raises(PipelineError, match=f"asks for {name}"):
        read_blobs(path, "SlowFast R50")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"conv1_w": None}, "1 missing: conv1_w"),
        ({"nonlocal_conv4_1_w": np.ones(1, np.float32)}, "1 unknown: nonlocal_conv4_1_w"),
        ({"conv1_w": np.ones(3, np.float32)}, r"1 of another shape: conv1_w \(3,\) for \(64, 3, 1, 7, 7\)"),
        ({"conv1_w": np.ones(3, np.int32)}, "no numbers in conv1_w"),
        ({"conv1_w": np.array(["x"])}, "asks for the dtype .U1., which is no plain number"),
    ],
)
def test_a_file_of_another_network_is_refused(blobs, tmp_path, change, why):
    changed = {name: blob for name, blob in (blobs | change).items() if blob is not None}
    path = write_blobs(tmp_path / "x.pkl", changed)
    with pytest.raises(PipelineError, match=why):
        encoder_of("slowfast-r50-caffe2")(Weights.named("released", path), "cpu")


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"blobs": 3}, 2), pickle.dumps([1], 2)])
def test_a_file_that_is_no_weight_file_is_named(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    for family in ("slowfast-r50-caffe2", "slowfast-r50-pytorchvideo"):
        with pytest.raises(PipelineError, match=r"x: does not hold SlowFast R50 \(.*→ fetch it again"):
            encoder_of(family)(Weights.named("released", path, "0" * 64), "cpu")
