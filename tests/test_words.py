"""Plain words: every docstring and every description of a field is a sentence that a new reader understands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("pipeline", "benchmarks", "tests")

FEWEST_WORDS = 3
RIDDLES = ("Of", "As", "By", "To", "What", "Which", "Whose", "Whether", "Those", "Who", "Where", "How")
"""First words of a docstring that leaves its subject to the reader."""
NO_VERBS = ("The", "A", "An", "All", "Every", "Each", "One", "Two", "Three", "Both", "Some", "Another", "Number")
"""First words with which the docstring of a function does not say what the function does. It begins with a verb."""
ENDS = (".", "?", ":", "!")


def docstrings(source: str) -> Iterator[tuple[int, str, bool]]:
    """Yield line and text of every docstring, also of fields and constants, and whether it is that of a function.

    Properties and tests do not count as functions here: a property is read like a field, and a test has no docstring or
    one that states a fact.
    """
    tree = ast.parse(source)
    of_functions = {node.body[0] for node in ast.walk(tree) if is_function(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip(), node in of_functions


def is_function(node: ast.AST) -> bool:
    """Tell whether this defines a function that is neither a property nor a test."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("test_"):
        return False
    return not any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def complaint(text: str, of_function: bool = False) -> str | None:
    """Return why a docstring is a fragment, or None if it is none."""
    summary = " ".join(text.partition("\n\n")[0].split())
    words = summary.split()
    if len(words) < FEWEST_WORDS:
        return f"has fewer than {FEWEST_WORDS} words"
    if words[0].strip(",:") in RIDDLES:
        return f"begins with {words[0]}, so its subject is missing"
    if of_function and words[0] in NO_VERBS:
        return f"begins with {words[0]}, and a function's docstring begins with a verb"
    if not summary.endswith(ENDS):
        return "ends without a full stop"
    return None


def fragments(path: Path) -> list[str]:
    """Return every fragment of a file, with its place and the reason."""
    found = (
        (line, text, complaint(text, of_function)) for line, text, of_function in docstrings(path.read_text("utf-8"))
    )
    name = path.relative_to(ROOT)
    return [f"{name}:{line}: {text.splitlines()[0]!r} {why}" for line, text, why in found if why]


def rooms() -> dict[str, list[Path]]:
    """Return the Python files of each folder below `pipeline/`, and of `pipeline`, `benchmarks` and `tests`."""
    found: dict[str, list[Path]] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).parts[:-1]
            found.setdefault("/".join(parts[:2]), []).append(path)
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
        ("What the lock of a demo stands beside.", "begins with What"),
        ("Whether a run can have that name.", "begins with Whether"),
        ("the files that are read", "ends without"),
    ],
)
def test_the_finder_finds_fragments(text, why):
    assert (complaint(text) or "").startswith(why)


def test_the_finder_wants_a_verb_of_functions_only():
    source = '''
def weights():
    """The weights of a run."""

class A:
    """The weights of a run."""

    @property
    def weights(self):
        """The weights of a run."""

def test_weights():
    """The weights of a run."""
'''
    found = [complaint(text, of_function) for _line, text, of_function in docstrings(source)]
    assert [why for why in found if why] == ["begins with The, and a function's docstring begins with a verb"]


def test_the_finder_lets_sentences_pass():
    assert complaint("Files that are read at the same time.") is None
    assert complaint("Dropout rate on the input features.\n\nfraction: 0 to 1") is None
    assert complaint("Return the weights of a run.", of_function=True) is None
    source = 'class A:\n    n: int = 1\n    """Files."""\n'
    assert [text for _line, text, _of_function in docstrings(source)] == ["Files."]
