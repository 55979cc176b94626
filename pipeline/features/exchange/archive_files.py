"""Reads and writes single files of released feature archives, and the passports of archives that we exported.

Nothing is unpickled. A function that reads a file raises ValueError with the reason if the file is unusable. The caller
decides whether that is an error.
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
"""Patterns of folders above an archive's top. Some archives were packed with up to three folders around the top."""

PASSPORTS = "passports.json"
"""Name of a file at the top of an archive that we exported. It maps each family to its passport.

Because of this file, features that we made are never taken for published ones when the archive is imported again.
"""


def find_top(folder: Path, layouts: Sequence[Layout]) -> tuple[Path, Layout]:
    """Find the archive's top below the folder that it was unpacked into. Returns the top and the layout that it has.

    Raises PipelineError if no folder has one of the layouts, and if several folders have one.
    """
    for depth in DEPTHS:
        for layout in layouts:
            tops = sorted({found.parent for found in folder.glob(f"{depth}{layout.marker}")})
            if len(tops) > 1:
                raise PipelineError(
                    f"{', '.join(top.name for top in tops)} all hold {layout.marker}",
                    where=folder,
                    remedy="keep one of them, or name one of them as the folder",
                )
            if tops:
                return tops[0], layout
    raise PipelineError(
        f"holds no {' or '.join(layout.marker for layout in layouts)}",
        where=folder,
        remedy="name the folder that the archive was unpacked into",
    )


def read_passports(top: Path) -> dict[str, Passport]:
    """Read the passports of an archive that we exported, by family. The result is empty for any other archive.

    Raises PipelineError if the file with the passports is damaged.
    """
    path = top / PASSPORTS
    content = files.read_json(path) if path.exists() else {}
    try:
        return {f: _of_family(passport_from(values, path), f, path) for f, values in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise PipelineError(f"lists no passports ({error})", where=path, remedy="export again") from error


def _of_family(passport: Passport, family: str, path: Path) -> Passport:
    if passport.family != family or family not in FAMILIES:
        why = f"lists `{family[:80]}` with a passport of `{passport.family}`, which is no family of this pipeline"
        raise PipelineError(why, where=path, remedy="export again")
    return passport


def write_passports(top: Path, passports: Mapping[str, Passport]) -> None:
    """Write the passports of all exported families to the top of an archive."""
    files.write_json(top / PASSPORTS, {family: asdict(passport) for family, passport in passports.items()})


def read_released(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    """Read one released file. Returns its rows [n, dim] in the stored dtype, and its pooled vector [dim] or None.

    No network here uses the pooled vector. It is kept for exports.
    Raises ValueError with the reason if the file cannot be read or does not hold such rows.
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
    """Write one file in the layout of an archive: rows [n, dim] and, if the layout has a place for it, pooled [dim]."""
    with files.atomic_path(path) as partial:
        if not layout.rows:
            np.save(partial, rows, allow_pickle=False)
        elif pooled is None:
            np.savez(partial, **{layout.rows: rows})  # type: ignore[arg-type]
        else:
            np.savez(partial, **{layout.rows: rows, layout.pooled: pooled.reshape(layout.pooled_shape)})  # type: ignore[arg-type]


def _read_frames(folder: Path, every: int) -> np.ndarray:
    """Read the rows float32 [n, dim] of a folder that holds one text file for each row.

    The files are `{vid}-000001.txt` and every n-th frame after it, where n is `every`. Raises ValueError if a frame is
    missing and if a file has another length.
    """
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
