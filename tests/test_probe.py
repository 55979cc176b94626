"""Facts of video files, exact, and a plain word about files that are not what they claim."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import pytest
from made_videos import cut_from, make_video, with_hidden_frames, with_subtitle

from pipeline.errors import PipelineError
from pipeline.video.container import packets_of
from pipeline.video.probe import probe


def test_facts_are_exact_rationals(tmp_path):
    facts = probe(make_video(tmp_path / "a.mp4", range(0, 600, 20), sound_s=2))
    assert (facts.width, facts.height, facts.n_frames, facts.codec) == (64, 48, 30, "h264")
    assert facts.rate == 30
    assert facts.duration == 1
    assert facts.audio_end == pytest.approx(2, abs=0.1)
    assert [t * facts.time_base for t in facts.pts[:3]] == [0, Fraction(1, 30), Fraction(1, 15)]


def test_a_silent_video_says_so(tmp_path):
    facts = probe(make_video(tmp_path / "a.mp4", range(0, 600, 20)))
    assert facts.audio_end is None


def test_one_frame_has_a_duration(tmp_path):
    assert probe(make_video(tmp_path / "a.mp4", [0])).duration == Fraction(1, 30)


def test_frames_that_an_edit_list_hides_do_not_exist(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", range(0, 1800, 20))
    facts = probe(cut_from(tmp_path / "cut.mp4", whole, Fraction(7, 10)))
    assert facts.n_frames == 69
    assert facts.pts[0] == 0
    assert facts.duration == Fraction(23, 10)


def test_a_picture_that_starts_after_its_sound_ends_later(tmp_path):
    facts = probe(make_video(tmp_path / "a.mp4", range(720, 2520, 20), sound_s=5))
    assert (facts.pts[0] * facts.time_base, facts.duration) == (Fraction(12, 10), Fraction(42, 10))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "ts"])
def test_wherever_a_file_starts_its_times_begin_at_zero(tmp_path, suffix):
    codec = "libvpx" if suffix == "webm" else "libx264"
    source = make_video(tmp_path / f"source.{suffix}", range(0, 3600, 20), codec=codec)
    facts = probe(cut_from(tmp_path / f"late.{suffix}", source, Fraction(-3600)))
    assert (facts.pts[0], facts.n_frames) == (0, 180)
    assert facts.duration == pytest.approx(6, abs=0.04)


def test_sound_and_picture_are_moved_together(tmp_path):
    source = make_video(tmp_path / "source.mp4", range(720, 3600, 20), sound_s=6)
    before, after = probe(source), probe(cut_from(tmp_path / "late.mp4", source, Fraction(-60)))
    first = [facts.pts[0] * facts.time_base for facts in (before, after)]
    assert (
        first[1] - first[0] == pytest.approx(after.audio_end - before.audio_end, abs=1e-3) == pytest.approx(0, abs=0.04)
    )


def test_mpegs_guessed_length_loses_no_frame(tmp_path):
    facts = probe(make_video(tmp_path / "a.mpg", range(0, 3600, 20), codec="mpeg2video", base=Fraction(1, 30)))
    assert (facts.pts[0], facts.n_frames, facts.duration) == (0, 180, 6)


def test_frames_without_a_time_are_not_passed_over(tmp_path):
    with pytest.raises(PipelineError, match=r"a.mpg: has frames without a time"):
        probe(make_video(tmp_path / "a.mpg", range(0, 3600, 20)))


def test_frames_of_vp8_that_are_never_shown_do_not_count(tmp_path):
    source = make_video(tmp_path / "source.webm", range(0, 3600, 20), codec="libvpx")
    facts = probe(with_hidden_frames(tmp_path / "a.webm", source, range(20, 160, 20)))
    assert facts.pts == probe(source).pts


@pytest.mark.parametrize("suffix", ["mkv", "flv", "mp4"])
def test_a_video_of_one_frame_a_second_is_whole(tmp_path, suffix):
    facts = probe(make_video(tmp_path / f"a.{suffix}", range(0, 7200, 600), rate=1))
    assert (facts.n_frames, facts.duration) == (12, 12)


def test_a_subtitle_may_end_after_the_picture(tmp_path):
    facts = probe(with_subtitle(tmp_path / "a.mkv", make_video(tmp_path / "b.mkv", range(0, 1200, 20)), 8))
    assert facts.n_frames == 60


def test_one_damaged_time_does_not_make_a_video_of_days(tmp_path):
    path = make_video(tmp_path / "a.flv", range(0, 1200, 20))
    data = bytearray(path.read_bytes())
    tags = [13]
    while tags[-1] < len(data):
        tags.append(tags[-1] + 15 + int.from_bytes(data[tags[-1] + 1 : tags[-1] + 4], "big"))
    *_, last_frame, _, _ = tags  # behind it the end of the stream, and of the file
    data[last_frame + 7] = 0x7F  # the highest byte of its time
    path.write_bytes(data)
    with pytest.raises(PipelineError, match=r"claims to end at 2\.\d+ s, and its packets go on to 21\d+\.\d+ s"):
        probe(path)


def test_a_codec_that_nobody_knows_is_named(tmp_path):
    data = make_video(tmp_path / "a.mp4", [0, 20]).read_bytes()
    (tmp_path / "b.mp4").write_bytes(data.replace(b"avc1", b"zzzz").replace(b"avcC", b"free"))
    with pytest.raises(PipelineError, match=r"b.mp4: its video is in a codec that FFmpeg does not know"):
        probe(tmp_path / "b.mp4")


def test_what_the_library_trips_over_is_about_the_file(tmp_path):
    path = make_video(tmp_path / "a.mp4", [0, 20])
    container = SimpleNamespace(start_time=0, demux=lambda *_: [].pop())
    with pytest.raises(PipelineError, match=r"a.mp4: cannot be read as video \(IndexError: pop from empty list\)"):
        list(packets_of(container, [], path))


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
