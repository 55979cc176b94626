"""Text files of users: a byte-order mark is skipped, and the content of a file decides what it is, not its name."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import zipfile

import numpy as np
import pytest

from pipeline import files, provenance, records
from pipeline.acquire import sources
from pipeline.cli import main
from pipeline.encoders import glove
from pipeline.encoders.base import Weights, encoder_of
from pipeline.errors import PipelineError
from pipeline.manifests import files_of, listed_or_itself

ROWS = [
    {"qid": 1, "query": "a person sits", "vid": "AAAAA", "duration": 30.0, "relevant_windows": [[2, 9]]},
    {"qid": 2, "query": "a person stands", "vid": "BBBBB", "duration": 30.0, "relevant_windows": [[12, 19]]},
]
LINES = "\n".join(map(json.dumps, ROWS))
PREDICTIONS = "\n".join(
    json.dumps({"qid": row["qid"], "vid": row["vid"], "query": row["query"], "pred_relevant_windows": [[2, 9, 0.5]]})
    for row in ROWS
)
WRONG = {
    "a list": (json.dumps(ROWS), "is one JSON list .of 2.; one object per line is wanted"),
    "a list over lines": (json.dumps(ROWS, indent=2), "is one JSON list .of 2.; one object per line is wanted"),
    "a list after a blank line": ("\n" + json.dumps(ROWS, indent=2), "is one JSON list .of 2."),
    "an object over lines": (json.dumps({"a": 1, "b": ROWS}, indent=2), "is one JSON object .of 2.; one object per"),
}


def write(path, text, *, mark=False, packed=False):
    data = (codecs.BOM_UTF8 if mark else b"") + text.encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def annotate(folder, path):
    main(["--results", str(folder / "r"), "annotate", "--dataset", "charades_sta", "--split", "train",
          "--fetched", str(path), "--manifest", str(folder / "r/m.json")])  # fmt: skip
    return [row["qid"] for _, row in records.read_jsonl(folder / "r/annotations/charades_sta/train.jsonl")]


def scored(command, predictions, annotations):
    given = [str(predictions)] * 2 if command == "compare" else ["--predictions", str(predictions)]
    main([command, *given, "--dataset", "charades_sta", "--annotations", str(annotations)])


@pytest.mark.parametrize("mark", [False, True], ids=["plain", "marked"])
@pytest.mark.parametrize("packed", [False, True], ids=["text", "gzip"])
@pytest.mark.parametrize("suffix", ["jsonl", "json", "txt", "jsonl.gz"])
def test_rows_are_read_whatever_their_files_name(tmp_path, capsys, suffix, packed, mark):
    rows = write(tmp_path / f"rows.{suffix}", LINES, mark=mark, packed=packed)
    predictions = write(tmp_path / f"predictions.{suffix}", PREDICTIONS, mark=mark, packed=packed)
    assert annotate(tmp_path, rows) == [1, 2]
    for command in ("evaluate", "validate", "compare"):
        scored(command, predictions, rows)
    assert "2 queries of 2 videos" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["jsonl", "json", "jsonl.gz"])
@pytest.mark.parametrize("kind", WRONG)
def test_one_json_value_is_named_once_and_nobody_is_told_to_delete_it(tmp_path, kind, suffix):
    text, message = WRONG[kind]
    wrong = write(tmp_path / f"wrong.{suffix}", text, packed=suffix.endswith("gz"))
    right = write(tmp_path / "right.jsonl", LINES)
    for use in (
        lambda: annotate(tmp_path, wrong),
        lambda: scored("evaluate", wrong, right),
        lambda: scored("evaluate", right, wrong),
        lambda: scored("validate", wrong, right),
        lambda: scored("compare", wrong, right),
    ):
        with pytest.raises(SystemExit, match=message) as refusal:
            use()
        assert str(refusal.value).count("wrong") == 1  # the place
        assert "delete" not in str(refusal.value)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_told_once_with_the_encoding_to_save_it_in(tmp_path, encoding):
    wrong, right = tmp_path / "wrong.jsonl", write(tmp_path / "right.jsonl", LINES)
    wrong.write_bytes(f"\ufeff{LINES}".encode(encoding))
    for given, truth in ((wrong, right), (right, wrong)):
        with pytest.raises(SystemExit, match=r"wrong\.jsonl: is written in UTF-16 → save it in the encoding UTF-8$"):
            scored("evaluate", given, truth)


def test_rows_from_a_pipe_are_refused_and_waited_for_by_nobody(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    right = write(tmp_path / "right.jsonl", LINES)
    for given, truth in ((tmp_path / "pipe", right), (right, tmp_path / "pipe")):
        with pytest.raises(SystemExit, match=r"pipe: is a pipe or a device and no file → name a file"):
            scored("evaluate", given, truth)


def test_a_table_of_sources_may_begin_with_a_mark(tmp_path):
    table = write(tmp_path / "sources.csv", sources.PACKAGED.read_text(encoding="utf-8"), mark=True)
    assert sources.load(table).by_name.keys() == sources.load().by_name.keys()


def test_json_may_begin_with_a_mark(tmp_path):
    assert files.read_json(write(tmp_path / "a.json", "{}", mark=True)) == {}


def test_gloves_first_word_is_found_behind_a_mark(tmp_path):
    path = tmp_path / "glove.6B.zip"
    line = " ".join(["the", *(["0.5"] * 300)])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(glove.MEMBER, codecs.BOM_UTF8 + f"{line}\n".encode())
    words = encoder_of("glove-6b-300d")(Weights.named("released", path), "cpu", ["the"]).encode(["the"])[0]
    assert (words.unknown, np.unique(words.tokens).tolist()) == (0, [0.5])


def test_a_manifest_is_known_by_its_content(tmp_path):
    made = write(tmp_path / "rows.jsonl", LINES)
    manifest = tmp_path / "manifest.of.rows"
    provenance.run_stage("annotate", manifest, lambda: provenance.Outcome([made]))
    assert listed_or_itself(manifest) == files_of(manifest) == [made]
    assert listed_or_itself(made) == [made]


@pytest.mark.parametrize("text", ["{}", "[]", "", '{\n"stage": "x"', LINES])
def test_what_is_no_manifest_is_told_so_and_kept(tmp_path, text):
    path = write(tmp_path / "mine.json", text)
    assert listed_or_itself(path) == [path]
    with pytest.raises(PipelineError, match="is no manifest of this pipeline") as refusal:
        files_of(path)
    assert "delete" not in str(refusal.value)
