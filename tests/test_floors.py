"""Data flows one way: a module imports only from floors below its own, and light commands import nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = (
    {"errors", "files", "records", "devices", "shards", "layout"},
    {"config", "provenance", "stale"},
    {"acquire"},
    {"datasets", "video", "encoders"},
    {"features", "models", "evaluation"},
    {"training", "reporting", "cost"},
    {"cli", "commands", "demo", "__main__"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS, start=1) for room in rooms}
HEAVY = (
    "torch",
    "torchvision",
    "open_clip",
    "pytorchvideo",
    "scipy",
    "av",
    "decord",
    "matplotlib",
    "gensim",
    "librosa",
)


def imported(path):
    """Rooms (or modules at the top) of `pipeline` that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pipeline."))


def test_every_module_imports_only_from_floors_below():
    upward = []
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        room = path.relative_to(ROOT / "pipeline").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for other in imported(path):
            same_room = other == room or FLOOR_OF[room] in (1, 2, 7)
            if not same_room and FLOOR_OF[other] >= FLOOR_OF[room]:
                upward.append(f"{path.relative_to(ROOT)} → {other}")
    assert upward == []


@pytest.mark.parametrize("module", ["cli", "evaluation", "reporting.tables", "cost.estimate",
                                    "datasets.annotations", "acquire.download",
                                    "features.stage", "training.stage", "video.account", "video.segment"])  # fmt: skip
def test_light_modules_import_nothing_heavy(module):
    code = f"import sys, pipeline.{module}; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
