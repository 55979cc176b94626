"""Reads the passports of feature stores, compares them, and refuses to mix rows of two passports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pipeline import names
from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.grids import GRIDS, is_grid

DTYPES = ("float16", "float32")

MOST_NUMBERS = 1 << 20
"""The largest accepted number of columns (`dim`) and the largest accepted revision in a passport."""


def passport_from(values: Mapping[str, Any], where: Path) -> Passport:
    """Read a passport from a store's attributes or from a JSON object.

    where: the file, for errors.
    Raises PipelineError if fields are missing, and if a field holds a value that is not allowed. The values are checked
    because family and origin become parts of paths, and because all fields are printed on a terminal.
    """
    missing = [entry.name for entry in fields(Passport) if entry.name not in values]
    if missing:
        raise PipelineError(
            f"has no passport of this pipeline (no {', '.join(missing)})",
            where=where,
            remedy="import the archive it came from, or extract again",
        )
    remedy = "it was made or changed by another program: import the archive it came from, or extract again"
    passport = Passport(
        family=names.word(values["family"], "its `family`", where, remedy),
        revision=_whole(values["revision"], "revision", where, remedy),
        origin=names.word(values["origin"], "its `origin`", where, remedy),
        weights=names.one_line(values["weights"], "its `weights`", where, remedy),
        grid=names.one_line(values["grid"], "its `grid`", where, remedy),
        dim=_whole(values["dim"], "dim", where, remedy),
        dtype=names.one_line(values["dtype"], "its `dtype`", where, remedy),
        preprocessing=names.one_line(values["preprocessing"], "its `preprocessing`", where, remedy),
    )
    for name, known in (("grid", (*GRIDS, "tokens")), ("dtype", DTYPES)):
        if (found := getattr(passport, name)) not in known and not (name == "grid" and is_grid(found)):
            raise PipelineError(
                f"its `{name}` is `{found[:80]}`, none of {', '.join(dict.fromkeys(known))}", where=where, remedy=remedy
            )
    return passport


def _whole(value: Any, name: str, where: Path, remedy: str) -> int:
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        found = -1
    if not 0 < found <= MOST_NUMBERS:
        raise PipelineError(f"its `{name}` is no number from 1 to {MOST_NUMBERS:,}", where=where, remedy=remedy)
    return found


def passport_differences(a: Passport, b: Passport) -> list[str]:
    """Return the fields in which two passports differ, each as `field: value of a ≠ value of b`."""
    left, right = asdict(a), asdict(b)
    return [f"{name}: {left[name]} ≠ {right[name]}" for name in left if left[name] != right[name]]


def one_passport(passports: Mapping[Path, Passport]) -> Passport:
    """Return the passport that all files have in common.

    Raises PipelineError if two files have different passports. The error names both files and the fields that differ.
    """
    (first, passport), *rest = passports.items()
    for path, other in rest:
        if other != passport:
            raise PipelineError(
                f"has another passport than {first}: {'; '.join(passport_differences(other, passport))}",
                where=path,
                remedy="never mix them: extract one of the two again",
            )
    return passport
