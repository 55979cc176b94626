"""Passports of feature stores: read back, compared, and never two kinds at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.provenance import Passport


def passport_from(values: Mapping[str, Any], where: Path) -> Passport:
    """A passport out of a store's attributes or a JSON object. Raises PipelineError naming the fields it lacks."""
    missing = [entry.name for entry in fields(Passport) if entry.name not in values]
    if missing:
        raise PipelineError(
            f"has no passport of this pipeline (no {', '.join(missing)})",
            where=where,
            remedy="import the archive it came from, or extract again",
        )
    numbers = {"revision": int(values["revision"]), "dim": int(values["dim"])}
    return Passport(**{entry.name: values[entry.name] for entry in fields(Passport)} | numbers)


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
