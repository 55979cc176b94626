"""Names that come out of files: plain names of files pass, all others are refused where they are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import stage_jobs
from made_archives import CONTENT, make_tar, make_zip
from released_archive import annotate, tvsum_archive
from released_archive import run as import_tvsum

from pipeline import files, names, records
from pipeline.cli import main
from pipeline.errors import PipelineError, is_printable, printable
from pipeline.features.exchange.archive_files import PASSPORTS
from pipeline.manifests import describe, files_of

BAD = [
    "..",
    ".",
    "",
    "a/b",
    "/etc/passwd",
    "../up",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "\x9b2J",
    "a\u202eb",
    "x" * 201,
    "é" * 101,
]
GOOD = ["-esJrBWj2d8", "_NaMhcMCdPI_60.0_210.0", "ünï 日本", "a b'$(x)\"\\", "...", "--", "x" * 200, "é" * 100]


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_what_names_no_file_of_its_own_is_refused(name):
    with pytest.raises(PipelineError, match=r"x\.csv: the vid `.*→ correct it") as error:
        names.file_name(name, "the vid", "x.csv", "correct it")
    assert is_printable(str(error.value))
    with pytest.raises(PipelineError):
        names.word(name, "the family", "x.h5", "correct it")


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_plain_names_pass_and_can_be_files(tmp_path, name):
    assert names.file_name(name, "the vid", "x", "y") == name
    (tmp_path / f"{name}.npz").write_bytes(b"")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.npz"]


def test_what_a_terminal_would_obey_is_written_out_in_every_error():
    error = PipelineError("a\x1b[2J\nb", where="\x07x\udcff", remedy="c\u202ed")
    assert str(error) == r"\x07x\xff: a\x1b[2J" + "\n" + r"b → c\u202ed"
    assert printable("ünï 日本 – ✓\t") == r"ünï 日本 – ✓\t"


def row(**changed):
    return {"qid": 1, "query": "a", "vid": "v", "duration": 10.0} | changed


@pytest.mark.parametrize("key", ["vid", "qid"])
@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_row_of_annotations_whose_vid_or_qid_names_no_file_is_refused_with_its_line(tmp_path, key, name):
    records.write_jsonl(tmp_path / "a.jsonl", [row(qid=0), row(**{key: name})])
    with pytest.raises(PipelineError, match=rf"a\.jsonl, line 2: `{key}` .*→ correct the row"):
        records.read_queries(tmp_path / "a.jsonl")


def test_a_prediction_does_nothing_to_the_terminal_it_is_judged_on(tmp_path, capsys):
    truth = row(relevant_windows=[[0, 4]])
    records.write_jsonl(tmp_path / "truth.jsonl", [truth])
    bad = row(qid="\x1b[2J\nerror: all is well", pred_relevant_windows=[[0, 4, 1]])
    records.write_jsonl(tmp_path / "p.jsonl", [bad, row(vid="\x1b]0;x\x07", pred_relevant_windows=[[0, 4, 1]])])
    here = [str(tmp_path / name) for name in ("p.jsonl", "truth.jsonl")]
    for command in ("validate", "evaluate"):
        with pytest.raises(SystemExit) as stop:
            main([command, "--dataset", "charades_sta", "--predictions", here[0], "--annotations", here[1]])
        said = f"{capsys.readouterr().out}{stop.value}"
        assert "\x1b" not in said
        assert "\x07" not in said
        assert "\nerror: all is well" not in said


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_members_with_names_that_cannot_be_shown_or_kept_are_left_out_and_listed(tmp_path, make):
    home = tmp_path / "resources" / "thing"
    home.mkdir(parents=True)
    odd = {"Icon\r": b"x", "a\x1b[2J.mp4": b"x", "deep\n/b.mp4": b"x", f"{'x' * 240}.mp4": b"x"}
    archive = make(tmp_path / "x", CONTENT | odd)
    files.write_json(home / "fetch.json", {"stage": "fetch", "files": [describe(archive)]})
    stage_jobs.run("unpack", tmp_path, home / "unpack.json", {"fetched": home / "fetch.json"}, name="thing")
    found = {str(path.relative_to(home / "files")) for path in (home / "files").rglob("*") if path.is_file()}
    assert found == set(CONTENT)
    skipped = {entry["member"]: entry["why"] for entry in files.read_json(home / "unpack.json")["skipped"]}
    assert skipped.keys() == set(map(printable, odd))
    assert set(skipped.values()) == {"holds characters that cannot be printed", "is longer than 200 bytes"}
    assert tarfile.is_tarfile(archive) or zipfile.is_zipfile(archive)


@pytest.mark.parametrize(
    "listed",
    [
        [{"path": "a\x1b[2J", "sha256": "0", "bytes": 1}],
        [{"path": "", "sha256": "0"}],
        [{"path": 3, "sha256": "0"}],
        [{"path": "a"}],
        ["a"],
        3,
        {"a": 1},
    ],
)
def test_a_manifest_that_lists_no_files_is_named(tmp_path, listed):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"stage": "fetch", "files": listed}, indent=2))
    with pytest.raises(PipelineError, match=r"m\.json: .*→ (delete it|name the manifest that a stage wrote)"):
        files_of(path)


PASSPORT = {"family": "pann-cnn14", "revision": 1, "origin": "x", "weights": "w", "grid": "2s", "dim": 2048}
PASSPORT |= {"dtype": "float32", "preprocessing": "p"}


@pytest.mark.parametrize(
    "content",
    [
        {"unheard-of": PASSPORT | {"family": "unheard-of"}},
        {"pann-cnn14": PASSPORT | {"family": "../up"}},
        {"pann-cnn14": PASSPORT | {"family": "clip-text"}},
        {"pann-cnn14": PASSPORT | {"origin": "\x1b[2J"}},
        {"pann-cnn14": PASSPORT | {"dim": "many"}},
        {"pann-cnn14": 3},
        [1],
    ],
)
def test_passports_of_an_archive_are_judged_before_a_family_is_looked_up(tmp_path, content):
    folder = tvsum_archive(tmp_path / "in")
    files.write_json(folder / PASSPORTS, content)
    with pytest.raises(PipelineError, match=r"passports\.json: "):
        import_tvsum(tmp_path, folder, families=["pann-cnn14"])


def test_files_of_an_archive_whose_names_are_no_utf_8_are_nobodys(tmp_path):
    folder = tvsum_archive(tmp_path / "in")
    np.save(folder / "audio_features" / os.fsdecode(b"caf\xe9.npy"), np.zeros((3, 2048)))
    ran, manifest = import_tvsum(tmp_path, folder)
    assert ran
    assert manifest["counts"]["pann-cnn14_unasked"] == 1
    assert annotate(tmp_path, "tvsum", [row()])


COMMANDS = [
    ["features", "inspect", "{}"],
    ["features", "compare", "{}", "{}"],
    ["features", "export", "{}", "--dataset", "tvsum", "--output", "{}"],
    ["annotate", "--dataset", "tvsum", "--split", "val", "--fetched", "{}", "--manifest", "m.json"],
    ["evaluate", "--dataset", "tvsum", "--predictions", "{}", "--annotations", "x"],
    ["compare", "{}", "{}", "--dataset", "tvsum", "--annotations", "{}"],
    ["import-checkpoint", "{}", "out"],
    ["fetch", "qvhighlights-train", "--manifest", "{}"],
    ["features", "extract", "--video", "{}", "--family", "clip-vit-b32", "--random", "1", "--output", "o.h5"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_a_file_name_that_is_no_utf_8_ends_in_one_line(tmp_path, command):
    (tmp_path / os.fsdecode(b"caf\xe9.h5")).write_bytes(b"")
    words = [os.fsencode(word.replace("{}", os.fsdecode(bytes(tmp_path) + b"/caf\xe9.h5"))) for word in command]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"pipeline", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        errors="strict",
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert r"caf\xe9" in done.stderr.splitlines()[-1]
    assert "→ " in done.stderr.splitlines()[-1]
