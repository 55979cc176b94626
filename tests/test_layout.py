"""One folder of the code knows all paths and all names of runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.layout import LOGS, MANIFESTS, Layout, queries_path_of, results_folder_of
from pipeline.layout.places import AnnotationFile, MetricsFile, PredictionFile, RunFile, StorePlace
from pipeline.layout.runs import CARD, EPOCHS, RunId, runs_below

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "pipeline" / "layout"
FOLDERS = {pattern.split("/")[0] for pattern in (*MANIFESTS.values(), *LOGS.values())}
FOLDERS |= {"files", "benchmark", "one_clip", "inspect"}
"""Names of folders below a results folder, or below one of these folders."""

RUNS = {
    "all-s2017": RunId(2017),
    "VT-s0": RunId(0, "VT"),
    "a-all-s1": RunId(1, point="a"),
    "0.25-GA-s9223372036854775807": RunId(2**63 - 1, "GA", "0.25"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_and_its_name_say_the_same(name):
    assert RunId.parse(name) == RUNS[name]
    assert str(RUNS[name]) == name


@pytest.mark.parametrize("name", ["", "all", "all-2017", "s2017", "a-b-all-s1", "all-s-1", "../all-s1", "all-s1/x"])
def test_what_is_no_name_of_a_run_is_refused(name):
    with pytest.raises(PipelineError, match="not the name of a run"):
        RunId.parse(name)


def test_a_run_finds_the_results_folder_that_it_lies_in_also_from_within(tmp_path, monkeypatch):
    layout = Layout(tmp_path)
    run = layout.run("seen", "all-s1")
    run.mkdir(parents=True)
    (run / CARD).touch()
    layout.manifest("runs", experiment="seen", part="1of1").touch()
    layout.manifest("runs", experiment="seen_too", part="1of1").touch()
    assert results_folder_of(run) == tmp_path
    monkeypatch.chdir(run)
    assert results_folder_of(Path()) == tmp_path
    assert results_folder_of(tmp_path / "copied" / "all-s1") is None
    assert layout.parts("seen") == [layout.manifest("runs", experiment="seen", part="1of1")]
    assert runs_below(tmp_path) == runs_below(run) == [run]
    assert runs_below(tmp_path / "nowhere") == []


def test_the_place_of_a_prediction_or_metrics_file_says_whose_it_is():
    layout = Layout(Path("somewhere/results"))
    for epoch in EPOCHS:
        predicted = layout.predictions("x", "0.5-all-s1", "val", epoch)
        scored = layout.metrics("x", "0.5-all-s1", "val", epoch)
        assert PredictionFile.of(predicted) == PredictionFile("x", "0.5-all-s1", "val", epoch)
        assert MetricsFile.of(scored) == MetricsFile("x", "0.5-all-s1", "val", epoch)
    assert PredictionFile.of(layout.log("x", "all-s1")) is None
    assert RunFile.of(predicted) == RunFile("x", "0.5-all-s1")
    assert MetricsFile.of(queries_path_of(scored)) is None
    assert RunFile.of(layout.log("x", "all-s1")) == RunFile("x", "all-s1")
    assert AnnotationFile.of(layout.annotations("tvsum", "val")) == AnnotationFile("tvsum", "val")
    assert AnnotationFile.of(predicted) is None


@pytest.mark.parametrize("results", ["runs", "runs/x", "annotations", "x/annotations/y", "metrics/x", "predictions"])
def test_a_results_folder_may_have_the_name_of_any_folder_below_it(results):
    layout = Layout(Path(results))
    others = [
        layout.annotations("tvsum", "val"),
        layout.account("tvsum", "00000"),
        layout.store("tvsum", StorePlace("clip-text", "tokens"), "00000"),
        layout.manifest("metrics", experiment="x", split="val"),
        layout.learning_curves("x"),
    ]
    of_run = [layout.log("x", "all-s1"), layout.predictions("x", "all-s1", "val", "last")]
    scored = layout.metrics("x", "all-s1", "val", "last")
    assert [RunFile.of(path) for path in (*of_run, *others, scored)] == [RunFile("x", "all-s1")] * 2 + [None] * 6
    assert [PredictionFile.of(path) for path in (*others, scored)] == [None] * 6
    assert [MetricsFile.of(path) for path in (*others, *of_run)] == [None] * 7
    assert [AnnotationFile.of(path) for path in (*others[1:], *of_run, scored)] == [None] * 7


def test_a_store_is_found_by_the_whole_names_of_its_folders_never_by_a_part_of_a_path():
    layout = Layout(Path("results/2s/clip-vit-b32"))  # a results folder that is named like a family's
    places = [
        StorePlace("clip-vit-b32", "2s"),
        StorePlace("clip-vit-b32", "1s"),
        StorePlace("clip-vit-b32", "2s", "archive"),
        StorePlace("clip-text", "tokens"),
    ]
    paths = {place: layout.store("qvhighlights", place, "00000") for place in places}
    for place, path in paths.items():
        assert place.stores_among([*paths.values(), path.with_suffix(".csv")]) == [path]


def test_every_manifest_that_exists_is_found(tmp_path):
    layout = Layout(tmp_path)
    values = {"name": "n", "dataset": "d", "split": "val", "shard": "00000", "reader": "sound"}
    values |= {"experiment": "e", "part": "1of1", "table": "table1"}
    made = {layout.manifest(kind, **values) for kind in MANIFESTS}
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    layout.account("d", "00000").touch()
    for beside in (layout.own_dataset("d"), layout.own_durations("d")):
        beside.touch()
    assert set(layout.manifests()) == made


def texts_in(node):
    """Return the literal texts of an expression: of a string, of an f-string, and of the expressions in it."""
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def built_by_hand(source):
    """Yield the expressions of a module that make a path below a results folder, or split the name of a run."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            if any(text.strip("/").split("/")[0] in FOLDERS for text in texts_in(node.right)):
                yield ast.unparse(node)
        elif isinstance(node, ast.JoinedStr):
            if any(f"/{folder}/" in ast.unparse(node) for folder in FOLDERS):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            takes_apart = node.func.attr in ("split", "rsplit", "partition", "rpartition", "startswith")
            if takes_apart and any(text in ("-", "-s") for text in texts_in(node)):
                yield ast.unparse(node)


