"""Frame grids against FFmpeg's own `fps` filter, run in process by PyAV."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from grid_of_ffmpeg import facts_of, last_packet_end, shown_by_ffmpeg
from hypothesis import given
from hypothesis import strategies as st
from made_videos import cut_from, make_video

from pipeline.video.frame_grid import frame_grid, middle_frames
from pipeline.video.probe import probe
from pipeline.video.views import size_224

RATES = [Fraction(1, 2), Fraction(1), Fraction(16), Fraction(24), Fraction(25), Fraction(30)]


def assert_grid_is_ffmpegs(path, rate):
    facts = probe(path)
    end = last_packet_end(path)
    first, candidates = shown_by_ffmpeg(path, rate)
    n0, shown = frame_grid(facts.pts, facts.time_base, rate, end)
    if rate * end < Fraction(1, 2):
        assert not candidates  # FFmpeg gives no frame where we demand one
        return
    assert (n0, len(shown)) == (first, len(candidates))
    assert all(index in equal for index, equal in zip(shown, candidates, strict=True))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["vfr.mp4", "ntsc.mkv", "late.mp4", "after_sound.mp4", "edit.mp4", "one.mp4"])
def test_grids_equal_the_fps_filter_on_made_videos(tmp_path, kind, rate):
    ticks = {
        "vfr": np.cumsum(np.random.default_rng(0).integers(5, 60, 60)),
        "ntsc": np.round(np.arange(60) * 600 * 1001 / 30000),
        "late": range(720, 1800, 20),
        "after_sound": range(720, 1800, 20),
        "edit": range(0, 1800, 20),
        "one": [0],
    }[kind.split(".")[0]]
    path = make_video(tmp_path / kind, ticks, sound_s=3 if kind == "after_sound.mp4" else 0)
    if kind == "edit.mp4":
        path = cut_from(tmp_path / "cut.mp4", path, Fraction(7, 10))
    assert_grid_is_ffmpegs(path, rate)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ["charades.mp4", "test.avi", "v_GGSY1Qvo990.mp4", "big_buck_bunny_432_433.webm"])
def test_grids_equal_the_fps_filter_on_real_videos(shared_data, name, rate):
    assert_grid_is_ffmpegs(shared_data / "videos" / name, rate)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40), st.sampled_from(RATES), st.integers(0, 3000))
def test_a_grid_is_the_formula_of_the_specification(gaps, rate, start):
    pts = [start + sum(gaps[:k]) for k in range(len(gaps))]
    base = Fraction(1, 1000)
    end = (pts[-1] + 40) * base
    first, shown = frame_grid(pts, base, rate, end)
    q = [int(rate * t * base + Fraction(1, 2)) for t in pts]
    n_frames = max(1, int(rate * end + Fraction(1, 2)))
    assert first == q[0]
    assert shown == [max(i for i in range(len(q)) if q[i] <= n) for n in range(q[0], n_frames)]


def test_a_stored_duration_ends_the_grid(shared_data):
    facts = probe(shared_data / "videos" / "v_GGSY1Qvo990.mp4")
    first, shown = frame_grid(facts.pts, facts.time_base, Fraction(30), facts.duration)
    assert first + len(shown) == 541


def test_ties_are_broken_exactly():
    first, shown = frame_grid(range(350), Fraction(1, 30), Fraction(25), Fraction(350, 30))
    assert (first, len(shown)) == (0, 292)
    assert shown[:4] == [0, 1, 2, 4]  # frame 3 stands at 2.5 ticks of 1/25 s: half rounds up, and frame 4 comes later


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (480, 270, (398, 224, 87, 0)),
        (270, 480, (224, 398, 0, 87)),
        (224, 224, (224, 224, 0, 0)),
        (97, 31, (700, 224, 238, 0)),
    ],
)
def test_the_short_side_becomes_224_and_the_long_side_is_truncated(width, height, size):
    assert size_224(width, height) == size


def test_a_clip_shows_the_last_frame_before_its_middle():
    assert middle_frames(facts_of("6"), Fraction(2))[:, 0].tolist() == [29, 89, 149]


@pytest.mark.parametrize(("duration", "frames"), [("1.5", [7]), ("2.05", [14]), ("2.2", [29])])
def test_very_short_videos_are_sampled_as_published(duration, frames):
    assert middle_frames(facts_of(duration), Fraction(2))[:, 0].tolist() == frames


def test_a_short_video_without_stored_duration_still_has_a_row():
    assert middle_frames(facts_of("0.6", stored=False), Fraction(2)).shape == (1, 1)


def test_a_late_start_does_not_shift_the_clips(tmp_path):
    """A picture that starts 3 s after its sound: the first rows show its first frame."""
    facts = probe(make_video(tmp_path / "late.mp4", range(1800, 4800, 20), sound_s=8))
    assert middle_frames(facts, Fraction(2))[:, 0].tolist() == [0, 0, 59, 119]
