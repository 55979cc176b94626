"""The rows of a video and of a query have the same bits alone, among others, in any order, after a kill, and on any
number of cores.

The networks are the real ones with random numbers, at the size that they have.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from made_videos import make_video

from pipeline import files
from pipeline.encoders.base import Weights
from pipeline.encoders.workers import Workers, n_cores, workers
from pipeline.families import FAMILIES
from pipeline.features.making.encode import encode_videos
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.recipe import Recipe, VideoFile
from pipeline.features.making.sound import SoundRowMaker, encode_sounds
from pipeline.features.making.words import encode_words
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.grids import grid_seconds, n_clips
from pipeline.video.probe import probe

torch = pytest.importorskip("torch")

GRIDS = {
    "clip-vit-b32": "0.5s",
    "i3d-inception-rgb-charades": "0.5s",
    "vgg16-imagenet": "1-6s",
    "pann-cnn14-centred": "0.5s",
}
OF_FRAMES = [name for name, kind in FAMILIES.items() if kind.reader in ("frames224", "native")]
OF_SOUND = [name for name, kind in FAMILIES.items() if kind.reader == "sound"]
OF_WORDS = [name for name, kind in FAMILIES.items() if kind.reader == "words"]
TWINS = {"slowfast-r50-pytorchvideo": "slowfast-r50-caffe2", "pann-cnn14": "pann-cnn14-centred"}
"""Families that are tested by another family here: it has the same class, with other weights or other pieces of
sound."""
ONE_AT_A_TIME = {"i3d-inception-flow-raft-tvsum"}
"""RAFT takes a minute a row. Its batch holds one row, so no other row is computed together with it."""
SPARED = {*TWINS, *ONE_AT_A_TIME}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {vid: make_video(folder / f"{vid}.mp4", range(0, 600 * s, 40), sound_s=s) for vid, s in (("a", 1), ("b", 3))}


@pytest.fixture
def one_network(monkeypatch):
    """Build networks once and share them between runs, because building costs more than the rows."""
    built = {}

    def once(recipe, made_anew=Recipe.encoder.fget):
        def encoder(weights, device):
            if recipe.family not in built:
                built[recipe.family] = made_anew(recipe)(weights, device)
            return built[recipe.family]

        return encoder

    monkeypatch.setattr(Recipe, "encoder", property(once))


def recipe_of(family):
    weights = Weights.joined(*(Weights.named("random:3", None) for _ in FAMILIES[family].weights))
    return Recipe(family, GRIDS.get(family, "2s"), weights, "float32")


def rows_of(store, family, paths, threads, *, killed=False):
    recipe = recipe_of(family)
    clip_s = grid_seconds(recipe.grid)
    sources = [
        VideoFile(vid, path, files.sha256(path), {recipe.grid: n_clips(probe(path).duration, clip_s)})
        for vid, path in paths.items()
    ]
    with threads, StoreWriter(store, recipe.passport) as writer:
        if FAMILIES[family].reader == "sound":
            left_out = encode_sounds(sources, [SoundRowMaker(recipe, writer, "cpu", threads)], 300)
        else:
            left_out = encode_videos(sources, [FrameRowMaker(recipe, writer, "cpu", threads)], 300)
        if killed:
            raise KeyboardInterrupt
    assert left_out == []
    with Store([store]) as made:
        return {vid: made.read(vid) for vid in paths}


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in (*OF_FRAMES, *OF_SOUND) if name not in SPARED])
def test_a_videos_rows_are_the_same_bits_alone_in_company_and_after_a_kill(tmp_path, clips, one_network, family):
    together = rows_of(tmp_path / "all.h5", family, clips, Workers(3))
    alone = rows_of(tmp_path / "alone.h5", family, {"a": clips["a"]}, Workers(1))
    # The job is killed when `b` is done. The next one finds `b` and has the rest to do.
    with pytest.raises(KeyboardInterrupt):
        rows_of(tmp_path / "killed.h5", family, {"b": clips["b"]}, Workers(1), killed=True)
    assert not (tmp_path / "killed.h5").exists()
    after = rows_of(tmp_path / "killed.h5", family, dict(reversed(clips.items())), Workers(1))
    np.testing.assert_array_equal(together["a"], alone["a"])
    for vid in clips:
        np.testing.assert_array_equal(together[vid], after[vid])


def test_every_family_is_tested_here_or_its_twin_is():
    tested = {*OF_FRAMES, *OF_SOUND} - SPARED
    made = {name for name, kind in FAMILIES.items() if kind.reader and kind.reader != "words"}
    assert tested | SPARED == made
    for name, twin in TWINS.items():
        one, other = FAMILIES[name], FAMILIES[twin]
        assert twin in tested
        assert (one.encoder, one.reader, one.batch, one.view) == (other.encoder, other.reader, other.batch, other.view)
    assert all(FAMILIES[name].batch == 1 for name in ONE_AT_A_TIME)


@pytest.mark.parametrize("family", OF_WORDS)
def test_a_querys_rows_are_the_same_bits_alone_in_company_and_after_a_kill(tmp_path, family):
    queries = {str(k): " ".join(["a dog runs over the wide green field"] * (k % 3 + 1)) + f" {k}" for k in range(9)}
    recipe = recipe_of(family)

    def rows(name, asked, n):
        with Workers(n) as threads, StoreWriter(tmp_path / name, recipe.passport) as store:
            encode_words(asked, recipe, store, "cpu", list(queries.values()), threads)
        with Store([tmp_path / name]) as made:
            return {qid: made.entry(qid) for qid in asked}

    together, alone = rows("all.h5", queries, 3), rows("alone.h5", {"4": queries["4"]}, 1)
    rows("killed.h5", {qid: queries[qid] for qid in "02468"}, 1)
    after = rows("killed.h5", queries, 2)
    for qid in queries:
        np.testing.assert_array_equal(together[qid].rows, after[qid].rows)
    np.testing.assert_array_equal(together["4"].rows, alone["4"].rows)
    if alone["4"].pooled is not None:
        np.testing.assert_array_equal(together["4"].pooled, alone["4"].pooled)


def test_numbers_do_not_depend_on_the_cores_at_hand(monkeypatch):
    from pipeline.encoders.base import encoder_of

    network = encoder_of("clip-vit-b32")(Weights.named("random:3", None), "cpu")
    frames = np.random.default_rng(0).integers(0, 256, (9, 1, 224, 224, 3), dtype=np.uint8)
    found = []
    for n in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", n)
        with workers("cpu") as threads:
            assert threads.n == int(n)
            found.append(threads.submit(network.encode, frames).result())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_workers_compute_on_one_core_and_leave_the_job_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with workers("cpu") as threads:
            assert threads.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as others:
            assert others.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("said", "n"), [("3", 3), ("", None), ("many", None), ("0", None)])
def test_the_cores_are_those_of_the_rule(monkeypatch, said, n):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert n_cores() >= 1
    assert n is None or n_cores() == n


def test_results_come_in_order_and_few_wait():
    begun = []
    with Workers(2) as threads:
        results = threads.in_order(lambda k: begun.append(k) or k, iter(range(20)))
        assert next(results) == 0
        assert max(begun) <= 3
        assert [0, *results] == list(range(20))
