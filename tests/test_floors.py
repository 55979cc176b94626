"""Data flows one way: a module imports only from floors below its own, and light commands import nothing heavy."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from heavy_packages import HEAVY

from pipeline import methods

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = "the settings of methods"
"""Modules that belong to the config, although they are beside the networks: the registry, and every `settings.py` in
`methods/`."""
FLOORS = (
    {
        "errors",
        "names",
        "nouns",
        "files",
        "limits",
        "locks",
        "records",
        "gpus",
        "devices",
        "programs",
        "progress",
        "board",
        "csv_file",
        "shards",
        "layout",
        "stages",
        "settings",
        "terminal",
        "grids",
        "ragged",
        "work_record",
        "version",
        "orphans",
        "spreadsheet",
        "memory",
        "seal",
        "snakemake_records",
        "targets",
    },
    {"datasets"},
    {
        "stage_requests",
        "recorded_settings",
        "config",
        "config_checks",
        "config_dataset",
        "config_experiment",
        "config_families",
        "config_layers",
        "config_names",
        "config_own",
        "families",
        "family",
        "library_models",
        "own_families",
        "manifests",
        "provenance",
        "stage_settings",
        "stale",
        "yaml_file",
        SETTINGS,
    },
    {"acquire"},
    {"video", "encoders"},
    {"features", "models", "evaluation"},
    {"methods"},
    {"training", "reporting", "cost"},
    {"released", "asking", "doctor"},
    {"cli", "commands", "demo", "__main__"},
)
ROOMS_OF_FEATURES = ("store", "making", "exchange", "looking")
"""The folders that read and write stores. None of the last three imports another. Other code uses them through
`features/stage.py`."""
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS, start=1) for room in rooms}


def imported(path):
    """Yield the rooms (or modules at the top) of `pipeline` that a file imports, except imports for annotations
    only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_annotations = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for part in ast.walk(node)
    }
    for node in set(ast.walk(tree)) - for_annotations:
        if isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            yield from (room_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline."):
            yield room_of(node.module.removeprefix("pipeline."))
        elif isinstance(node, ast.Import):
            yield from (room_of(a.name.removeprefix("pipeline.")) for a in node.names if a.name.startswith("pipeline."))


def room_of(module):
    """Return the room of a module. The name of the module has no `pipeline.`."""
    room, *rest = module.split(".")
    return SETTINGS if room == "methods" and (not rest or rest[-1] == "settings") else room


def test_every_module_imports_only_from_floors_below():
    upward = []
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        parts = path.relative_to(ROOT / "pipeline").with_suffix("").parts
        room = room_of(".".join(part for part in parts if part != "__init__"))
        if not room:
            continue
        for other in imported(path):
            same_room = other == room or FLOOR_OF[room] in (1, 3, len(FLOORS))
            if not same_room and FLOOR_OF[other] >= FLOOR_OF[room]:
                upward.append(f"{path.relative_to(ROOT)} → {other}")
    assert upward == []


def test_the_map_in_the_readme_has_every_room_on_its_floor():
    lines = re.findall(r"^\| (\d+) \| `([^`]+)`", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    on_the_map = [set() for _ in FLOORS]
    for floor, names in lines:
        on_the_map[int(floor) - 1] |= {name.rstrip("/") for name in names.split()}
    for shown, rooms in zip(on_the_map, FLOORS, strict=True):
        one_by_one = rooms - {SETTINGS, "__main__"}
        patterns = {name for name in shown if name.endswith("*")}
        assert shown - patterns <= one_by_one
        assert all(any(room == name or fnmatch(room, name) for name in shown) for room in one_by_one), one_by_one


def test_the_rooms_of_features_know_the_store_and_not_each_other():
    known = {}
    for room in ROOMS_OF_FEATURES:
        texts = [path.read_text(encoding="utf-8") for path in (ROOT / "pipeline/features" / room).glob("*.py")]
        found = {other for text in texts for other in re.findall(r"pipeline\.features\.(\w+)", text)}
        known[room] = found - {room}
    assert known == {"store": set(), "making": {"store"}, "exchange": {"store"}, "looking": {"store"}}


@pytest.mark.parametrize("module", ["cli", "evaluation", "methods", "methods.contract",
                                    "reporting.tables", "reporting.page.stage", "cost.estimate",
                                    "datasets", "acquire.annotations", "acquire.download",
                                    "features.stage", "training.stage", "video.account", "video.segment"])  # fmt: skip
def test_light_modules_import_nothing_heavy(module):
    code = f"import sys, pipeline.{module}; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_package_itself_imports_nothing_heavy_and_scores_without_torch():
    code = f"import sys, pipeline; from pipeline import evaluate; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_no_room_but_that_of_the_methods_knows_one_by_name():
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "pipeline").rglob("*.py")}
    outside = {path: text for path, text in texts.items() if "methods" not in path.relative_to(ROOT / "pipeline").parts}
    assert [str(path) for path, text in outside.items() for name in methods.METHODS if name in text] == []


def test_no_test_file_imports_another():
    """A file of tests imports no other one, because it may be cut, renamed or run alone. Code that several need is in
    another module."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    modules = {name.removesuffix(".py") for name in texts if name.startswith("test_")}
    # Also inside a string, where a test gives code to another process.
    imports = re.compile(r"\b(?:from|import)\s+(?:tests\.)?(" + "|".join(map(re.escape, sorted(modules))) + r")\b")
    assert [f"{name}: {found}" for name, text in sorted(texts.items()) for found in imports.findall(text)] == []


def test_the_files_that_begin_first_exist():
    from conftest import LONGEST_FIRST

    assert [name for name in LONGEST_FIRST if not (ROOT / "tests" / name).is_file()] == []
