"""The views of native frames equal those of PIL and PyAV, and several views are made in one pass."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from made_videos import decoded, make_video, rotated
from PIL import Image

from pipeline.video import ahead
from pipeline.video.ahead import FramesWanted, Request, decode_ahead
from pipeline.video.decode import CHUNK, Chunk, read_frames
from pipeline.video.frame_grid import SAMPLINGS
from pipeline.video.probe import probe
from pipeline.video.views import VIEWS, crop224, crop224of256, short256

ALL = ("frames224", *VIEWS)


def noise(width, height):
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(width, height):
    """Return a picture with similar neighbours, as a decoder gives."""
    small = Image.fromarray(noise(width // 8, height // 8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def reference(view, frame):
    """Return the same picture made by PIL alone, step by step from the specification."""
    image = Image.fromarray(frame)
    short, long = sorted(image.size)
    if view == "crop224":
        width, height = image.size
        x, y = (int(np.round((side - 224) / 2)) for side in (width, height))  # NumPy rounds half to even
        return np.asarray(image.crop((x, y, x + 224, y + 224)))
    sides = (256, int(256 * long / short))
    image = image.resize(sides if image.width <= image.height else sides[::-1], Image.Resampling.BILINEAR)
    if view == "crop224of256":
        x, y = (int(np.floor((side - 224) / 2)) for side in image.size)
        image = image.crop((x, y, x + 224, y + 224))
    return np.asarray(image)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", [(480, 270), (270, 480), (229, 231), (256, 256), (1280, 719), (333, 227), (226, 999)])
def test_a_view_is_what_pil_makes_of_the_frame(view, size):
    np.testing.assert_array_equal(VIEWS[view](noise(*size)), reference(view, noise(*size)))


@pytest.mark.parametrize(("size", "shape"), [((480, 270), (256, 455)), ((97, 31), (256, 801)), ((31, 97), (801, 256))])
def test_the_short_side_becomes_256_and_the_long_side_is_truncated(size, shape):
    assert short256(noise(*size)).shape == (*shape, 3)


def test_an_odd_margin_is_halved_to_the_even_side():
    frame = noise(229, 231)  # 2.5 and 3.5 pixels
    np.testing.assert_array_equal(crop224(frame), frame[4:228, 2:226])


@pytest.mark.parametrize("size", [(160, 120), (225, 300), (98, 64), (320, 224)])
def test_small_frames_are_enlarged_bilinearly(size, torch_one_thread):
    frame = smooth(*size)
    sides = [round(side * 226 / min(size)) for side in reversed(size)]
    pixels = torch_one_thread.from_numpy(frame.copy()).permute(2, 0, 1)[None].float()
    large = torch_one_thread.nn.functional.interpolate(pixels, sides, mode="bilinear", align_corners=False)
    y, x = (round((side - 224) / 2) for side in sides)
    expected = large[0, :, y : y + 224, x : x + 224].permute(1, 2, 0).numpy()
    assert crop224(frame).shape == (224, 224, 3)
    assert np.abs(crop224(frame) - expected).max() <= 1.01


def test_a_crop_lets_go_of_the_frame():
    assert crop224(noise(480, 270)).base is None
    assert crop224of256(noise(480, 270)).base is None


def read(path, wanted):
    """Return view → (indices, frames), of one pass."""
    found = {view: ([], []) for view in wanted}
    for chunk in read_frames(probe(path), wanted):
        assert chunk.frames.nbytes <= CHUNK or len(chunk.frames) == 1
        assert chunk.frames.dtype == np.uint8
        found[chunk.view][0].extend(chunk.indices)
        found[chunk.view][1].extend(chunk.frames)
    return {view: (indices, np.stack(frames)) for view, (indices, frames) in found.items()}


@pytest.mark.parametrize("name", ["charades.mp4", "test.avi", "big_buck_bunny_432_433.webm", "women_long_jump.mp4"])
def test_real_native_frames_are_pyavs(shared_data, name):
    path = shared_data / "videos" / name
    indices = (0, 3, 4, 17)
    native = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(decoded(path), 18)]
    for view, (at, frames) in read(path, dict.fromkeys(VIEWS, indices)).items():
        assert tuple(at) == indices
        if min(native[0].shape[:2]) < 226 and view == "crop224":
            continue
        np.testing.assert_array_equal(frames, np.stack([reference(view, native[index]) for index in indices]))


def test_several_views_in_one_pass_equal_each_alone(tmp_path):
    path = make_video(tmp_path / "a.mp4", range(0, 1200, 20), 320, 240)
    wanted = {view: list(range(k, 60, k + 1)) for k, view in enumerate(ALL)}
    together = read(path, wanted)
    for view, (indices, frames) in together.items():
        alone = read(path, {view: wanted[view]})[view]
        assert indices == wanted[view] == alone[0]
        np.testing.assert_array_equal(frames, alone[1])


def test_a_rotated_video_is_turned_and_not_squeezed(tmp_path):
    upright = make_video(tmp_path / "a.mp4", range(0, 200, 20), 320, 240)
    path = rotated(tmp_path / "turned.mp4", upright)
    native = [np.rot90(frame.to_ndarray(format="rgb24"), -1) for frame in decoded(upright)]
    for view, (_, frames) in read(path, dict.fromkeys(VIEWS, (2, 7))).items():
        np.testing.assert_array_equal(frames, np.stack([reference(view, native[index]) for index in (2, 7)]))


@pytest.mark.parametrize(("size", "through_the_pipe"), [((64, 48), False), ((480, 16), True)])
def test_frames_of_any_size_reach_the_encoder(tmp_path, size, through_the_pipe):
    path = make_video(tmp_path / "a.mp4", range(0, 1500, 30), *size)
    request = Request(path, {"flow": FramesWanted("stacks16-flow", "short256", Fraction(2))})
    events = [event for _, event in decode_ahead([request], 60) if isinstance(event, Chunk) and len(event.frames)]
    wanted = np.unique(SAMPLINGS["stacks16-flow"](probe(path), Fraction(2))).tolist()
    assert [index for event in events for index in event.indices] == wanted
    assert (max(event.frames.nbytes for event in events) > CHUNK) == through_the_pipe
    assert len(events) > ahead.AHEAD or not through_the_pipe
    assert events[0].frames.shape[1:3] == short256(noise(*size)).shape[:2]


def test_frames_of_any_view_come_of_one_decode_and_are_the_same_sparse_and_dense(tmp_path):
    facts = probe(make_video(tmp_path / "b.mp4", range(0, 600 * 2, 40), 96, 72))
    views = [
        "frames224",
        "short256",
        "short224.bicubic.crop224",
        "exact128x171.linear.crop112",
        "short336.bicubic.crop336",
    ]
    dense = {view: list(range(facts.n_frames)) for view in views}

    def read(wanted):
        found = {}
        for chunk in read_frames(facts, wanted):
            found |= {(chunk.view, i): frame.copy() for i, frame in zip(chunk.indices, chunk.frames, strict=True)}
        return found

    every, few = read(dense), read({view: [3, 17] for view in views})
    assert {frame.shape[0] for (view, _), frame in every.items() if view == views[-1]} == {336}
    for key, frame in few.items():
        np.testing.assert_array_equal(frame, every[key])