OTHER_NAMES = {
    "pipeline/features/exchange/archive_files.py: path.stem.rpartition('-')": "a released text, `{vid}-{number}.txt`",
    "pipeline/acquire/transfer.py: response.headers.get('Content-Range', '').startswith((f'bytes {partial.size}-', "
    "'bytes */'))": "what a server sends",
    "pipeline/acquire/parts.py: response.headers.get('Content-Range', '')"
    ".startswith(f'bytes {first}-{last}/')": "what a server sends",
    "pipeline/yaml_file.py: argument.startswith('-')": "an option of the command line",
    "benchmarks/table3_curves.py: table.stem.rpartition('-s')": "a table of docs/table3",
    "benchmarks/start_up.py: Path(scratch) / 'videos'": "videos that the benchmark makes, beside the results",
}
"""Expressions that only look like a path below the results or the name of a run."""


@pytest.mark.parametrize("room", ["pipeline", "benchmarks"])
def test_no_other_module_builds_a_path_below_the_results_or_takes_a_run_apart(room):
    found = {
        f"{path.relative_to(ROOT)}: {expression}"
        for path in (ROOT / room).rglob("*.py")
        if HOME not in path.parents
        for expression in built_by_hand(path.read_text(encoding="utf-8"))
    }
    assert found - OTHER_NAMES.keys() == set()


def test_no_rule_builds_a_path_below_the_results():
    pattern = re.compile(rf"""["'}}/]({"|".join(sorted(FOLDERS))})/""")
    for path in (ROOT / "workflow").rglob("*.smk"):
        code = re.sub(r'"""[\s\S]*?"""', "", path.read_text(encoding="utf-8"))
        assert not pattern.search(code), path


@pytest.mark.parametrize(
    "line",
    [
        'results / "runs" / name',
        'Path(results) / "annotations" / f"{split}.jsonl"',
        'f"{results}/features/{dataset}"',
        'run.rsplit("-s", 1)',
        'run.startswith(f"{point}-")',
        'RESULTS / f"resources/{name}/fetch.json"',
    ],
)
def test_what_builds_such_a_path_is_seen(line):
    assert list(built_by_hand(line))
