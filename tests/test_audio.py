"""Sound has librosa's numbers, comes in bounded chunks on the video's clock, and is cut into the pieces that rows
need."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tracemalloc
from fractions import Fraction
from math import floor

import av
import numpy as np
import pytest
from hanging import hang
from hypothesis import example, given
from hypothesis import strategies as st
from made_sounds import heard, noise, write_sound
from made_videos import cut_from, make_video

from pipeline.errors import PipelineError
from pipeline.video import ahead, audio
from pipeline.video.ahead import sounds_ahead
from pipeline.video.audio import RATE, Ended, read_sound
from pipeline.video.pieces import PIECE, Pieces


def by_librosa(path):
    """Return the whole track as the published extractor reads it: mean of the channels, soxr_hq."""
    librosa = pytest.importorskip("librosa")
    with av.open(str(path)) as file:
        frames = list(file.decode(file.streams.audio[0]))
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    mono = librosa.to_mono(samples)
    return librosa.resample(mono, orig_sr=frames[0].sample_rate, target_sr=RATE, res_type="soxr_hq")


def test_samples_are_librosas_to_the_bit_however_the_track_comes_in_chunks(tmp_path, monkeypatch):
    path = write_sound(tmp_path / "a.mkv", noise(n=200_000), codec="aac", form="fltp")
    expected = by_librosa(path)
    for chunk in (1 << 19, 30_000, 1):
        monkeypatch.setattr(audio, "CHUNK", chunk)
        samples, end_s = heard(path)
        assert len(samples) == floor(end_s * RATE)
        np.testing.assert_array_equal(samples, expected[: len(samples)])


def test_real_tracks_are_librosas_to_the_bit(shared_data):
    for name in ("charades.mp4", "women_long_jump.mp4", "big_buck_bunny_432_433.webm", "test.avi"):
        samples, end_s = heard(shared_data / "videos" / name)
        np.testing.assert_array_equal(samples, by_librosa(shared_data / "videos" / name)[: floor(end_s * RATE)])


@pytest.mark.parametrize(
    ("codec", "form", "step"),
    [("pcm_s16le", "s16", 2**-15), ("pcm_u8", "u8", 2**-7), ("pcm_s32le", "s32", 2**-24), ("pcm_f32le", "flt", 0)],
)
def test_every_kind_of_sample_lies_between_minus_one_and_one(tmp_path, codec, form, step):
    channels = noise(6, 50_000)
    samples, _ = heard(write_sound(tmp_path / "a.mkv", channels, RATE, codec, form))
    np.testing.assert_allclose(samples, channels.mean(axis=0), atol=step + 1e-7)


def test_a_late_start_and_a_hole_are_silence_so_that_sound_stays_where_it_was(tmp_path):
    channels = 0.1 + 0.2 * noise(1, 3 * RATE)  # never zero
    pieces = ((RATE // 2, RATE), (5 * RATE, 2 * RATE))
    samples, end_s = heard(write_sound(tmp_path / "a.mkv", channels, RATE, "pcm_f32le", "flt", pieces, picture=True))
    assert end_s == 7
    silent = [slice(0, RATE // 2), slice(RATE * 3 // 2, 5 * RATE)]
    assert all(not samples[part].any() for part in silent)
    np.testing.assert_array_equal(samples[samples != 0], channels[0])


def test_sound_before_second_zero_and_what_is_told_twice_are_left_out(tmp_path, monkeypatch):
    channels = noise(1, 3 * RATE)
    starts = (-RATE, 0, 0)  # of three seconds of sound; muxers write no such file, but cameras do
    frames = []
    for k, start in enumerate(starts):
        frame = av.AudioFrame.from_ndarray(channels[:, k * RATE : (k + 1) * RATE], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        frames.append(frame)
    monkeypatch.setattr(audio, "frames_of", lambda *_: frames)
    samples, end_s = heard(make_video(tmp_path / "a.mp4", [0], sound_s=0.1))
    assert end_s == 1
    np.testing.assert_array_equal(samples, channels[0, RATE : 2 * RATE])


def test_sound_of_a_file_that_starts_late_begins_at_second_zero(tmp_path):
    source = make_video(tmp_path / "a.mkv", range(0, 1200, 20), sound_s=2)
    samples, end_s = heard(cut_from(tmp_path / "late.mkv", source, Fraction(-60)))
    expected, expected_end_s = heard(source)
    assert end_s == expected_end_s
    np.testing.assert_array_equal(samples, expected)


def test_times_rounded_to_milliseconds_put_no_silence_between(tmp_path):
    _, end_s = heard(write_sound(tmp_path / "a.mkv", noise(1, 99_999), 44100, "pcm_f32le", "flt"))
    assert end_s == Fraction(99_999, 44100)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_numbers_that_are_no_sound_are_refused(tmp_path, bad):
    channels = noise()
    channels[1, 70_000] = bad
    with pytest.raises(PipelineError, match="its sound holds NaN"):
        list(read_sound(write_sound(tmp_path / "a.mkv", channels, RATE, "pcm_f32le", "flt")))


def test_a_video_without_sound_has_no_end(tmp_path):
    assert list(read_sound(make_video(tmp_path / "a.mp4", range(0, 600, 20)))) == [Ended(None)]


def test_a_codec_nobody_knows_is_not_taken_for_silence(tmp_path):
    data = bytearray(make_video(tmp_path / "a.mp4", range(0, 600, 20), sound_s=1.0).read_bytes())
    entry, description = data.index(b"mp4a"), data.index(b"esds")
    data[entry : entry + 4], data[description : description + 4] = b"zzzz", b"free"
    (tmp_path / "b.mp4").write_bytes(data)
    with pytest.raises(PipelineError, match=r"b.mp4: its sound cannot be decoded \(Decoder not found\)"):
        list(read_sound(tmp_path / "b.mp4"))


def pieces_of(samples, end_s, clip_s, limit, chunk):
    cutter = Pieces(clip_s, limit)
    found = []
    for start in range(0, len(samples), chunk):
        found += list(cutter.push(samples[start : start + chunk]))
    return [*found, *cutter.end(end_s)]


@given(
    n=st.integers(1, 12 * RATE),
    clip_s=st.sampled_from([Fraction(2), Fraction(1), Fraction(1, 2), Fraction(1, 6)]),
    limit=st.integers(1, 80),
    chunk=st.integers(4000, 5 * RATE),
)
@example(n=10 * RATE, clip_s=Fraction(2), limit=80, chunk=PIECE)
@example(n=10 * RATE - 1, clip_s=Fraction(2), limit=80, chunk=PIECE)
def test_pieces_are_two_seconds_around_each_rows_middle(n, clip_s, limit, chunk):
    samples = np.arange(1, n + 1, dtype=np.float32)
    padded = np.concatenate([np.zeros(RATE), samples, np.zeros(PIECE)])
    n_rows = min(max(1, floor(Fraction(n, RATE) / clip_s)), limit)
    found = pieces_of(samples, Fraction(n, RATE), clip_s, limit, chunk)
    assert len(found) == n_rows
    for row, piece in enumerate(found):
        start = floor((row + Fraction(1, 2)) * clip_s * RATE + Fraction(1, 2))  # of a piece around it, after padding
        np.testing.assert_array_equal(piece, padded[start : start + PIECE])


def test_on_the_grid_of_two_seconds_they_are_the_published_pieces():
    samples = noise(1, 7 * RATE)[0]
    found = pieces_of(samples, Fraction(7), Fraction(2), 80, 50_000)
    np.testing.assert_array_equal(found, samples[: 3 * PIECE].reshape(3, PIECE))


def test_a_track_that_never_ends_is_not_kept_in_memory(tmp_path):
    cutter, silence = Pieces(Fraction(2), limit=3), np.zeros(audio.CHUNK, np.float32)
    tracemalloc.start()
    for _ in range(100):
        list(cutter.push(silence))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2 * silence.nbytes
    path = make_video(tmp_path / "a.mp4", [0], sound_s=100.0)
    assert [len(chunk) // audio.CHUNK for chunk in list(read_sound(path))[:-1]] == [1] * 6 + [0]


def events_of(paths, seconds=60.0):
    found = {k: [] for k in range(len(paths))}
    for position, event in sounds_ahead(paths, seconds):
        found[position].append(event)
    return list(found.values())


def test_damaged_sound_costs_its_video_alone(tmp_path):
    good = make_video(tmp_path / "good.mp4", range(0, 1200, 20), sound_s=2.0)
    data = bytearray(good.read_bytes())
    with av.open(str(good)) as file:
        packets = [packet for packet in file.demux(file.streams.audio[0]) if packet.size]
    for packet in packets[20:40]:
        data[packet.pos : packet.pos + packet.size] = b"\xa5" * packet.size
    (tmp_path / "bad.mp4").write_bytes(data)
    first, (failure,), missing, last = events_of([good, tmp_path / "bad.mp4", tmp_path / "none.mp4", good])
    assert failure.why.startswith("its sound cannot be decoded")
    assert [(one.why, one.fault) for one in missing] == [("no such video file", "outside")]
    assert first[-1] == last[-1] == Ended(Fraction(63 * 1024, RATE))  # AAC ends with a whole frame
    np.testing.assert_array_equal(first[0], last[0])


def hanging(path):
    if "bad" in path.name:
        hang()
    yield Ended(None)


def crash(path):
    if "bad" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    yield Ended(None)


@pytest.mark.parametrize(
    ("misbehave", "why"), [(hanging, "took longer than 60 s"), (crash, "decoding its sound was killed (SIGKILL)")]
)
def test_a_hanging_or_crashing_track_costs_its_video_alone(tmp_path, monkeypatch, misbehave, why):
    monkeypatch.setattr(ahead, "read_sound", misbehave)
    monkeypatch.setattr(ahead, "START", multiprocessing.get_context("fork"))
    (first,), (second,), (third,) = events_of([tmp_path / "a", tmp_path / "bad", tmp_path / "c"])
    assert first == third == Ended(None)
    assert why in second.why


def test_a_consumer_may_stop_early(tmp_path):
    events = sounds_ahead([make_video(tmp_path / "a.mp4", range(0, 600, 20), sound_s=1.0)] * 3, 60)
    next(events)
    events.close()
    assert multiprocessing.active_children() == []
