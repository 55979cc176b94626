"""Tests which picture every family is given: FFmpeg's, read from the start, in every container, codec, kind of GOP and
cut.

Every picture carries its number. `decoded` is all that FFmpeg shows of a file, in order; what `read_frames` gives for
an index has to be the picture at that place, sparse or dense, and in every view.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from made_videos import decoded
from numbered_videos import CONTAINERS, cut, joined, moved, number_of, numbered, steady, twice, written
from second_reader import RefusedError, by_decord, needs_decord

from pipeline.families import FAMILIES
from pipeline.video.ahead import FramesWanted, Request, by_view
from pipeline.video.decode import read_frames
from pipeline.video.frame_grid import SAMPLINGS
from pipeline.video.probe import probe

GRIDS = {"i3d-inception-rgb-charades": Fraction(1, 2), "vgg16-imagenet": Fraction(1, 6)}
MADE = {name: kind for name, kind in FAMILIES.items() if kind.reader in ("frames224", "native")}
N = 64

EVERY = [(container, codec) for container, codecs in CONTAINERS.items() for codec in codecs]


def wanted_of(name):
    kind = FAMILIES[name]
    return FramesWanted(kind.sampling, kind.view, GRIDS.get(name, Fraction(2)))


def shown(path):
    """Return the number of every picture that FFmpeg shows, in order."""
    return [number_of(frame.to_ndarray(format="rgb24")) for frame in decoded(path) if frame.pts >= 0]


def read(path, families):
    """Return (view, source index) → the number on the picture that is given for it, and the rows of each family."""
    facts = probe(path)
    wanted = {name: wanted_of(name) for name in families}
    rows = {name: SAMPLINGS[what.sampling](facts, what.clip_s) for name, what in wanted.items()}
    given = {}
    for chunk in read_frames(facts, by_view(Request(path, wanted).wanted, rows)):
        for index, frame in zip(chunk.indices, chunk.frames, strict=True):
            given[chunk.view, index] = number_of(frame)
    return given, rows


def assert_every_family_is_given_what_ffmpeg_shows(path):
    truth = shown(path)
    assert len(set(truth)) > len(truth) // 2  # the numbers survived compression
    for families in (["clip-vit-b32"], list(MADE)):  # few frames wanted, and many
        given, _ = read(path, families)
        views = {wanted_of(name).view for name in families}
        assert {view for view, _ in given} == views
        assert {key: truth[key[1]] for key in given} == given, (path.name, families)


@pytest.mark.parametrize("family", list(MADE))
@pytest.mark.parametrize(("container", "codec"), [("mp4", "h264 open"), ("ts", "h264 B"), ("mkv", "mpeg2 open")])
def test_each_family_alone(tmp_path, container, codec, family):
    source = written(tmp_path / f"a.{container}", codec, steady(tmp_path / f"a.{container}", N))
    path = cut(tmp_path / f"cut.{container}", source, Fraction(13, 10))
    truth = shown(path)
    given, rows = read(path, [family])
    assert {index for _, index in given} == set(rows[family].ravel().tolist())
    assert {key: truth[key[1]] for key in given} == given


@pytest.mark.parametrize("k", [0, 1, 2, 77, 1000, 4095])
def test_a_number_survives_the_picture(k):
    assert number_of(numbered(k)) == k


@pytest.mark.parametrize(("container", "codec"), EVERY)
def test_whole_files(tmp_path, container, codec):
    path = tmp_path / f"a.{container}"
    written(path, codec, steady(path, N))
    truth = shown(path)
    assert [k for k in truth if k in range(N)] == list(range(N))[: len(truth)]
    assert len(truth) >= N - 1
    assert_every_family_is_given_what_ffmpeg_shows(path)


CUTTABLE = [
    (container, codec)
    for container, codecs in CONTAINERS.items()
    for codec in codecs
    if container not in ("avi", "mxf", "wmv", "mpg") and codec not in ("av1", "h264 refresh")
]
"""Containers that store times, and codecs whose packets PyAV copies. A file with intra refresh has one key frame."""


@pytest.mark.parametrize(("container", "codec"), CUTTABLE)
def test_cuts_by_stream_copy(tmp_path, container, codec):
    source = tmp_path / f"source.{container}"
    written(source, codec, steady(source, N))
    assert_every_family_is_given_what_ffmpeg_shows(cut(tmp_path / f"cut.{container}", source, Fraction(13, 10)))


@pytest.mark.parametrize(("container", "codec"), [("ts", c) for c in CONTAINERS["ts"]] + [("m2ts", "h264 open")])
def test_pieces_laid_end_to_end(tmp_path, container, codec):
    half = N // 2
    parts = []
    for piece in range(2):
        path = tmp_path / f"{piece}.{container}"
        ticks = [tick + piece * half * 60 for tick in steady(path, half)]
        parts.append(written(path, codec, ticks, first=piece * half))
    path = joined(tmp_path / f"joined.{container}", *parts)
    assert shown(path) == list(range(N))
    assert_every_family_is_given_what_ffmpeg_shows(path)


TIMED = [(container, codec) for container in ("mp4", "mov", "mkv", "ts", "flv") for codec in ("h264 closed", "h264 B")]


@pytest.mark.parametrize(("container", "codec"), [pair for pair in TIMED if pair[1] in CONTAINERS[pair[0]]])
def test_files_that_start_late(tmp_path, container, codec):
    source = written(tmp_path / f"a.{container}", codec, steady(tmp_path / f"a.{container}", N))
    assert_every_family_is_given_what_ffmpeg_shows(moved(tmp_path / f"late.{container}", source, Fraction(7)))


@pytest.mark.parametrize(("container", "codec"), [pair for pair in TIMED if pair[1] in CONTAINERS[pair[0]]])
def test_variable_rates(tmp_path, container, codec):
    ticks = np.cumsum(np.random.default_rng(3).integers(12, 150, N))
    path = written(tmp_path / f"a.{container}", codec, (ticks - ticks[0]).tolist())
    assert_every_family_is_given_what_ffmpeg_shows(path)


@pytest.mark.parametrize("codec", ["h264 closed", "h264 intra", "vp8", "mjpeg"])
def test_two_frames_with_one_time(tmp_path, codec):
    source = written(tmp_path / "a.mkv", codec, steady(tmp_path / "a.mkv", N))
    assert_every_family_is_given_what_ffmpeg_shows(twice(tmp_path / "twice.mkv", source))


@needs_decord
def test_a_reader_that_seeks_would_be_noticed_here(tmp_path):
    """decord reads the same files. In some of them it gives pictures of another moment, without a message."""
    wrong = []
    for container, codec in (("mp4", "h264 closed"), ("ts", "h264 closed"), ("mkv", "mpeg2 open"), ("mp4", "vp9")):
        source = written(tmp_path / f"a.{container}", codec, steady(tmp_path / f"a.{container}", N))
        path = cut(tmp_path / f"cut.{container}", source, Fraction(13, 10))
        facts, truth = probe(path), shown(path)
        indices = list(range(5, facts.n_frames, 12))
        with suppress(RefusedError):
            wrong.append([number_of(frame) for frame in by_decord(facts, indices)] != [truth[i] for i in indices])
    assert any(wrong)
