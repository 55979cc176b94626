"""Passports of feature stores: read back, compared, and never two kinds at once."""

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
"""Of a row."""


def passport_from(values: Mapping[str, Any], where: Path) -> Passport:
    """A passport out of a store's attributes or a JSON object.

    Raises PipelineError naming the fields it lacks, and the one that holds what no passport does: a family and an
    origin become parts of paths, and everything is printed.
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
    """The fields in which two passports differ, as `field: value of a ≠ value of b`."""
    left, right = asdict(a), asdict(b)
    return [f"{name}: {left[name]} ≠ {right[name]}" for name in left if left[name] != right[name]]


def one_passport(passports: Mapping[Path, Passport]) -> Passport:
    """The passport that all files have. Raises PipelineError naming two files and the fields in which they differ."""
    (first, passport), *rest = passports.items()
    for path, other in rest:
        if other != passport:
            raise PipelineError(
                f"and {first} are of two kinds: {'; '.join(passport_differences(other, passport))}",
                where=path,
                remedy="never mix them: extract one of the two again",
            )
    return passport
