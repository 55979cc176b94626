"""Reading a config: equal keys, words that YAML reads as booleans, a byte-order mark, and paths from a shell."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from made_configs import small

from pipeline import config, files, yaml_file
from pipeline.errors import PipelineError

ROOT = Path(__file__).resolve().parents[1]


def written(tmp_path, text, name="config.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: a\ntitle: b\n", "`title` is given twice, on lines 1 and 2"),
        ("experiments:\n  a: {table: 1}\n  b: {}\n  a: {table: 2}\n", "`experiments.a` is given twice, on lines 2"),
        ("experiments:\n  a:\n    sweep:\n      x: {}\n      'x': {}\n", "`experiments.a.sweep.x` is given twice, on"),
        ("sweep: {0.1: {}, '0.1': {}}\n", "`sweep.0.1` is given twice, on lines 1 and 1"),
        ("sweep: {1: {}, 1.0: {}}\n", "`sweep.1.0` is given twice, on lines 1 and 1"),
        ("datasets: {tvsum: {}, tvsum: {}}\n", "`datasets.tvsum` is given twice"),
        ("training:\n  tvsum:\n    epochs: 1\n    epochs: 2\n", "`training.tvsum.epochs` is given twice, on lines 3"),
        ("x: &x {a: 1}\ny:\n  <<: *x\n  b: 1\n  b: 2\n", "`y.b` is given twice, on lines 4 and 5"),
        ("x:\n- {a: 1, a: 2}\n", "`x.0.a` is given twice"),
        ("sweep: {on: {}, off: {}}\n", "`sweep.on` .line 1. is read by YAML as a truth value, .*; `sweep.off`"),
        ("experiments: {yes: {}}\n", "`experiments.yes` .line 1. is read by YAML as a truth value"),
        ("experiments: {null: {}}\n", "`experiments.null` .line 1. is read by YAML as nothing"),
        ('{\n\t"a": 1,\n\t"a": 2\n}', "`a` is given twice in one object"),
        ("[1, 2]", "holds no keys"),
        ("", "holds no keys"),
        ("a: [", "is no YAML"),
        ("a: 2026-02-31\n", "is no YAML"),
    ],
)  # fmt: skip
def test_nothing_that_is_written_is_lost_without_a_word(tmp_path, text, message):
    with pytest.raises(PipelineError, match=rf"config.yaml: {message}"):
        yaml_file.read(written(tmp_path, text))


@pytest.mark.parametrize("name", ["config.yaml", "config.json"])
def test_a_character_that_json_escapes_in_two_halves_is_named_by_its_line(tmp_path, name):
    path = written(tmp_path, '{"results": "r",\n "title": "\\ud83d\\ude00"}', name)
    with pytest.raises(
        PipelineError, match=rf"{name}, line 2: holds half a character: .* → write the character itself"
    ):
        yaml_file.read(path)


@pytest.mark.parametrize("half", [r'{"title": "\ud83d"}', r'{"\ude00": "title"}'])
def test_half_a_character_is_named_in_json_that_tabs_indent_and_after_config_too(tmp_path, half):
    said = "holds half a character: .* → write the character itself"
    with pytest.raises(PipelineError, match=rf"config.json: {said}"):
        yaml_file.read(written(tmp_path, f"\t{half}", "config.json"))
    with pytest.raises(PipelineError, match=rf"--config acquire: {said}"):
        yaml_file.with_entries({}, [f"acquire={half}"])
    whole = written(tmp_path, '\t{"title": "\\ud83d\\ude00"}', "config.json")
    assert yaml_file.read(whole) == {"title": "\N{GRINNING FACE}"}


@pytest.mark.parametrize("path", ["config.yaml", "workflow/profiles/demo/demo.yaml", "docs/table3/study.yaml"])
def test_our_configs_are_read_as_yaml_reads_them(path):
    assert yaml_file.read(ROOT / path) == yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_merged_keys_may_be_written_over_and_used_twice(tmp_path):
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, a: 3}\nz: *x\n"
    assert yaml_file.read(written(tmp_path, text))["y"] == {"a": 3, "b": 2}


def test_a_byte_order_mark_and_tabs_in_json_are_skipped(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(codecs.BOM_UTF8 + b'{\n\t"a": 1\n}')
    assert yaml_file.read(path) == {"a": 1}


def test_the_workflow_and_the_estimate_refuse_equal_keys(tmp_path):
    experiments_last = yaml.safe_dump({k: v for k, v in small().items() if k != "experiments"})
    text = experiments_last + "experiments:\n" + "  one: {dataset: tvsum, features: {video: [clip-vit-b32]}}\n" * 2
    path = written(tmp_path, text)
    for command in (["pipeline", "estimate", "--configfile"], ["snakemake", "--cores", "1", "-n", "--configfile"]):
        done = subprocess.run(
            [sys.executable, "-m", *command, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "`experiments.one` is given twice, on lines" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "training={tvsum: {epochs: 1}, tvsum: {epochs: 2}}"], "`training.tvsum` is given twice"),
        (["-C", "training={tvsum: {epochs: 1, epochs: 2}}", "-n"], "`training.tvsum.epochs` is given twice"),
        (["--config=training={tvsum: {epochs: 1, epochs: 2}}"], "`training.tvsum.epochs` is given twice"),
        (["t", "--config", "results=a", "title=b", "results=c"], "`results` is given twice after `--config`"),
        (["--config", "results=a", "b=c", "-n", "--config", "d=e"], "`--config` is given 2 times, .* drop results=a b"),
        (["--config", "results=a", "-C", "d=e"], "`--config` is given 2 times, .* drop results=a"),
        (["--configfile", "a.yaml", "--configfile", "b.yaml"], "`--configfile` is given 2 times, .* drop a.yaml"),
        (["--configfiles", "a.yaml", "--configfile=b.yaml"], "`--configfile` is given 2 times, .* drop a.yaml"),
        (["--configf", "a.yaml", "--configfile=b.yaml"], "`--configfile` is given 2 times, .* drop a.yaml"),
        (["-Cresults=a", "-Cd=e"], "`--config` is given 2 times, .* drop results=a"),
        (["-nCresults=a", "-pC", "d=e"], "`--config` is given 2 times, .* drop results=a"),
        (["-Ctraining={tvsum: {epochs: 1, epochs: 2}}"], "`training.tvsum.epochs` is given twice"),
    ],
)  # fmt: skip
def test_nothing_on_the_command_line_is_lost_without_a_word(arguments, message):
    with pytest.raises(PipelineError, match=rf"command line: {message}.* once"):
        yaml_file.check_command_line(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cores", "2", "table1", "--config", "results=a", "training={tvsum: {epochs: 1}, qvhighlights: {epochs: 2}}"],
        ["--configfile", "a.yaml", "b.yaml", "--config", "acquire={local: [a, a]}", "--", "--config", "results=b"],
        ["--config", "title={", "x=[[[", "--config-less", "a", "table1"],
        ["-sC", "-dC", "-nC", "results=a", "--cores=C"],
        ["--config"],
        [],
    ],
)
def test_a_plain_command_line_is_let_through(arguments):
    yaml_file.check_command_line(arguments)


def test_the_workflow_refuses_a_config_of_its_command_line_that_would_be_dropped(tmp_path):
    command = ["-n", "--config", f"results={tmp_path}", "title=a", "--config", "title=b"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"Snakemake would drop results={tmp_path} title=a" in done.stdout + done.stderr


@pytest.fixture
def somewhere(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("SCRATCH", "/scratch/x")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)


PATHS = {
    "results": lambda path: {"results": path},
    "acquire.local.0": lambda path: {"acquire": {"local": [path]}},
    "acquire.sources": lambda path: {"acquire": {"sources": path}},
}


@pytest.mark.usefixtures("somewhere")
@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("~/x", "/home/somebody/x"),
        ("~", "/home/somebody"),
        ("$SCRATCH/a", "/scratch/x/a"),
        ("${SCRATCH}_b", "/scratch/x_b"),
        ("a/$SCRATCH", "a//scratch/x"),
        ("a~b", "a~b"),
    ],
)
def test_every_path_is_what_a_shell_makes_of_it(key, path, whole):
    read = config.load(small() | PATHS[key](path))
    found = {"results": read.results, "acquire.local.0": read.acquire.local, "acquire.sources": read.acquire.sources}
    assert found[key] in (whole, [whole], os.path.normpath(whole))


@pytest.mark.usefixtures("somewhere")
@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("$UNSET/a", "the variable UNSET is not set here"),
        ("${UNSET}", "the variable UNSET is not set here"),
        ("$EMPTY/a", "the variable EMPTY is not set here"),
        ("a/$(id)", "holds a `[$]` that begins no variable"),
        ("a$", "holds a `[$]` that begins no variable"),
        ("~nobody-of-that-name/x", "names no home folder here"),
    ],
)
def test_a_path_that_a_shell_could_not_expand_is_refused_naming_the_key(key, path, message):
    with pytest.raises(PipelineError, match=rf"`{key}`: .*{message}"):
        config.load(small() | PATHS[key](path))


def test_what_a_variable_holds_is_not_expanded_again(monkeypatch):
    monkeypatch.setenv("ODD", "a$b")
    assert files.expanded("$ODD/c") == "a$b/c"
