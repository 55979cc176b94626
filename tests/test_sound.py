"""Sound becomes rows in stores on every grid. Only stale rows are made again, and no network is built without need."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from math import floor

import av
import fake_encoders
import numpy as np
import pytest
from made_videos import make_video

from pipeline import files
from pipeline.encoders.base import Weights
from pipeline.encoders.workers import Workers
from pipeline.features.making.recipe import Recipe, VideoFile
from pipeline.features.making.sound import SoundRowMaker, encode_sounds
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.grids import grid_seconds, n_clips
from pipeline.video.audio import RATE, read_sound
from pipeline.video.probe import probe

CALLS: list[np.ndarray] = []
"""The inputs of the networks, call by call."""


class Listening(fake_encoders.Loudness):
    """The fake encoder Loudness, which keeps its inputs."""

    def __init__(self, weights, device):
        super().__init__(weights, device)
        CALLS.append(np.zeros((0, 64_000), np.float32))

    def encode(self, pieces):
        CALLS.append(pieces)
        return super().encode(pieces)


@pytest.fixture(autouse=True)
def listening(monkeypatch):
    fakes = dict.fromkeys(("pann-cnn14", "pann-cnn14-centred"), f"{__name__}:Listening")
    fake_encoders.take_the_place(fakes, monkeypatch.setitem)
    CALLS.clear()


def video(path, seconds, sound_s):
    return make_video(path, range(0, 600 * seconds, 60), sound_s=sound_s)


def encode(store, *wanted, seconds=60.0):
    """Encode the videos of one grid. wanted: (path, grid, n_clips)."""
    grid = wanted[0][1]
    recipe = Recipe("pann-cnn14", grid, Weights.named("random:1", None), "float32")
    sources = [VideoFile(path.stem, path, files.sha256(path), {grid: n_clips}) for path, _, n_clips in wanted]
    with Workers(1) as threads, StoreWriter(store, recipe.passport) as writer:
        return encode_sounds(sources, [SoundRowMaker(recipe, writer, "cpu", threads)], seconds)


@pytest.mark.parametrize("grid", ["2s", "1s", "0.5s", "1-6s"])
def test_every_grid_has_a_row_per_clip_with_the_two_seconds_around_it(tmp_path, grid):
    path = video(tmp_path / "a.mp4", 5, 4.0)
    clip_s = grid_seconds(grid)
    *chunks, ended = read_sound(path)
    n_rows = floor(ended.end_s / clip_s)
    assert encode(tmp_path / "a.h5", (path, grid, n_rows)) == []
    heard = np.concatenate(CALLS)
    track = np.concatenate([np.zeros(RATE), *chunks, np.zeros(RATE)])
    middles = [floor((row + Fraction(1, 2)) * clip_s * RATE + Fraction(1, 2)) for row in range(n_rows)]
    np.testing.assert_array_equal(heard, [track[middle : middle + 2 * RATE] for middle in middles])
    rows = Store([tmp_path / "a.h5"]).read("a")
    np.testing.assert_allclose(rows[:, 0], np.abs(heard).mean(axis=1), rtol=1e-6)


def test_a_batch_holds_one_videos_rows_so_that_a_resumed_run_gives_equal_bits(tmp_path):
    a, b = video(tmp_path / "a.mp4", 12, 12.0), video(tmp_path / "b.mp4", 6, 6.0)
    encode(tmp_path / "s.h5", (a, "2s", 6), (b, "2s", 3))
    assert [len(call) for call in CALLS] == [0, 4, 2, 3]


def test_only_a_video_that_changed_is_encoded_again_and_one_without_sound_builds_no_network(tmp_path):
    a, b = video(tmp_path / "a.mp4", 4, 4.0), video(tmp_path / "b.mp4", 4, 0)
    encode(tmp_path / "s.h5", (b, "2s", 2))
    assert CALLS == []
    encode(tmp_path / "s.h5", (a, "2s", 2), (b, "2s", 2))
    assert [len(call) for call in CALLS] == [0, 2]
    encode(tmp_path / "s.h5", (a, "2s", 2), (b, "2s", 2))
    assert len(CALLS) == 2
    store = Store([tmp_path / "s.h5"])
    assert not store.read("b").any()
    assert store.attributes("b")["finding"] == "no sound"


def test_a_failure_half_way_leaves_no_rows_behind_for_the_next_video(tmp_path):
    a, b = video(tmp_path / "a.mp4", 40, 40.0), video(tmp_path / "b.mp4", 4, 4.0)
    data = bytearray(a.read_bytes())
    with av.open(str(a)) as file:
        last = [packet for packet in file.demux(file.streams.audio[0]) if packet.size][-20:]
    for packet in last:
        data[packet.pos : packet.pos + packet.size] = b"\xa5" * packet.size
    a.write_bytes(data)
    (left_out,) = encode(tmp_path / "s.h5", (a, "2s", 20), (b, "2s", 2))
    assert (left_out.vid, left_out.fault) == ("a", "file")
    assert left_out.why.startswith("its sound cannot be decoded")
    assert [len(call) for call in CALLS] == [0, 4, 4, 4, 4, 2]  # 32 s had come before the damage was met
    alone = tmp_path / "alone.h5"
    encode(alone, (b, "2s", 2))
    np.testing.assert_array_equal(Store([tmp_path / "s.h5"]).read("b"), Store([alone]).read("b"))


def test_one_decode_of_real_sound_serves_the_2_s_pieces_and_the_stand_in_at_a_sixth(tmp_path, shared_data, work_done):
    path = shared_data / "videos" / "charades.mp4"
    grids = {"pann-cnn14": "2s", "pann-cnn14-centred": "1-6s"}
    clips = {grid: n_clips(probe(path).duration, grid_seconds(grid)) for grid in grids.values()}
    weights = Weights.named("random:1", None)
    recipes = {tmp_path / f"{family}.h5": Recipe(family, grid, weights, "float32") for family, grid in grids.items()}
    with ExitStack() as stack, Workers(1) as threads:
        writers = {at: stack.enter_context(StoreWriter(at, recipe.passport)) for at, recipe in recipes.items()}
        makers = [SoundRowMaker(recipe, writers[at], "cpu", threads) for at, recipe in recipes.items()]
        assert encode_sounds([VideoFile("v", path, files.sha256(path), clips)], makers, 60.0) == []
    (decoded,) = work_done("decoded")
    assert (decoded["path"], decoded["track"], decoded["families"]) == (str(path), "sound", ", ".join(grids))
    coarse, fine = (Store([at]).read("v")[:, 0] for at in recipes)
    assert clips == {"2s": 15, "1-6s": 184}
    assert abs(len(coarse) - clips["2s"]) <= 1
    assert abs(len(fine) - clips["1-6s"]) <= 1
    track = np.concatenate([np.zeros(RATE, np.float32), *list(read_sound(path))[:-1], np.zeros(RATE, np.float32)])
    starts = [floor(Fraction(2 * row + 1, 12) * RATE + Fraction(1, 2)) for row in range(len(fine))]
    np.testing.assert_allclose(fine, [np.abs(track[at : at + 2 * RATE]).mean() for at in starts], rtol=1e-5)
