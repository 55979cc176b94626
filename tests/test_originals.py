"""A user's files with `file:///` addresses: when they change, everything that depends on them is made again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stage_jobs
import yaml

from pipeline import files
from pipeline.acquire import folders, originals, sources
from pipeline.acquire.download import copy_checked
from pipeline.acquire.transfer import Wanted
from pipeline.config import Acquire
from pipeline.errors import PipelineError
from pipeline.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
HEADER = "name,kind,file,url,digest,bytes,licence,note\n"
ROW = {
    "qid": 10,
    "query": "something happens",
    "vid": "CCCCCCCCCCC_0.0_8.0",
    "duration": 8,
    "relevant_windows": [[2, 4]],
    "relevant_clip_ids": [1],
    "saliency_scores": [[4, 3, 4]],
}
RIGHT, WRONG = [2.0, 4.0, 0.9], [0.0, 1.0, 0.9]


class Own:
    """Predictions and annotations of one's own, and the workflow that scores them."""

    def __init__(self, folder):
        self.folder, self.mine, self.val = folder, folder / "mine.jsonl", folder / "val.jsonl"
        folder.mkdir()
        self.val.write_text(json.dumps(ROW) + "\n")
        self.mine.write_text(self.predicted(WRONG))
        self.list_sources()
        config = {
            "acquire": {"sources": "sources.csv"},
            "datasets": {"qvhighlights": {"shards": 1, "annotations": {"val": "val"}}},
            "training": {"qvhighlights": {}},
            "experiments": {
                "mine": {
                    "table": 4,
                    "row": "(j)",
                    "dataset": "qvhighlights",
                    "source": "predictions",
                    "predictions": {"val": "mine"},
                }
            },
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    def predicted(self, window):
        kept = {key: ROW[key] for key in ("qid", "query", "vid")}
        row = kept | {"pred_relevant_windows": [window], "pred_saliency_scores": [0.1, 0.9, 0.2, 0.3]}
        return json.dumps(row) + "\n"

    def list_sources(self, digest=""):
        rows = [f"val,file,val.jsonl,{self.val.as_uri()},,,,", f"mine,file,mine.jsonl,{self.mine.as_uri()},{digest},,,"]
        (self.folder / "sources.csv").write_text(HEADER + "\n".join(rows) + "\n")

    def run(self, *arguments, code=0):
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile"), "--cores", "1"]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        answer = subprocess.run(
            [*command, "table4", *arguments], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        said = answer.stdout + answer.stderr
        assert answer.returncode == code, said
        return said

    def recall(self):
        path = self.folder / "results/metrics/mine/released/val-selected.json"
        return files.read_json(path)["brief"]["MR-full-R1@0.5"]


@pytest.mark.workflow
def test_ones_own_files_changed_in_any_way_change_the_table(tmp_path):
    own = Own(tmp_path / "own")
    own.run()
    assert own.recall() == 0
    assert "Nothing to be done" in own.run()
    own.mine.touch()
    assert "Nothing to be done" in own.run("-n")
    with open(own.mine, "r+") as file:  # in place, of the same size
        file.write(own.predicted(RIGHT))
    before = files.sha256(own.folder / "results/resources/mine/fetch.json")
    assert "fetch" in own.run("-n")
    assert files.sha256(own.folder / "results/resources/mine/fetch.json") == before
    own.run()
    assert own.recall() == 100
    new = own.folder / "new"
    new.write_text(json.dumps(ROW | {"relevant_windows": [[4, 6]], "relevant_clip_ids": [2]}) + "\n")
    new.replace(own.val)  # another file under the name
    own.run()
    assert own.recall() == 0
    assert "Nothing to be done" in own.run()
    own.list_sources(f"sha256:{files.sha256(own.mine)}")
    own.run()
    own.mine.write_text(own.predicted(WRONG))
    said = own.run(code=1)
    assert "correct `digest` and `bytes` of mine in sources.csv" in said


@pytest.fixture
def taken(tmp_path):
    """Fetch a file of one's own; returns a function that fetches and says whether there was work."""
    mine, table, results = tmp_path / "mine.txt", tmp_path / "sources.csv", tmp_path / "results"
    mine.write_text("one")
    table.write_text(f"{HEADER}mine,file,mine.txt,{mine.as_uri()},,,,\n")
    manifest = results / "resources/mine/fetch.json"

    def run(digest=None):
        if digest is not None:
            table.write_text(f"{HEADER}mine,file,mine.txt,{mine.as_uri()},{digest},,,\n")
        settings = {"acquire": Acquire(sources=str(table))}
        return stage_jobs.run("fetch", results, manifest, settings=settings, name="mine")

    def plan():
        source = sources.load(table)["mine"]
        found = originals.fetched(source, results / "resources/mine/mine.txt", files.read_json(manifest), manifest)
        return originals.have_changed([found])

    run.mine, run.target, run.plan, run.manifest = mine, results / "resources/mine/mine.txt", plan, manifest
    return run


def replace(path, text):
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def edit(path, text):
    path.write_text(text)


@pytest.mark.parametrize("change", [replace, edit])
@pytest.mark.parametrize("text", ["two", "another size"])
def test_a_changed_original_is_seen_and_taken_whatever_was_pinned(taken, change, text):
    taken()
    assert not taken.plan()
    change(taken.mine, text)
    assert taken.plan()
    assert taken()
    assert taken.target.read_text() == text
    assert files.read_json(taken.manifest)["files"][0]["sha256"] == files.sha256(taken.mine)
    assert not taken.plan()
    assert not taken()


def test_a_touched_original_is_no_other_file(taken):
    taken()
    os.utime(taken.mine, (1, 1))
    assert not taken.plan()
    assert not taken()
    assert taken.target.stat().st_mtime == 1


def test_a_long_touched_original_is_left_to_the_stage(taken, monkeypatch):
    taken()
    monkeypatch.setattr(originals, "READ_BYTES", 2)
    replace(taken.mine, "one")
    os.utime(taken.mine, (1, 1))
    assert taken.plan()
    assert not taken()
    assert not taken.plan()


def test_an_original_that_is_gone_takes_nothing_away(taken):
    taken()
    taken.mine.unlink()
    assert not taken.plan()
    assert not taken()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a.npy").write_text("two"),
        lambda folder: (folder / "b.npy").unlink(),
        lambda folder: (folder / "c.npy").write_text("new"),
        lambda folder: (folder / "b.npy").rename(folder / "d.npy"),
    ],
    ids=["edited", "removed", "added", "renamed"],
)
def test_a_changed_folder_is_seen_and_one_that_was_only_touched_is_not(tmp_path, change):
    folder, target = tmp_path / "features", tmp_path / "features.tar"
    folder.mkdir()
    (folder / "a.npy").write_text("one")
    (folder / "b.npy").write_text("one")
    sha256 = copy_checked(folder, Wanted(folder.as_uri(), target, "features"))
    assert sha256 == files.sha256(target) == folders.digest(folder, "features")
    taken = originals.CopiedFile(folder, target, sha256, 0)
    assert not taken.looks_changed()
    os.utime(folder / "a.npy")
    assert taken.looks_changed()
    assert not taken.has_changed()
    taken.keep_time()
    assert not taken.looks_changed()
    time.sleep(0.02)  # a file system counts time in ticks of some milliseconds
    change(folder)
    assert originals.have_changed([taken])


