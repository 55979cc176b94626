"""Single files of released feature archives, read and written; and the passports of archives that we exported.

Nothing in a file is unpickled. A reader says why a file is no good; whether that matters is its caller's affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, Passport
from pipeline.features.exchange.array_files import read_npy, read_npz
from pipeline.features.exchange.layouts import Layout
from pipeline.features.store.passports import passport_from

DEPTHS = ("", "*/", "*/*/", "*/*/*/")
"""Archives have what marks their top there, or below up to three more folders."""

PASSPORTS = "passports.json"
"""At the top of an archive that we exported: family → passport, so that what we made never passes for published."""


def find_top(folder: Path, layouts: Sequence[Layout]) -> tuple[Path, Layout]:
    """The archive's top below the folder it was unpacked into, and which of the layouts it has.

    Raises PipelineError where it has none, and where two folders look alike.
    """
    for depth in DEPTHS:
        for layout in layouts:
            tops = sorted({found.parent for found in folder.glob(f"{depth}{layout.marker}")})
            if len(tops) > 1:
                raise PipelineError(
                    f"{', '.join(top.name for top in tops)} all hold {layout.marker}",
                    where=folder,
                    remedy="keep one of them, or name it as the folder",
                )
            if tops:
                return tops[0], layout
    raise PipelineError(
        f"holds no {' or '.join(layout.marker for layout in layouts)}",
        where=folder,
        remedy="name the folder that the archive was unpacked into",
    )


def read_passports(top: Path) -> dict[str, Passport]:
    """Passports of an archive that we exported, by family; empty for everybody else's. Raises PipelineError."""
    path = top / PASSPORTS
    content = files.read_json(path) if path.exists() else {}
    try:
        return {f: _of_family(passport_from(values, path), f, path) for f, values in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise PipelineError(f"lists no passports ({error})", where=path, remedy="export again") from error


def _of_family(passport: Passport, family: str, path: Path) -> Passport:
    if passport.family != family or family not in FAMILIES:
        why = f"lists `{family[:80]}` with a passport of `{passport.family}`, and knows of no such family"
        raise PipelineError(why, where=path, remedy="export again")
    return passport


def write_passports(top: Path, passports: Mapping[str, Passport]) -> None:
    """Sign what is exported."""
    files.write_json(top / PASSPORTS, {family: asdict(passport) for family, passport in passports.items()})


def read_released(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows [n, dim] of one released file, as stored, and the pooled vector [dim] if it has one (no network reads it).

    Raises ValueError with the reason for a file that cannot be read or has no such rows.
    """
    try:
        if layout.every:
            return _read_frames(path, layout.every), None
    except (OSError, MemoryError) as error:
        raise ValueError(f"cannot be read ({error})") from error
    if not path.is_file():
        raise ValueError("is no file")
    if not layout.rows:
        return read_npy(path), None
    arrays = read_npz(path, (layout.rows, layout.pooled))
    if layout.rows not in arrays:
        raise ValueError(f"has no array {layout.rows}")
    return arrays[layout.rows], arrays[layout.pooled].reshape(-1) if layout.pooled in arrays else None


def write_released(path: Path, layout: Layout, rows: np.ndarray, pooled: np.ndarray | None) -> None:
    """Write one file as the archives have it: rows [n, dim] and, where the layout has a place for it, pooled [dim]."""
    with files.atomic_path(path) as partial:
        if not layout.rows:
            np.save(partial, rows, allow_pickle=False)
        elif pooled is None:
            np.savez(partial, **{layout.rows: rows})  # type: ignore[arg-type]
        else:
            np.savez(partial, **{layout.rows: rows, layout.pooled: pooled.reshape(layout.pooled_shape)})  # type: ignore[arg-type]


def _read_frames(folder: Path, every: int) -> np.ndarray:
    """Rows float32 [n, dim] of a folder with a text file per row: `{vid}-000001.txt` and every n-th after it."""
    found = sorted((int(path.stem.rpartition("-")[2]), path) for path in folder.glob("*.txt"))
    for position, (number, path) in enumerate(found):
        if number != 1 + every * position:
            raise ValueError(f"has no frame {1 + every * position} before {path.name}")
    rows = [_numbers(path) for _, path in found]
    if not rows:
        raise ValueError("holds no text file of a frame")
    if odd := next((path.name for (_, path), row in zip(found, rows, strict=True) if len(row) != len(rows[0])), None):
        raise ValueError(f"{odd} has another length than the frames before it")
    return np.stack(rows)


def _numbers(path: Path) -> np.ndarray:
    try:
        return np.array(path.read_bytes().split(), np.float32)
    except ValueError as error:
        raise ValueError(f"{path.name} holds no numbers ({error})") from error
