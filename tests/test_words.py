"""Plain words: every docstring and every description of a field is a sentence that a new reader understands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PIPELINE = Path(__file__).parent.parent / "pipeline"

FEWEST_WORDS = 3
RIDDLES = ("Of", "As", "By", "To")
"""First words of a docstring that leaves its subject to the reader."""
ENDS = (".", "?", ":", "!")


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, those of fields and constants too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


def complaint(text: str) -> str | None:
    """What makes a docstring a fragment, or None where nothing does."""
    summary = " ".join(text.partition("\n\n")[0].split())
    words = summary.split()
    if len(words) < FEWEST_WORDS:
        return f"has fewer than {FEWEST_WORDS} words"
    if words[0] in RIDDLES:
        return f"begins with {words[0]}, so its subject is missing"
    if not summary.endswith(ENDS):
        return "ends without a full stop"
    return None


def fragments(path: Path) -> list[str]:
    """Every fragment of a file, with its place and the reason."""
    found = ((line, text, complaint(text)) for line, text in docstrings(path.read_text()))
    name = path.relative_to(PIPELINE)
    return [f"pipeline/{name}:{line}: {text.splitlines()[0]!r} {why}" for line, text, why in found if why]


def rooms() -> dict[str, list[Path]]:
    """Room (folder below `pipeline/`) or file directly in it → its Python files."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PIPELINE.rglob("*.py")):
        found.setdefault(path.relative_to(PIPELINE).parts[0], []).append(path)
    return found


@pytest.mark.parametrize("room", sorted(rooms()))
def test_no_docstring_is_a_fragment(room):
    found = [line for path in rooms()[room] for line in fragments(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Files.", "has fewer than 3 words"),
        ("Of features, before each layer of the projections.", "begins with Of"),
        ("By vid.", "has fewer than 3 words"),
        ("As the released archive has them.", "begins with As"),
        ("the files that are read", "ends without"),
    ],
)
def test_the_finder_finds_fragments(text, why):
    assert (complaint(text) or "").startswith(why)


def test_the_finder_lets_sentences_pass():
    assert complaint("Files that are read at the same time.") is None
    assert complaint("Dropout rate on the input features.\n\nfraction: 0 to 1") is None
    source = 'class A:\n    n: int = 1\n    """Files."""\n'
    assert [text for _line, text in docstrings(source)] == ["Files."]
