"""Frames against PyAV's own filter chain, and files that hang, crash or lie."""

from __future__ import annotations

import multiprocessing
import os
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hanging import hang
from made_videos import HALF, MIRROR, cut_from, filtered, make_video, rotated, with_hidden_frames
from second_reader import RefusedError, by_decord, needs_decord

from pipeline.errors import PipelineError
from pipeline.video import ahead, frame_grid
from pipeline.video.ahead import Done, FramesWanted, Plan, Request, decode_ahead
from pipeline.video.decode import read_frames
from pipeline.video.frame_grid import middle_frames
from pipeline.video.probe import probe
from pipeline.video.supervised import Failed
from pipeline.video.views import size_224


def reference(path, indices, turn=()):
    """Return the 224-frames by FFmpeg's filters scale and crop, bilinear."""
    facts = probe(path)
    size = size_224(facts.width, facts.height)
    chain = (
        *turn,
        ("scale", f"{size.width}:{size.height}:flags=bilinear"),
        ("crop", f"224:224:{size.x}:{size.y}"),
        ("format", "rgb24"),
    )
    frames = filtered(path, *chain)
    return np.stack([frames[i].to_ndarray(format="rgb24") for i in indices])


def read(path, indices):
    chunks = list(read_frames(probe(path), {"frames224": indices}))
    assert [i for chunk in chunks for i in chunk.indices] == list(indices)
    return np.concatenate([chunk.frames for chunk in chunks]), {chunk.decoder.split()[0] for chunk in chunks}


def assert_frames_are_ffmpegs(path, indices, turn=()):
    frames, decoders = read(path, indices)
    assert decoders == {"pyav"}
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, reference(path, indices, turn))


def assert_the_second_reader_agrees(path, indices):
    np.testing.assert_array_equal(by_decord(probe(path), indices), read(path, indices)[0])


REAL = (
    "charades.mp4",
    "v_GGSY1Qvo990.mp4",
    "v_ZNVhz7ctTq0.mp4",
    "big_buck_bunny_432_433.webm",
)


@pytest.mark.parametrize("name", [*REAL, "test.avi"])
def test_real_frames_equal_ffmpegs_chain(shared_data, name):
    path = shared_data / "videos" / name
    assert_frames_are_ffmpegs(path, middle_frames(probe(path), Fraction(2))[:, 0].tolist())


@needs_decord
@pytest.mark.parametrize("name", REAL)
def test_the_second_reader_agrees_on_real_files(shared_data, name):
    path = shared_data / "videos" / name
    assert_the_second_reader_agrees(path, middle_frames(probe(path), Fraction(2))[:, 0].tolist())


@needs_decord
@pytest.mark.parametrize("size", [(64, 48), (48, 64), (98, 34), (224, 224), (640, 360)])
def test_both_decoders_give_ffmpegs_frames_at_every_shape(tmp_path, size):
    path = make_video(tmp_path / "a.mp4", range(0, 1200, 20), *size)
    assert_the_second_reader_agrees(path, [3, 17, 18, 59])
    assert_frames_are_ffmpegs(path, list(range(60)))


@pytest.mark.parametrize("name", ["-Ž; $(rm *) 'x'.mp4", "a:b?.mp4"])
def test_any_file_name_can_be_read(tmp_path, monkeypatch, name):
    make_video(tmp_path / name, range(0, 1200, 20))
    monkeypatch.chdir(tmp_path)
    assert read(Path(name), [5])[1] == {"pyav"}


@needs_decord
def test_variable_rates_and_edit_lists_show_the_frames_a_player_shows(tmp_path):
    vfr = make_video(tmp_path / "vfr.mp4", np.cumsum(np.random.default_rng(0).integers(5, 60, 60)))
    edit = cut_from(tmp_path / "edit.mp4", make_video(tmp_path / "a.mp4", range(0, 1800, 20)), Fraction(7, 10))
    for path, last in ((vfr, 59), (edit, 68)):
        assert_the_second_reader_agrees(path, [0, 30, last])
        assert_frames_are_ffmpegs(path, list(range(last + 1)))


@needs_decord
def test_a_rotated_video_is_turned_and_squeezed_as_published(tmp_path):
    path = rotated(tmp_path / "turned.mp4", make_video(tmp_path / "a.mp4", range(0, 1200, 20), 160, 120))
    assert_the_second_reader_agrees(path, [3, 50])
    assert_frames_are_ffmpegs(path, list(range(60)), (("transpose", "clock"),))


