"""Frames of I3D and VGG: stacks against plain loops, FFmpeg's own grid, and the released row counts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import h5py
import numpy as np
import pytest
from grid_of_ffmpeg import facts_of, last_packet_end, shown_by_ffmpeg
from hypothesis import given
from hypothesis import strategies as st
from made_videos import make_video

from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.grids import grid_seconds, n_clips
from pipeline.video.frame_grid import (
    SAMPLINGS,
    every_fourth,
    motion_frames,
    sampling_of,
    slow_frames,
    stacks_of_16_fps,
    stacks_of_24_fps,
)
from pipeline.video.probe import probe
from pipeline.video.views import FRAMES224, VIEWS

VIDEOS = ["charades.mp4", "test.avi", "v_GGSY1Qvo990.mp4", "big_buck_bunny_432_433.webm", "women_long_jump.mp4"]


def video_of(n_frames, fps):
    """Return a video with a frame for every one of n grid frames, so that source indices are places on the grid."""
    return facts_of(Fraction(n_frames, fps), fps=fps)


def published_stacks_of_24_fps(t):
    """Yield the places of every stack as VSLNet's extractor has them."""
    for start in range(0, t, 24):
        end = min(t - 1, start + 24)
        yield list(range(start if end - start == 24 else max(0, end - 24), end))


@given(st.integers(18, 400))
def test_stacks_of_charades_are_the_published_ones(t):
    assert stacks_of_24_fps(video_of(t, 24)).tolist() == list(published_stacks_of_24_fps(t))


@given(st.integers(1, 17))
def test_a_video_too_short_for_two_rows_repeats_its_last_used_frame(t):
    (places,) = stacks_of_24_fps(video_of(t, 24)).tolist()
    used = [*range(t - 1)] or [0]
    assert places == used + [used[-1]] * (17 - len(used))


@given(st.integers(1, 400))
def test_a_row_of_half_a_second_is_at_most_two_rows_from_its_clips(t):
    facts = video_of(t, 24)
    assert abs(2 * len(stacks_of_24_fps(facts)) - int(facts.duration * 2 + Fraction(1, 2))) <= 2


@given(st.integers(1, 400), st.sampled_from([32, 33]))
def test_stacks_of_tvsum_are_cut_from_the_grid_end_to_end(n, n_frames):
    rows = stacks_of_16_fps(video_of(n, 16), n_frames).tolist()
    whole = [list(range(k, k + n_frames)) for k in range(0, n, 32) if k + 33 <= n]
    assert rows == (whole or [[min(k, n - 1) for k in range(n_frames)]])


def test_the_next_stack_begins_with_the_frame_that_flow_looks_ahead_to():
    rows = stacks_of_16_fps(video_of(97, 16), 33)
    assert rows[:-1, -1].tolist() == rows[1:, 0].tolist() == [32, 64]


@given(st.integers(1, 100))
def test_vgg_sees_every_fourth_frame(n):
    assert every_fourth(video_of(n, 24))[:, 0].tolist() == list(range(0, n, 4))


