"""A video that makes FFmpeg hang or crash ends no command: each says so, and goes on with its other files."""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
from hanging import hang
from made_own import write
from made_videos import make_video

from pipeline import cli
from pipeline.asking import rows
from pipeline.datasets import own_table
from pipeline.encoders.base import Weights
from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.looking import inspection
from pipeline.features.making.own_file import extract_own
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.reporting.page import frames
from pipeline.video import looking, own_dataset, supervised
from pipeline.video.container import opened

BAD = "bad"
SECONDS = 4


def crash():
    faulthandler.disable()  # it would print this process's stack
    os.kill(os.getpid(), signal.SIGSEGV)


WAYS = {"hangs": (hang, "took longer than 900 s"), "crashes": (crash, "crashed (SIGSEGV)")}


@pytest.fixture(params=WAYS)
def why(request, monkeypatch):
    """Return a function that returns the error of a file. A file of the name `BAD` makes the reader of facts
    misbehave."""
    misbehave, why = WAYS[request.param]

    def opening(path):
        if path.stem == BAD:
            misbehave()
        return opened(path)

    monkeypatch.setattr("pipeline.video.probe.opened", opening)
    for module in (looking, supervised):
        monkeypatch.setattr(module, "START", multiprocessing.get_context("fork"))  # so that the process sees it
    return why


@pytest.fixture
def videos(tmp_path):
    bad, good = (make_video(tmp_path / f"{name}.mp4", range(0, 600 * SECONDS, 20)) for name in (BAD, "good"))
    return bad, good


def test_probe_goes_on_with_the_next_file(why, videos, capsys):
    with pytest.raises(SystemExit):
        cli.main(["probe", "--json", *map(str, videos)])
    bad, good = json.loads(capsys.readouterr().out)
    assert bad["problem"] == f"reading its facts {why}"
    assert "good copy" in bad["remedy"]
    assert good["seconds"] == SECONDS


def test_an_own_dataset_names_the_row_of_the_video_and_measures_the_others(why, videos, tmp_path):
    table = own_table.read(write(tmp_path, ["bad,a dog,0,2", "good,a dog,0,2"]), tmp_path)
    assert own_dataset.durations_of(table) == {BAD: f"reading its facts {why}", "good": SECONDS}


def test_ask_refuses_it(why, videos, tmp_path):
    with pytest.raises(PipelineError) as refused:
        rows.encode(videos[0], [], tmp_path / "rows")
    assert str(refused.value).startswith(f"{videos[0]}: reading its facts {why} → put a good copy")
    assert rows.encode(videos[1], [], tmp_path / "rows").duration_s == SECONDS


def test_features_extract_refuses_it_and_writes_nothing(why, videos, tmp_path):
    with pytest.raises(PipelineError, match="reading its facts"):
        extract_own(videos[0], "clip-vit-b32", "2s", Weights.named("random:7", None), tmp_path / "own.h5")
    assert not (tmp_path / "own.h5").exists()


def test_a_contact_sheet_refuses_it(why, videos, tmp_path):
    passport = Passport("clip-vit-b32", 1, "raw", "random:0", "2s", 8, "float32", "one line on how")
    with StoreWriter(tmp_path / "rows.h5", passport) as writer:
        for name in (BAD, "good"):
            writer.add(name, np.eye(2, 8, dtype=np.float32))
    with Store([tmp_path / "rows.h5"]) as store:
        with pytest.raises(PipelineError, match="reading its frames"):
            inspection.draw(store, BAD, videos[0], tmp_path)
        assert inspection.draw(store, "good", videos[1], tmp_path).is_file()


def test_a_page_has_no_pictures_of_it(why, videos):
    assert frames.frames_of(videos[0], 2) == []
    assert len(frames.frames_of(videos[1], 2)) == 2
