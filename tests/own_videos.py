"""Runs that were trained on the rows of real files, made by encoders without a network, to be asked about videos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import fake_encoders
from made_videos import make_video
from tiny_benchmark import N_CLIPS, Benchmark, experiment, list_stores, query

from pipeline import files
from pipeline.encoders.base import Weights
from pipeline.encoders.workers import Workers
from pipeline.families import FAMILIES
from pipeline.features.making.encode import encode_videos
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.recipe import Recipe, VideoFile
from pipeline.features.making.sound import SoundRowMaker, encode_sounds
from pipeline.features.making.words import encode_words
from pipeline.features.store.writer import StoreWriter
from pipeline.grids import grid_seconds, n_clips
from pipeline.video.probe import probe

FAKES = {
    "clip-vit-b32": "fake_encoders:MeanColour",
    "clip-text": "fake_encoders:Letters",
    "pann-cnn14": "fake_encoders:Loudness",
}
SECONDS = 2 * N_CLIPS
LENGTHS = (SECONDS, SECONDS, SECONDS, SECONDS - 6)
QUERIES = ("a dog", "somebody opens a door", "the last word")


def recipe(family: str) -> Recipe:
    grid = "tokens" if family == "clip-text" else "2s"
    return Recipe(family, grid, Weights.named("random:7", None), "float16")


@contextmanager
def own_videos(folder: Path) -> Iterator[OwnVideos]:
    """Make the videos. During the block the fake encoders make the rows of their families."""
    before = dict(FAMILIES)
    fake_encoders.take_the_place(FAKES)
    yield OwnVideos(folder)
    FAMILIES.update(before)


class OwnVideos(Benchmark):
    """Two videos to train on and two to predict, one query each, with rows as the stage `extract` makes them."""

    def __init__(self, folder: Path) -> None:
        self.results, self.folder = folder / "results", folder
        self.videos = [
            make_video(folder / f"v{n}.mp4", range(0, 600 * s, 150), width=64 + 16 * n, sound_s=s, rate=4)
            for n, s in enumerate(LENGTHS)
        ]
        queries = [replace(query(n, n, 3), query=QUERIES[n % 3], duration=float(s)) for n, s in enumerate(LENGTHS)]
        self.splits = {"train": queries[:2], "val": queries[2:]}
        self.annotations = {name: self._annotate(name, some) for name, some in self.splits.items()}
        families = ("clip-vit-b32", "pann-cnn14", "clip-text")
        place = self.results / "features/qvhighlights"
        stores = {name: place / recipe(name).grid / name / "00000.h5" for name in families}
        with ExitStack() as stack:
            threads = stack.enter_context(Workers(1))
            pictures, sound, words = (
                stack.enter_context(StoreWriter(path, recipe(name).passport)) for name, path in stores.items()
            )
            sources = [_source(video) for video in self.videos]
            encode_videos(sources, [FrameRowMaker(recipe(families[0]), pictures, "cpu", threads)], 300)
            encode_sounds(sources, [SoundRowMaker(recipe(families[1]), sound, "cpu", threads)], 300)
            asked = {str(one.qid): one.query for one in queries}
            encode_words(asked, recipe(families[2]), words, "cpu", list(asked.values()), threads)
        self.features = [list_stores(place / "all/00000.json", list(stores.values()))]

    def run(self, name: str = "tiny", **changes) -> Path:
        """Train a run and predict with it; returns its folder."""
        training = {"epochs": 2, "evaluation_batch_size": 1} | changes.pop("training", {})
        settings = experiment(**changes, training=training)
        self.train(settings, name)
        return self.predict(settings, name) / "all-s2017"


def _source(video: Path) -> VideoFile:
    clips = n_clips(probe(video).duration, grid_seconds("2s"))
    return VideoFile(video.stem, video, files.sha256(video), {"2s": clips})