def test_a_digest_in_the_table_wins_over_the_file(taken):
    taken(f"sha256:{files.sha256(taken.mine)}")
    replace(taken.mine, "two")
    assert taken.plan()
    with pytest.raises(PipelineError, match="correct `digest` and `bytes` of mine"):
        taken()
    assert taken.target.read_text() == "one"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, False),
        ({"counts": {"failed": 1}}, True),
        ({"skipped": [{"vid": "a", "why": "corrupt: cut short"}]}, False),
        ({"skipped": [{"vid": "a", "why": "missing: 404", "asked": "http://127.0.0.1/{vid}.mp4"}]}, False),
        ({"skipped": [{"vid": "a", "why": "missing: 404", "asked": "http://elsewhere/{vid}.mp4"}]}, True),
        ({"skipped": [{"vid": "a", "why": "missing: 404"}]}, True),
    ],
    ids=["none missing", "failed", "corrupt", "missing", "the address corrected", "by an earlier version"],
)
def test_a_video_that_did_not_come_is_worth_a_question_when_its_source_changed(tmp_path, record, expected):
    table = tmp_path / "sources.csv"
    table.write_text(f"{HEADER}films,video,{{vid}}.mp4,http://127.0.0.1/{{vid}}.mp4,,,,\n")
    arguments = record, ["films"], sources.load(table), [], Layout(tmp_path)
    assert originals.may_come_now(*arguments) is expected


@pytest.mark.parametrize("place", ["address", "resources", "local"])
def test_a_missing_video_whose_file_was_put_there_is_worth_a_question(tmp_path, place):
    folder = {
        "address": tmp_path / "at",
        "resources": Layout(tmp_path / "home").unpacked("films"),
        "local": tmp_path / "local/below",
    }
    table = sources_of(tmp_path)
    missing = {
        "skipped": [{"vid": "a", "why": "missing: none", "asked": originals.searched_addresses(["films"], table)}]
    }
    arguments = missing, ["films"], table, [str(tmp_path / "local")], Layout(tmp_path / "home")
    assert not originals.may_come_now(*arguments)
    folder[place].mkdir(parents=True)
    (folder[place] / "a.mp4").touch()
    assert originals.may_come_now(*arguments)


def sources_of(folder):
    table = folder / "sources.csv"
    address = f"{(folder / 'at').as_uri()}/{{vid}}.mp4"
    table.write_text(f"{HEADER}films,video,{{vid}}.mp4,{address},,,,\n")
    return sources.load(table)