@pytest.mark.parametrize("name", VIDEOS)
def test_on_real_videos_they_are_frames_of_ffmpegs_grid(shared_data, name):
    path = shared_data / "videos" / name
    facts = replace(probe(path), duration=last_packet_end(path))
    grids = {rate: grid_by_ffmpeg(path, Fraction(rate)) for rate in (16, 24)}
    n16, n24 = len(grids[16]), len(grids[24])
    assert_shown(every_fourth(facts)[:, 0], grids[24][::4])
    assert len(stacks_of_16_fps(facts)) == max(1, (n16 - 1) // 32)
    ends = [min(k, n16 - 1) for row in range(len(stacks_of_16_fps(facts))) for k in range(32 * row, 32 * row + 33)]
    assert_shown(stacks_of_16_fps(facts, 33).ravel(), [grids[16][k] for k in ends])
    if n24 > 24:
        assert_shown(
            stacks_of_24_fps(facts).ravel(), [grids[24][k] for stack in published_stacks_of_24_fps(n24) for k in stack]
        )
        assert len(stacks_of_24_fps(facts)) == -(-n24 // 24)


def grid_by_ffmpeg(path, rate):
    """Return for each grid frame from 0 on the source frames that look like the one that FFmpeg shows."""
    first, candidates = shown_by_ffmpeg(path, rate)
    return [[0]] * first + candidates


def assert_shown(indices, candidates):
    assert len(indices) == len(candidates)
    assert all(index in equal for index, equal in zip(indices.tolist(), candidates, strict=True))


def test_tvsums_videos_have_the_released_number_of_rows(shared_data):
    released = shared_data / "features" / "tvsum" / "video_features"
    with h5py.File(shared_data / "labels" / "ydata-tvsum50.mat") as file:
        table = file["tvsum50"]
        ours = {
            "".join(map(chr, file[vid][()].ravel())): n_rows(file[length][()].item(), file[n_frames][()].item())
            for vid, length, n_frames in zip(
                table["video"][:, 0], table["length"][:, 0], table["nframes"][:, 0], strict=True
            )
        }
    assert len(ours) == 50
    assert ours == {vid: len(np.load(released / f"{vid}_rgb.npy", mmap_mode="r")) for vid in ours}


def n_rows(duration, n_frames):
    return len(stacks_of_16_fps(facts_of(Fraction(duration), fps=Fraction(n_frames) / Fraction(duration))))


def test_the_resnets_frames_are_those_of_slowfasts_slow_pathway():
    from pipeline.encoders.slowfast import SLOW_OF_FAST

    facts = facts_of("7.3")
    np.testing.assert_array_equal(
        slow_frames(facts, Fraction(2)), motion_frames(facts, Fraction(2))[:, list(SLOW_OF_FAST)]
    )


@pytest.mark.parametrize(
    ("name", "clip_s"), [("stacks16", 2), ("stacks16-flow", 2), ("stacks24", "1/2"), ("every4of24", "1/6")]
)
def test_a_grid_of_another_clip_length_is_refused(name, clip_s):
    assert len(SAMPLINGS[name](facts_of("9"), Fraction(clip_s))) > 3
    with pytest.raises(PipelineError, match=f"has a row per {clip_s} s, and clips of 1 s are asked for"):
        SAMPLINGS[name](facts_of("9"), Fraction(1))


def test_every_family_of_frames_names_a_sampling_and_a_view_that_exist():
    of_frames = [family for family in FAMILIES.values() if family.reader in ("frames224", "native")]
    assert {family.sampling for family in of_frames} == SAMPLINGS.keys()
    assert {family.view for family in of_frames} == {FRAMES224, *VIEWS}
    assert all(family.rows_per_input in (1, 2) for family in of_frames)


@pytest.mark.parametrize(
    ("n", "rate", "grid"), [(16, "15", "2s"), (16, "7.5", "0.5s"), (128, "15", "2s"), (5, "2", "1s")]
)
def test_a_clip_of_frames_lies_around_the_middle_of_each_clip(tmp_path, n, rate, grid):
    facts = probe(make_video(tmp_path / "a.mp4", range(0, 600 * 9, 20), 64, 48))  # 30 frames a second
    clip_s = grid_seconds(grid)
    found = sampling_of(f"centred{n}at{rate}")(facts, clip_s)
    assert found.shape == (n_clips(facts.duration, clip_s), n)
    for row, indices in enumerate(found):
        middle = (row + 0.5) * float(clip_s)
        for place, index in enumerate(indices):
            wanted = middle + (place - (n - 1) / 2) / float(rate)
            wanted = min(max(wanted, 0), float(facts.duration))
            assert abs(index / 30 - wanted) <= 1 / float(rate) + 1 / 30


@pytest.mark.parametrize("name", ["centred0at15", "centred16", "centred16at0", "centred16at-1", "x", ""])
def test_another_name_names_no_sampling(name):
    with pytest.raises(PipelineError, match="names no sampling"):
        sampling_of(name)
