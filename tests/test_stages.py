"""One table defines the stages. Settings that do not fit are refused before anything is written."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from pipeline import provenance, stage_requests, stage_settings
from pipeline.cli import main
from pipeline.commands.arguments import ABOUT, build_parser
from pipeline.settings import Strict
from pipeline.stages import STAGES

ROOT = Path(__file__).resolve().parents[1]
DATASET = {"annotations": {"train": "a", "val": "b"}}
EXPERIMENT = {
    "dataset": "qvhighlights",
    "features": {"video": ["clip-vit-b32"]},
    "model": {"name": "tr_detr"},
    "training": {},
}
SECTIONS = {
    "acquire": {},
    "clip": "1s",
    "grids": ["1s", "1-6s"],
    "dataset": DATASET,
    "families": ["clip-vit-b32"],
    "encoding": {},
    "experiment": EXPERIMENT,
    "experiments": {"x": EXPERIMENT},
    "sample": 0.5,
    "skip": ["a"],
    "title": "T",
}
VALUES = {"dataset": "qvhighlights", "split": "val", "reader": "frames224", "table": "table1", "shard": "00000"}


def fitting(stage):
    """Return settings that fit a stage, with every key."""
    return {key: SECTIONS[key] for key in STAGES[stage].settings_class().model_fields}


def command(stage, settings, manifest):
    """Return a command line of a stage with every option that it needs."""
    row = STAGES[stage]
    flags = {key: (ABOUT[key][0], VALUES.get(key, "x")) for key in row.about}
    flags["part"] = ("--part", "1of1") if "part" in flags else None
    words = [*([row.group] if row.group else []), row.name]
    for flag, value in filter(None, flags.values()):
        words += [flag, value] if flag.startswith("--") else [value]
    for one in row.inputs:
        words += [f"--{one.name}", "none.json"]
    return [*words, "--settings", settings, "--manifest", str(manifest)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_the_table_has_a_command_a_revision_settings_and_a_function(stage):
    row = STAGES[stage]
    module, _, name = row.function.partition(":")
    assert callable(getattr(import_module(module), name))
    assert provenance.STAGES[stage] == row.revision
    assert issubclass(row.settings_class(), Strict)
    assert callable(getattr(stage_requests, "import_archive" if stage == "import" else stage))
    options = build_parser().parse_args(command(stage, "{}", "m.json"))
    assert options.stage == stage


@pytest.mark.parametrize("stage", STAGES)
def test_settings_are_the_same_after_they_were_written_and_read(stage):
    settings = stage_settings.read(stage, json.dumps(fitting(stage)))
    assert stage_settings.read(stage, stage_settings.write(settings)) == settings


@pytest.mark.parametrize("stage", STAGES)
def test_an_unknown_key_is_refused_by_every_stage_and_no_manifest_is_written(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = tmp_path / "m.json"
    with pytest.raises(SystemExit) as end:
        main(command(stage, json.dumps(fitting(stage) | {"familes": []}), manifest))
    assert "--settings: `familes` is an unknown key" in str(end.value)
    assert not manifest.exists()


REQUIRED = [
    (s, k) for s in STAGES for k, field in STAGES[s].settings_class().model_fields.items() if field.is_required()
]


@pytest.mark.parametrize(("stage", "key"), REQUIRED)
def test_a_key_that_is_needed_is_named(stage, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = fitting(stage)
    del settings[key]
    with pytest.raises(SystemExit) as end:
        main(command(stage, json.dumps(settings), tmp_path / "m.json"))
    assert f"`{key}` is missing" in str(end.value)
    assert "pass a JSON object with `" in str(end.value)
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("stage", ["extract", "import"])
@pytest.mark.parametrize("families", [[], ["clip-vit-b23"], "clip-vit-b32", None])
def test_a_stage_that_makes_stores_makes_one_at_least(stage, families, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(command(stage, json.dumps(fitting(stage) | {"families": families}), tmp_path / "m.json"))
    assert "--settings: `families" in str(end.value)
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"dataset": 1', "\x00"])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(SystemExit) as end:
        main(command("train", text, "m.json"))
    assert str(end.value).startswith("train: --settings: ")


@pytest.mark.parametrize(
    ("grids", "why"), [([], "at least 1 item"), (["30s"], "no such clip grid"), ("2s,1s", "valid array")]
)
def test_segment_takes_grids_that_there_are(grids, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(command("segment", json.dumps({"grids": grids}), tmp_path / "m.json"))
    assert "--settings: `grids" in str(end.value)
    assert why in str(end.value)
    assert not (tmp_path / "m.json").exists()


def test_segment_records_each_grid_once_and_sorted():
    read = stage_settings.read("segment", json.dumps({"grids": ["2s", "1-6s", "2s"]}))
    assert read.model_dump(mode="json") == {"grids": ["1-6s", "2s"], "clip": "2s"}
