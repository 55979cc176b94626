"""Remedies in error messages name only keys, commands, options, targets, files and switches that exist."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from pipeline import cli, config, gpus, methods, provenance
from pipeline.acquire import sources

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
QUOTED = re.compile(r"`([^`]+)`")
DOTTED = re.compile(r"\b(?:acquire|encoding|datasets|training|model|experiments)(?:\.[a-z_*{}]+)+(?!\()\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PROGRAMS = {
    "nvidia-smi -L",
    "mem_mb",
    "ulimit -v",
    "ulimit -f",
    "snakemake --unlock",
    "git lfs pull",
    "flock",
    "required",
    "optional",
}
PROGRAMS |= {"_", "-", ".", "$", "~", "pipeline"}
"""Names that are no keys of ours: programs, the mount option `flock`, values of the switch, characters, the package."""
ADVISES = re.compile(
    r"\b(add|correct|delete|extract|fetch|import|install|leave|make|name|pass|put|remove|rename|run|see|set|take|write)\b"
)
OF_SNAKEMAKE = {"--unlock"}
VALUES = {"random:SEED"}
FINDINGS = {"note", "problem", "kind", "Fault"}
"""Calls of the doctor, whose third argument is advice."""


def remedies() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of all advice: `remedy=` of a call and names that end in it, `{…}` for values."""
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        constants = {}
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.JoinedStr):
                constants |= {t.id: text_of(node.value) for t in node.targets if isinstance(t, ast.Name)}
        for node in ast.walk(tree):
            for value in advice_of(node):
                yield f"{path.relative_to(ROOT)}:{value.lineno}", text_of(value, constants)


def texts() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of all texts that quote something and tell the reader to do something. Errors of the
    config are raised as ValueError, yielded as complaints, or returned by a function."""
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        passed_over = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        passed_over |= {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in ast.walk(node)
            if part is not node
        }
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.JoinedStr) or (
                isinstance(node, ast.Constant) and isinstance(node.value, str)
            )
            if is_text and id(node) not in passed_over and "`" in text_of(node) and ADVISES.search(text_of(node)):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text_of(node)
    for path in [ROOT / "workflow/Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "→" in line and not line.lstrip().startswith("#"):
                yield f"{path.relative_to(ROOT)}:{number}", line


def advice_of(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.keyword) and node.arg == "remedy":
        return [node.value]
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in FINDINGS and len(node.args) >= 3:
        return [node.args[2]]
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and "remedy" in t.id.lower() for t in node.targets):
        return [node.value]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and "remedy" in node.target.id:
        return [node.value] if node.value else []
    return []


def text_of(node: ast.AST, constants: dict[str, str] | None = None) -> str:
    """Return the text of an expression. A value that is only known at run time is {…}."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return text_of(node.value, constants) if isinstance(node.value, ast.Name) else "{…}"
    if isinstance(node, ast.Name):
        return (constants or {}).get(node.id, "{…}")
    if isinstance(node, ast.IfExp):
        return f"{text_of(node.body, constants)} / {text_of(node.orelse, constants)}"
    if isinstance(node, ast.BinOp):
        return text_of(node.left, constants) + text_of(node.right, constants)
    return "{…}"


def models(kind: Any, seen: set[Any]) -> set[type[BaseModel]]:
    """Return every model that an annotation reaches."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
        seen.add(kind)
        return {kind}.union(*(models(field.annotation, seen) for field in kind.model_fields.values()))
    return set().union(*(models(inner, seen) for inner in get_args(kind)))


@cache
def config_keys() -> set[str]:
    sections = models(config.Config, set())
    for method in methods.METHODS:
        sections |= models(methods.settings_class(method), set())
    return {name for model in sections for name in model.model_fields}


def parsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield name, inner
                yield from parsers(inner)


@cache
def options() -> set[str]:
    root = cli.build_parser()
    every = [root, *(parser for _, parser in parsers(root))]
    return {option for parser in every for action in parser._actions for option in action.option_strings}


@cache
def commands() -> set[str]:
    return {name for name, _ in parsers(cli.build_parser())}


@cache
def targets() -> set[str]:
    text = "".join(p.read_text() for p in [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")])
    return set(re.findall(r"^rule (\w+):", text, re.MULTILINE))


def strange_parts(text: str) -> list[str]:
    """Return the names in a remedy that do not exist here."""
    keys, known_commands = config_keys(), commands()
    strange = [f"option {name}" for name in OPTION.findall(text) if name not in options() | OF_SNAKEMAKE]
    strange += [
        f"key {key}"
        for key in DOTTED.findall(text)
        for part in key.split(".")
        if part[0].isalpha() and part not in keys
    ]
    strange += [
        f"command {name}"
        for name in re.findall(r"python -m pipeline(?: --results \S+)? ([a-z-]+)", text)
        if name not in known_commands
    ]
    plain = keys | known_commands | targets() | set(provenance.STAGES) | set(sources.COLUMNS) | PROGRAMS | VALUES
    plain |= options() | {"extract"}
    for quoted in QUOTED.findall(text):
        first = re.split(r"[:=\s.]", quoted)[0]
        if (
            quoted not in plain
            and not quoted.startswith(("make ", "{…}"))
            and first not in keys | known_commands | options() | {gpus.SWITCH}
        ):
            strange.append(f"`{quoted}`")
    strange += [f"target {name}" for name in re.findall(r"`make (\w+)`", text) if f"\n{name}:" not in MAKEFILE]
    strange += [f"variable {name}" for name in re.findall(r"\b(TR_DETR_\w+)=", text) if name != gpus.SWITCH]
    strange += [
        f"file {name}"
        for name in re.findall(r"(?<![\w/.{}…])(?:config\.yaml|docs/\S+\.md|workflow/[\w/.-]+)", text)
        if not (ROOT / name).exists()
    ]
    return strange


@pytest.fixture(scope="module")
def found():
    return list(remedies())


def test_the_advice_of_every_part_is_found(found):
    assert len(found) > 150
    assert {place.split("/")[1] for place, _ in found} >= {"acquire", "features", "training", "video", "evaluation"}


def test_advice_names_what_exists(found):
    wrong = [f"{place}: {text!r}: {', '.join(strange)}" for place, text in found if (strange := strange_parts(text))]
    assert wrong == []


def test_all_texts_that_give_advice_name_what_exists():
    found = list(texts())
    assert len(found) > 60
    assert {place.split(":")[0] for place, _ in found} >= {"pipeline/config_checks.py", "workflow/rules/common.smk"}
    wrong = [f"{place}: {text!r}: {', '.join(strange)}" for place, text in found if (strange := strange_parts(text))]
    assert wrong == []


@pytest.mark.parametrize(
    "advice",
    [
        "set `no_such_key: true`",
        "name it under acquire.locale",
        "pass --no-such-option",
        "run `make no_such_target`",
        "run `no-such-command`",
        "python -m pipeline fetsh x",
        "set TR_DETR_CPU=1",
        "see docs/no-such-page.md",
    ],
)
def test_advice_that_names_nothing_would_be_found(advice):
    assert strange_parts(advice)
