"""CLIP and SlowFast from one decode: rows as from each alone, several videos at a time, memory that stays flat."""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import SimpleNamespace
from typing import ClassVar

import fake_encoders
import numpy as np
import pytest
from made_videos import make_video

from pipeline import files
from pipeline.encoders.base import Weights
from pipeline.encoders.workers import workers
from pipeline.errors import PipelineError
from pipeline.features.making import encode
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.own_file import extract_own
from pipeline.features.making.recipe import Recipe, VideoFile
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.video.probe import probe

torch = pytest.importorskip("torch")


class Pools(torch.nn.Module):
    """A stand-in for the network that returns 2304 means of its input."""

    def forward(self, streams):
        slow, fast = (stream.mean((3, 4)).flatten(1) for stream in streams)
        return torch.cat([slow, fast], 1).repeat(1, 20)[:, :2304, None, None, None]


class Remembers(fake_encoders.WideMeanColour):
    """Keeps the memory of every batch, so that it is not freed and used again."""

    batch = 2
    batches: ClassVar[list[np.ndarray]] = []

    def encode(self, frames):
        self.batches.append(frames if frames.base is None else frames.base)
        return super().encode(frames)


@pytest.fixture
def stubbed(monkeypatch):
    monkeypatch.setattr("pipeline.encoders.slowfast.filled", lambda *_: SimpleNamespace(blocks=[Pools()]))
    fake_encoders.take_the_place({"clip-vit-b32": "fake_encoders:MeanColour"}, monkeypatch.setitem)
    fake_encoders.CALLS.clear()


def recipe(family):
    return Recipe(family, "2s", Weights.named("random:0", None), "float32")


def test_both_encoders_of_one_decode_equal_each_alone(tmp_path, stubbed):
    paths = {vid: make_video(tmp_path / f"{vid}.mp4", range(0, 600 * s, 24)) for vid, s in (("a", 9), ("b", 4))}
    families = ("clip-vit-b32", "slowfast-r50-caffe2")
    both = extracted(tmp_path / "both", paths, families)
    alone = [extracted(tmp_path / family, paths, [family])[0] for family in families]
    for together, single in zip(both, alone, strict=True):
        for vid in paths:
            np.testing.assert_array_equal(together[vid][0], single[vid][0])
    assert [len(rows) for rows, _ in both[1].values()] == [5, 2]
    assert {decoder for rows in (*both, *alone) for _, decoder in rows.values()} == {"pyav"}


def extracted(folder, paths, families):
    """Return for each family vid → (rows, decoder), of one run."""
    sources = [
        VideoFile(vid, path, files.sha256(path), {"2s": round(probe(path).duration / 2)}) for vid, path in paths.items()
    ]
    with ExitStack() as stack, workers("cpu") as threads:
        writers = {f: stack.enter_context(StoreWriter(folder / f, recipe(f).passport)) for f in families}
        makers = [FrameRowMaker(recipe(f), writer, "cpu", threads) for f, writer in writers.items()]
        assert encode.encode_videos(sources, makers, 60) == []
    stores = [Store([folder / family]) for family in families]
    return [{vid: (s.read(vid), s.attributes(vid)["decoder"].split()[0]) for vid in paths} for s in stores]


def test_several_videos_at_a_time_give_the_same_rows(tmp_path, stubbed, monkeypatch):
    paths = {f"v{s}": make_video(tmp_path / f"{s}.mp4", range(0, 600 * s, 24)) for s in (5, 2, 8, 3)}
    families = ("clip-vit-b32", "slowfast-r50-caffe2")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2))  # one decoder beside the networks
    one = extracted(tmp_path / "one", paths, families)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    three = extracted(tmp_path / "three", paths, families)
    for a, b in zip(one, three, strict=True):
        assert all(np.array_equal(a[vid][0], b[vid][0]) for vid in paths)


def test_no_more_frames_are_held_than_the_rows_at_hand_need(tmp_path, stubbed, monkeypatch):
    held = []
    add_chunk = FrameRowMaker.add_chunk

    def watched(maker, source, chunk):
        add_chunk(maker, source, chunk)
        held.append(maker.n_kept)

    monkeypatch.setattr(FrameRowMaker, "add_chunk", watched)
    extracted(tmp_path / "x", {"a": make_video(tmp_path / "a.mp4", range(0, 12000, 20))}, ["slowfast-r50-caffe2"])
    assert len(held) > 15
    assert max(held) <= 32


def test_batches_share_three_pieces_of_memory(tmp_path, monkeypatch):
    fake_encoders.take_the_place({"slowfast-r50-caffe2": f"{__name__}:Remembers"}, monkeypatch.setitem)
    Remembers.batches.clear()
    extracted(tmp_path / "x", {"a": make_video(tmp_path / "a.mp4", range(0, 12000, 20))}, ["slowfast-r50-caffe2"])
    assert len(Remembers.batches) == 5
    assert len({id(memory) for memory in Remembers.batches}) <= 3


def test_weights_that_do_not_fit_stop_the_job_with_their_reason(tmp_path, monkeypatch):
    weights = tmp_path / "weights.pkl"
    weights.write_bytes(b"?")
    video = make_video(tmp_path / "a.mp4", range(0, 1200, 20))
    bad = Weights.named("released", weights)
    with pytest.raises(PipelineError, match=r"weights.pkl: does not hold SlowFast R50"):
        extract_own(video, "slowfast-r50-caffe2", "2s", bad, tmp_path / "x.h5")