@needs_decord
@pytest.mark.parametrize("matrix", [HALF, MIRROR])
def test_half_a_turn_and_what_ffmpeg_takes_for_one(tmp_path, matrix):
    path = rotated(tmp_path / "turned.mp4", make_video(tmp_path / "a.mp4", range(0, 1200, 20), 160, 120), matrix)
    assert_the_second_reader_agrees(path, [3, 50])
    assert_frames_are_ffmpegs(path, list(range(60)), (("hflip", ""), ("vflip", "")))


@needs_decord
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_both_decoders_find_the_frames_of_a_file_that_starts_late(tmp_path, suffix):
    source = make_video(tmp_path / f"a.{suffix}", range(0, 1200, 20), sound_s=2)
    path = cut_from(tmp_path / f"late.{suffix}", source, Fraction(-60))
    assert_the_second_reader_agrees(path, [3, 50])
    assert_frames_are_ffmpegs(path, list(range(60)))


@needs_decord
def test_frames_that_are_never_shown_shift_no_other(tmp_path):
    source = make_video(tmp_path / "a.webm", range(0, 1200, 20), codec="libvpx")
    path = with_hidden_frames(tmp_path / "hidden.webm", source, range(7, 50, 10))
    assert_frames_are_ffmpegs(path, list(range(60)))
    np.testing.assert_array_equal(read(path, [3, 30, 50])[0], reference(path, [3, 30, 50]))


def test_one_frame_is_enough(tmp_path):
    assert_frames_are_ffmpegs(make_video(tmp_path / "a.mp4", [0]), [0])


@needs_decord
def test_the_second_reader_refuses_a_file_whose_times_it_takes_for_others(shared_data):
    with pytest.raises(RefusedError):
        by_decord(probe(shared_data / "videos" / "test.avi"), [3])


def test_av1_is_read(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libsvtav1", rate=30, options={"preset": "12", "svtav1-params": "lp=1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for _ in range(20):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((96, 128, 3), 99, np.uint8), "rgb24")))
        file.mux(stream.encode(None))
    assert read(path, [10])[1] == {"pyav"}


def test_zeros_in_the_middle_are_noticed_when_decoding(tmp_path):
    path = make_video(tmp_path / "a.mp4", range(0, 1800, 20), 320, 240)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle - 2000 : middle + 2000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(PipelineError, match=r"decodes to|cannot be read as video"):
        read(path, list(range(90)))


def events_of(paths, seconds=60.0):
    requests = [Request(path, {"clip-vit-b32": FramesWanted("middle", "frames224", Fraction(2))}) for path in paths]
    found = {k: [] for k in range(len(paths))}
    for position, event in decode_ahead(requests, seconds):
        found[position].append(event)
    return list(found.values())


def test_a_bad_video_costs_itself_alone(tmp_path):
    good = make_video(tmp_path / "good.mp4", range(0, 3600, 20))
    half = tmp_path / "half.mp4"
    half.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    first, second, third = events_of([good, half, good])
    for events in (first, third):
        assert isinstance(events[0], Plan)
        assert isinstance(events[-1], Done)
        assert events[0].rows["clip-vit-b32"][:, 0].tolist() == [29, 89, 149]
    (failure,) = second
    assert "cannot be read as video" in failure.why


def hanging(facts, clip_s):
    if "bad" in facts.path.name:
        hang()
    return middle_frames(facts, clip_s)


def crash(facts, clip_s):
    if "bad" in facts.path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return middle_frames(facts, clip_s)


@pytest.mark.parametrize(("misbehave", "why"), [(hanging, "took longer than 60 s"), (crash, "was killed (SIGKILL)")])
def test_a_hanging_or_crashing_video_costs_itself_alone(tmp_path, monkeypatch, misbehave, why):
    good = make_video(tmp_path / "good.mp4", range(0, 3600, 20))
    bad = make_video(tmp_path / "bad.mp4", range(0, 3600, 20))
    start_in_the_child(monkeypatch, misbehave)
    first, second, third = events_of([good, bad, good])
    assert isinstance(first[-1], Done)
    assert isinstance(third[-1], Done)
    assert isinstance(second[-1], Failed)
    assert why in second[-1].why


def start_in_the_child(monkeypatch, sampling):
    """Fork instead of spawn, so that the child sees what this test puts in place."""
    monkeypatch.setitem(frame_grid.SAMPLINGS, "middle", sampling)
    monkeypatch.setattr(ahead, "START", multiprocessing.get_context("fork"))


def test_a_consumer_may_stop_early(tmp_path):
    good = make_video(tmp_path / "good.mp4", range(0, 3600, 20))
    events = decode_ahead([Request(good, {"f": FramesWanted("middle", "frames224", Fraction(1, 6))})] * 5, 60)
    next(events)
    events.close()
    assert multiprocessing.active_children() == []
