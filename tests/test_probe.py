"""The facts of video files are exact, and files that are not what they claim are refused with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from made_videos import cut_from, make_video, with_hidden_frames, with_subtitle
from numbered_videos import packets, steady, written

from pipeline.errors import PipelineError
from pipeline.video.account import account, write_account
from pipeline.video.audio import read_sound
from pipeline.video.container import packets_of
from pipeline.video.looking import Looking
from pipeline.video.probe import probe


def test_facts_are_exact_rationals(tmp_path):
    facts = probe(make_video(tmp_path / "a.mp4", range(0, 600, 20), sound_s=2))
    assert (facts.width, facts.height, facts.n_frames, facts.codec) == (64, 48, 30, "h264")
    assert facts.rate == 30
    assert facts.duration == 1
    assert [t * facts.time_base for t in facts.pts[:3]] == [0, Fraction(1, 30), Fraction(1, 15)]


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
    ends = [list(read_sound(facts.path))[-1].end_s for facts in (before, after)]
    assert first[1] - first[0] == pytest.approx(ends[1] - ends[0], abs=1e-3) == pytest.approx(0, abs=0.04)


def test_mpegs_guessed_length_loses_no_frame(tmp_path):
    facts = probe(make_video(tmp_path / "a.mpg", range(0, 3600, 20), codec="mpeg2video", base=Fraction(1, 30)))
    assert (facts.pts[0], facts.n_frames, facts.duration) == (0, 180, 6)


def test_frames_without_a_time_are_not_passed_over(tmp_path):
    with pytest.raises(
        PipelineError, match=r"a.mpg: has frames without a time .*: an MPEG program stream may store none"
    ):
        probe(make_video(tmp_path / "a.mpg", range(0, 3600, 20)))


@pytest.mark.parametrize("codec", ["h264 open", "hevc open"])
def test_frames_before_the_start_of_a_matroska_file_are_called_so(tmp_path, codec):
    """A cut in the middle of an open group of pictures, by a program that moves no times."""
    source = written(tmp_path / "source.mkv", codec, steady(tmp_path / "source.mkv", 64))
    path = tmp_path / "cut.mkv"
    with av.open(str(source)) as old, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        found = packets(old)
        first = next(k for k, packet in enumerate(found) if k and packet.is_keyframe)
        start = found[first].pts
        for packet in found[first:]:
            packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, copy
            new.mux(packet)
    with pytest.raises(
        PipelineError, match=r"a time \(3 of 59\): Matroska stores no times before its start.*encode it"
    ):
        probe(path)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, kind in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe.mp4", "a pipe"),
        (Path("/dev/zero"), "a pipe or a dev"),
    ):
        with pytest.raises(PipelineError, match=f"is {kind}.* and no file"):
            probe(path)


@pytest.mark.parametrize(("codec", "form"), [("h264 B", "h264"), ("hevc open", "hevc")])
def test_a_bare_stream_is_called_so(tmp_path, codec, form):
    source = written(tmp_path / "source.ts", codec, steady(tmp_path / "source.ts", 64))
    path = tmp_path / f"a.{form}"
    with av.open(str(source)) as old, av.open(str(path), "w", format=form) as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        for packet in packets(old):
            packet.stream = copy
            new.mux(packet)
    with pytest.raises(PipelineError, match=r"without a time \(64 of 64\): a bare stream"):
        probe(path)


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


def with_cover(path, sound, seconds=2):
    """Return a song with a cover picture, as shops and players write it. If `sound` is None, it is a film with a
    cover."""
    import av
    import numpy as np
    from made_videos import picture

    image = av.VideoFrame.from_ndarray(picture(3, 64, 64), "rgb24").reformat(format="yuvj420p")
    with av.open(str(path), "w", format="mp4" if path.suffix == ".m4a" else None) as file:
        rate = 48_000 if sound == "libopus" else 44_100
        stream = file.add_stream(sound, rate=rate, layout="mono")
        cover = file.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in [*cover.encode(image), *cover.encode(None)]:
            file.mux(packet)
        tone = np.sin(np.arange(rate * seconds) * 0.05).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
        frame.sample_rate, frame.pts = rate, 0
        frames = av.AudioResampler(stream.format, "mono", rate).resample(frame)
        for part in frames:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "sound"), [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.mp4", "aac"), ("a.flac", "flac")]
)
def test_the_cover_of_a_song_is_no_video(tmp_path, name, sound):
    with pytest.raises(PipelineError, match=rf"{name}: has no video stream"):
        probe(with_cover(tmp_path / name, sound))


@pytest.mark.parametrize(("name", "sound"), [("a.wav", "pcm_s16le"), ("a.ogg", "libopus")])
def test_songs_without_a_cover_are_none_either(tmp_path, name, sound):
    import av
    import numpy as np

    with av.open(str(tmp_path / name), "w") as file:
        stream = file.add_stream(sound, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 48_000, 0
        for part in av.AudioResampler(stream.format, "mono", 48_000).resample(frame):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    with pytest.raises(PipelineError, match="has no video stream"):
        probe(tmp_path / name)


def test_a_film_with_a_cover_is_its_film(tmp_path):
    import av

    film = make_video(tmp_path / "film.mp4", range(0, 1200, 20))
    song = with_cover(tmp_path / "song.m4a", "aac")
    with av.open(str(film)) as old, av.open(str(song)) as other, av.open(str(tmp_path / "a.mp4"), "w") as new:
        copies = []
        for source, stream in ((other, other.streams.video[0]), (old, old.streams.video[0])):
            copies.append((source, stream, new.add_stream_from_template(stream)))
        copies[0][2].disposition = av.stream.Disposition.attached_pic
        for source, stream, copy in copies:
            for packet in source.demux(stream):
                if packet.size:
                    packet.pts = packet.pts or 0
                    packet.dts = packet.pts if packet.dts is None else packet.dts
                    packet.stream = copy
                    new.mux(packet)
    assert (probe(tmp_path / "a.mp4").n_frames, probe(tmp_path / "a.mp4").codec) == (60, "h264")


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "webm", "mov", "flv", "ts", "avi", "wmv"])
@pytest.mark.parametrize("n_frames", [1, 30])
def test_a_picture_may_end_before_its_sound(tmp_path, suffix, n_frames):
    from videos_of_strangers import make

    codec, sound = {"webm": ("libvpx", "libopus"), "wmv": ("wmv2", "aac"), "avi": ("mpeg4", "aac")}.get(
        suffix, ("libx264", "aac")
    )
    facts = probe(make(tmp_path / f"a.{suffix}", n_frames / 30, 8, codec=codec, sound=sound))
    assert facts.n_frames == n_frames
    assert facts.duration < 2


def packets_of_ts(path):
    data = path.read_bytes()
    return [data[at : at + 188] for at in range(0, len(data), 188)]


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_joined_pieces_are_whole(tmp_path, suffix):
    from numbered_videos import joined, written

    codec = "h264 closed" if suffix == "ts" else "mpeg2"
    step = 60 if suffix == "ts" else 24
    parts = [
        written(tmp_path / f"{k}.{suffix}", codec, [n * step for n in range(k * 30, k * 30 + 30)], first=k * 30)
        for k in range(3)
    ]
    assert probe(joined(tmp_path / f"a.{suffix}", *parts)).n_frames == 90


@pytest.mark.parametrize("at", [0.3, 0.5, 0.7])
def test_a_transport_stream_that_lost_packets_is_damaged(tmp_path, at):
    packets = packets_of_ts(make_video(tmp_path / "a.ts", range(0, 3600, 20), 320, 240))
    lost = round(len(packets) * at)
    (tmp_path / "b.ts").write_bytes(b"".join(packets[:lost] + packets[lost + 3 :]))
    with pytest.raises(PipelineError, match=r"b.ts: is cut short or damaged: its packet at \d\.\d\d s is"):
        probe(tmp_path / "b.ts")


def test_a_joint_with_half_a_packet_before_it_is_damaged(tmp_path):
    first = packets_of_ts(make_video(tmp_path / "a.ts", range(0, 1200, 20), 320, 240))
    second = make_video(tmp_path / "b.ts", range(1200, 2400, 20), 320, 240).read_bytes()
    (tmp_path / "c.ts").write_bytes(b"".join(first[:-4]) + second)
    with pytest.raises(PipelineError, match=r"c.ts: is cut short or damaged"):
        probe(tmp_path / "c.ts")


NOT_UTF8 = b"f\xfcr.mp4".decode("utf-8", "surrogateescape")


def test_a_name_that_is_no_utf8_is_read_and_named_readably(tmp_path):
    path = tmp_path / NOT_UTF8
    make_video(tmp_path / "a.mp4", [0, 20]).rename(path)
    assert probe(path).n_frames == 2
    path.write_bytes(b"")
    with pytest.raises(PipelineError) as refusal:
        probe(path)
    assert rb"f\xfcr.mp4: is empty " in str(refusal.value).encode()


@pytest.mark.parametrize("content", [b"", None], ids=["empty", "good"])
def test_commands_name_it_readably_on_a_strict_terminal(tmp_path, content):
    path = tmp_path / NOT_UTF8
    make_video(tmp_path / "a.mp4", range(0, 1200, 20)).rename(path)
    if content is not None:
        path.write_bytes(content)
    own = ("features", "extract", "--video", str(path), "--family", "clip-vit-b32", "--random", "7", "--output")
    for command in (("probe", str(path)), (*own, str(tmp_path / "own.h5")))[: 1 if content is None else 2]:
        told = subprocess.run(
            [sys.executable, "-m", "pipeline", *command],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
            check=False,
        )
        said = (told.stdout + told.stderr).decode()
        assert told.returncode == (content is not None)
        assert r"f\xfcr" in said
        assert "Traceback" not in said


def test_the_account_says_of_such_a_name_what_to_do(tmp_path):
    path = tmp_path / "f\udcfcr" / "a.mp4"
    path.parent.mkdir()
    make_video(tmp_path / "a.mp4", [0, 20]).rename(path)
    with Looking() as look:
        row = account("a", {"here": lambda vid: path}, look)
    assert (row.status, row.path) == ("failed", "")
    assert r"f\xfcr/a.mp4): give it another" in row.why
    write_account(tmp_path / "account.csv", [row])
