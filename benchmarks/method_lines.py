"""Counts the lines of each method, and computes which share of the lines that it runs on is its own.

    python benchmarks/method_lines.py

A line counts if a piece of code begins or ends on it: blank lines, comments and docstrings do not. *own* are the lines
of the method's folder. *shared* are the lines of the modules of `pipeline/methods` and `pipeline/models` that the
folder imports, and of those that these import. The layouts and golden sets of a release (`release.py`, `golden.py`)
have a column of their own, because a training does not need them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
METHODS = ROOT / "pipeline/methods"
SHARED = ("pipeline.methods", "pipeline.models")
OF_RELEASES = ("release", "golden")


def main() -> None:
    """Print the table."""
    print("| method | own | shared | own share | releases |\n|:--|--:|--:|--:|--:|")
    for folder in sorted(path.parent for path in METHODS.glob("*/settings.py")):
        files = [path for path in folder.glob("*.py") if path.stem not in OF_RELEASES]
        own = sum(code_lines(path) for path in files)
        shared = sum(code_lines(path) for path in reached(files) if path.parent != folder)
        releases = sum(code_lines(path) for path in folder.glob("*.py") if path.stem in OF_RELEASES)
        print(f"| {folder.name} | {own} | {shared} | {100 * own / (own + shared):.0f} % | {releases} |")


@cache
def code_lines(path: Path) -> int:
    """Return the number of lines with code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    words = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    held = {
        line
        for node in ast.walk(tree)
        if hasattr(node, "lineno")
        for line in (node.lineno, getattr(node, "end_lineno", node.lineno))
    }
    return len(held - words)


def reached(files: list[Path]) -> set[Path]:
    """Return the files of methods and models that these files import, directly or through other files."""
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imported(path)
    return found


def imported(path: Path) -> Iterator[Path]:
    """Yield the files of shared modules that a file imports by name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(SHARED):
            module = ROOT.joinpath(*node.module.split("."))
            named = [module / f"{alias.name}.py" for alias in node.names]
            yield from filter(Path.is_file, [module.with_suffix(".py"), *named])


if __name__ == "__main__":
    main()
