"""The record of work has whole lines, CONTRIBUTING.md explains every kind of line, and nothing is recorded by
default."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import files, provenance, work_record
from pipeline.errors import PipelineError

ROOT = Path(__file__).resolve().parents[1]


def test_without_the_variable_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv(work_record.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    work_record.note("epoch", run="x", epoch=1)
    assert not list(tmp_path.iterdir())


def test_a_stage_records_its_work_what_it_hashed_and_that_it_had_none(tmp_path, work_done):
    (tmp_path / "in.txt").write_text("1")
    made = tmp_path / "made.txt"

    def run():
        manifest = tmp_path / "manifest.json"
        work = provenance.Outcome([made])
        return provenance.run_stage(
            "segment", manifest, lambda: (made.write_text("2"), work)[1], inputs=[tmp_path / "in.txt"]
        )

    assert run()
    first = work_done()
    assert [(line["what"], Path(line.get("path", "")).name) for line in first] == [
        ("hashed", "in.txt"),
        ("began", ""),
        ("hashed", "made.txt"),
    ]
    assert (first[1]["stage"], first[1]["manifest"]) == ("segment", str(tmp_path / "manifest.json"))
    assert not run()
    *read, unchanged = work_done()
    assert [(line["what"], Path(line["path"]).name) for line in read] == [("hashed", "in.txt"), ("hashed", "made.txt")]
    assert (unchanged["what"], unchanged["stage"]) == ("unchanged", "segment")
    assert {"pytest", "json"} <= set(unchanged["imported"])


def test_lines_of_several_processes_are_whole(tmp_path, work_done):
    code = "from pipeline import work_record\nfor k in range(300): work_record.note('epoch', run='x' * 400, epoch=k)"
    writers = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    lines = work_done("epoch")
    assert sorted(line["epoch"] for line in lines) == sorted([*range(300)] * 3)
    assert {line["process"] for line in lines} == {writer.pid for writer in writers}


def test_a_record_that_cannot_be_written_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv(work_record.VARIABLE, str(tmp_path / "none" / "work.jsonl"))
    (tmp_path / "a").write_text("a")
    with pytest.raises(PipelineError, match=r"work.jsonl: cannot be written .* in the variable TR_DETR_WORK_RECORD"):
        files.sha256(tmp_path / "a")


def test_every_kind_of_line_and_its_fields_are_explained():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "pipeline").rglob("*.py"))
    calls = re.findall(r"work_record\.note\(\s*\"(\w+)\"((?:[^()]|\([^()]*\))*)\)", code)
    written = {what: re.findall(r"(\w+)=", fields) for what, fields in calls}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    explained = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE))
    assert {what: re.findall(r"`(\w+)`", fields) for what, fields in explained.items()} == written
