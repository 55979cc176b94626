"""The second reader decord: it reports the videos in which it finds other pictures, and it changes no row."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import fake_encoders
import pytest
from numbered_videos import cut, number_of, steady, written
from second_reader import by_decord, needs_decord
from small_extraction import run, store_of, write_videos

from pipeline import config, files
from pipeline.errors import PipelineError
from pipeline.features.making import second_reading
from pipeline.video import second_reader
from pipeline.video.ahead import FramesWanted, Request
from pipeline.video.probe import probe
from pipeline.video.supervised import one_by_one

pytestmark = needs_decord
SPARSE = {"clip-vit-b32": FramesWanted("middle", "frames224", Fraction(1, 2))}
PLAIN = config.Encoding(weights={"clip-vit-b32": "random:0"})
TWICE = PLAIN.model_copy(update={"second_reader": "decord"})


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    fake_encoders.take_the_place({"clip-vit-b32": "fake_encoders:MeanColour"}, monkeypatch.setitem)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Return two videos. plain: decord reads it correctly. moved: a cut by stream copy, in which decord seeks to other
    pictures."""
    folder = tmp_path_factory.mktemp("videos")
    plain = written(folder / "plain.mp4", "h264 closed", steady(folder / "plain.mp4", 64))
    return {"plain": plain, "moved": cut(folder / "moved.mp4", plain, Fraction(13, 10))}


def opinion_of(path):
    ((position, found),) = second_reader.opinions([Request(path, SPARSE)], 60)
    assert position == 0
    return found


def test_a_file_that_decord_reads_rightly_is_equal_to_the_byte(videos):
    assert opinion_of(videos["plain"]).verdict == "equal"


def test_pictures_of_another_moment_are_found_and_the_place_is_named(videos):
    assert opinion_of(videos["moved"]) == second_reader.Opinion("differs", "another picture at frame 17 (1.70 s)")
    hidden = 64 - probe(videos["moved"]).n_frames
    assert number_of(by_decord(probe(videos["moved"]), [17])[0]) != 17 + hidden


def test_a_file_whose_times_decord_reads_otherwise_is_refused(videos, monkeypatch):
    other = replace(probe(videos["plain"]), pts=probe(videos["plain"]).pts[:-1])
    monkeypatch.setattr(second_reader, "probe", lambda _: other)
    (found,) = second_reader.opinion(Request(videos["plain"], SPARSE))
    assert (found.verdict, found.why) == ("refuses", "its table of times is not that of the packets")


def test_what_is_not_equal_is_never_called_equal(videos, monkeypatch):
    """The comparison is of every byte: one level of one pixel of one frame is found."""
    real = second_reader.opened_by_decord

    def off_by_one(facts):
        frames_at = real(facts)

        def changed(indices):
            frames = frames_at(indices).copy()
            frames[[k for k, index in enumerate(indices) if index == 27], 100, 100, 1] += 1
            return frames

        return changed

    monkeypatch.setattr(second_reader, "opened_by_decord", off_by_one)
    (found,) = second_reader.opinion(Request(videos["plain"], SPARSE))
    assert (found.verdict, found.why) == ("differs", "another picture at frame 27 (2.70 s)")


def crash(task):
    if task == "bad":
        import os
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)
    yield second_reader.Opinion("equal")


def test_a_file_that_crashes_the_second_reader_stops_no_other():
    found = dict(one_by_one(["a", "bad", "b"], crash, 60, "reading it", second_reader.Opinion))
    assert [found[k] for k in (0, 2)] == [second_reader.Opinion("equal")] * 2
    assert "SIGSEGV" in found[1].why


def test_the_setting_counts_and_names_videos_and_changes_no_row(tmp_path, videos, capfd):
    segments = write_videos(tmp_path, videos)
    run(tmp_path, segments, PLAIN)
    rows, before = store_of(tmp_path).read_bytes(), store_of(tmp_path).stat().st_mtime_ns
    ran, manifest = run(tmp_path, segments, TWICE)
    counts = {name: n for name, n in manifest["counts"].items() if name.startswith("second_reader")}
    said = capfd.readouterr().err
    assert ran and store_of(tmp_path).read_bytes() == rows
    assert counts == {"second_reader_equal": 1, "second_reader_differs": 1, "second_reader_refuses": 0}
    assert "decord differs: moved: another picture at frame" in said and "plain" not in said
    ran, manifest = run(tmp_path, segments, TWICE)
    assert not ran
    ran, manifest = run(tmp_path, segments, PLAIN)
    assert ran and "second_reader_equal" not in manifest["counts"]
    assert before <= store_of(tmp_path).stat().st_mtime_ns


def test_a_machine_without_decord_is_told_before_any_work(tmp_path, videos, monkeypatch):
    monkeypatch.setattr(second_reader, "find_spec", lambda name: None)
    segments = write_videos(tmp_path, {"plain": videos["plain"]})
    with pytest.raises(
        PipelineError, match=r"encoding.second_reader: decord is not installed here → leave the key out"
    ):
        run(tmp_path, segments, TWICE)
    assert not store_of(tmp_path).exists()
    assert second_reading.refuse_without_decord is second_reader.refuse_without_decord


def test_only_the_reader_of_224_frames_records_the_setting(tmp_path, videos):
    segments = write_videos(tmp_path, {"plain": videos["plain"]})
    _, manifest = run(tmp_path, segments, PLAIN)
    assert "second_reader" not in manifest["settings"]["encoding"]
    _, manifest = run(tmp_path, segments, TWICE)
    assert manifest["settings"]["encoding"]["second_reader"] == "decord"
    assert files.read_json(tmp_path / "features/qvhighlights/frames224/00000.json") == manifest
