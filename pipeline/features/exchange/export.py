"""Exports our stores in the layouts of the released archives, so that other codebases can read our features.

There is one file for each vid or qid, which is what Moment-DETR, UMT and their successors read. Beside the folders lies
`passports.json`. It says how each family was made, and `features import` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.exchange.archive_files import read_passports, write_passports, write_released
from pipeline.features.exchange.layouts import Layout, layouts_of, place_of
from pipeline.features.store import Entry, Store, open_stores
from pipeline.features.store.passports import passport_differences
from pipeline.nouns import counted


@dataclass(frozen=True)
class Exported:
    """The result of the export of one family.

    rounded: number of files whose rows lost digits, because the archives store float16.
    """

    family: str
    folder: Path
    n_files: int
    rounded: int

    def __str__(self) -> str:
        loss = f", {self.rounded} of them rounded to float16" if self.rounded else ""
        return f"{self.folder}: {counted(self.n_files, 'file')} of {self.family}{loss}"


def export(stores: Sequence[Path], dataset: str, output: Path) -> list[Exported]:
    """Write stores into `output` in the layout of a dataset's archives.

    stores: each is a file, or the folder of a family's shards.
    Raises PipelineError for a family that no layout has a place for, for an `output` that holds rows of the same family
    which were made in another way or have no passport, for values that the layout's dtype cannot hold, and for words
    without a pooled vector where the layout has a place for one.
    """
    done = []
    for path in stores:
        with open_stores(path) as store:
            layout = layouts_of(dataset, store.passport.family)[0]
            _sign(output, store.passport, layout)
            rounded = sum(_write(store, key, layout, output) for key in tqdm(store.keys(), unit="file", disable=None))
            if layout.shapes:
                _count_rows(store, output / layout.shapes)
            done.append(Exported(store.passport.family, layout.path(output, "x", "x").parent, len(store), rounded))
    return done


def _sign(output: Path, passport: Passport, layout: Layout) -> None:
    """Write the passport of a family before its first file is written.

    Raises PipelineError if `output` holds files of the family without a passport, because another program made them.
    """
    signed = read_passports(output)
    if others := [f for f in signed if f != passport.family and place_of(f) == place_of(passport.family)]:
        raise PipelineError(
            f"holds {others[0]} where {passport.family} would go", where=output, remedy="export into another folder"
        )
    unsigned = next(output.glob(layout.file.format(vid="*", qid="*")), None)
    if passport.family not in signed and unsigned is not None:
        raise PipelineError(
            f"holds {unsigned.relative_to(output)}, which no export of this pipeline wrote",
            where=output,
            remedy="export into another folder",
        )
    if differ := passport_differences(passport, signed.setdefault(passport.family, passport)):
        raise PipelineError(
            f"has {passport.family} with another passport: {'; '.join(differ)}",
            where=output,
            remedy="export into another folder",
        )
    write_passports(output, signed)


def _count_rows(store: Store, path: Path) -> None:
    """Write the JSON file that says how many rows each array has. Entries of other shards in it are kept."""
    before = files.read_json(path) if path.exists() else {}
    if not isinstance(before, dict):
        raise PipelineError("lists no numbers of rows", where=path, remedy="export into another folder")
    files.write_json(path, before | {key: store.n_rows(key) for key in store.keys()})  # noqa: SIM118 - no dict


def _write(store: Store, key: str, layout: Layout, output: Path) -> bool:
    """Write the file of one key. Returns whether its rows lost digits."""
    entry = store.entry(key)
    if layout.pooled and entry.pooled is None:
        raise PipelineError(
            f"{key} has no pooled vector, and the layout needs one ({layout.pooled})",
            where=f"features {store.passport.family}",
            remedy="extract it again",
        )
    cast = _cast(entry, layout.dtype)
    if not all(np.isfinite(array).all() for array in (cast.rows, cast.pooled) if array is not None):
        raise PipelineError(
            f"{key} holds values that {layout.dtype} cannot hold",
            where=f"features {store.passport.family}",
            remedy="look at this video's rows with `features inspect`; without its rows the archive is incomplete",
        )
    write_released(layout.path(output, key, key), layout, cast.rows, cast.pooled if layout.pooled else None)
    return not np.array_equal(cast.rows, entry.rows)


def _cast(entry: Entry, dtype: str) -> Entry:
    with np.errstate(over="ignore"):
        return Entry(entry.rows.astype(dtype), None if entry.pooled is None else entry.pooled.astype(dtype))
