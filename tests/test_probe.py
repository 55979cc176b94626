"""Facts of video files, exact, and a plain word about files that are not what they claim."""

from __future__ import annotations

from fractions import Fraction

import pytest
from made_videos import cut_from, make_video

from pipeline.errors import PipelineError
from pipeline.video.probe import probe


def test_facts_are_exact_rationals(tmp_path):
    facts = probe(make_video(tmp_path / "a.mp4", range(0, 600, 20), sound_s=2))
    assert (facts.width, facts.height, facts.n_frames, facts.codec) == (64, 48, 30, "h264")
    assert facts.rate == 30
    assert facts.duration == 1
    assert facts.has_audio
    assert facts.audio_end == pytest.approx(2, abs=0.1)
    assert [t * facts.time_base for t in facts.pts[:3]] == [0, Fraction(1, 30), Fraction(1, 15)]


def test_a_silent_video_says_so(tmp_path):
    facts = probe(make_video(tmp_path / "a.mp4", range(0, 600, 20)))
    assert not facts.has_audio


def test_one_frame_has_a_duration(tmp_path):
    assert probe(make_video(tmp_path / "a.mp4", [0])).duration == Fraction(1, 30)


def test_frames_that_an_edit_list_hides_do_not_exist(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", range(0, 1800, 20))
    facts = probe(cut_from(tmp_path / "cut.mp4", whole, Fraction(7, 10)))
    assert facts.n_frames == 69
    assert facts.pts[0] == 0
    assert facts.duration == Fraction(23, 10)


def test_a_late_start_counts_into_the_end(tmp_path):
    assert probe(make_video(tmp_path / "a.mp4", range(720, 2520, 20))).duration == Fraction(42, 10)


def test_names_with_unicode_and_shell_characters_are_only_names(tmp_path):
    assert probe(make_video(tmp_path / "-Ž; $(rm *) 'x'.mp4", [0, 20])).n_frames == 2


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_file_cut_in_half_is_noticed(tmp_path, suffix):
    whole = make_video(tmp_path / f"whole.{suffix}", range(0, 1800, 20), 320, 240)
    half = tmp_path / f"half.{suffix}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(PipelineError, match=r"cannot be read as video|cut short") as error:
        probe(half)
    assert str(half) in str(error.value)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_real_files_cut_short_are_noticed(tmp_path, shared_data, share):
    for video in sorted((shared_data / "videos").glob("*.*")):
        if share == 0.9 and video.stat().st_size < 100_000:
            continue  # a WebM of one second: a tenth of a second less is within what headers differ by
        part = tmp_path / video.name
        part.write_bytes(video.read_bytes()[: int(video.stat().st_size * share)])
        with pytest.raises(PipelineError, match=r"cannot be read as video|cut short"):
            probe(part)


def test_real_files_pass_and_charades_is_exact(shared_data):
    facts = {video.name: probe(video) for video in (shared_data / "videos").glob("*.*")}
    assert len(facts) == 7
    assert facts["charades.mp4"].duration == Fraction(460460, 15000)
    assert facts["charades.mp4"].rate == Fraction(15000, 1001)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such video file"), (b"", "is empty"), (b"not a video" * 99, "cannot be read as video")],
)
def test_what_is_no_video_is_named_with_its_reason(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PipelineError, match=message) as error:
        probe(path)
    assert str(path) in str(error.value)


def test_sound_alone_is_no_video(tmp_path):
    import av
    import numpy as np

    with av.open(str(tmp_path / "a.m4a"), "w") as file:
        stream = file.add_stream("aac", rate=32000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 32000, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(PipelineError, match="no video stream"):
        probe(tmp_path / "a.m4a")
