"""Reads every file of a family in a released archive once, and checks it against the annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from pipeline import progress, records
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, Passport
from pipeline.features.exchange.archive_files import find_top, read_passports, read_released
from pipeline.features.exchange.layouts import Layout, layouts_of, place_of
from pipeline.features.store.passports import passport_differences
from pipeline.grids import grid_seconds, n_clips
from pipeline.nouns import counted

GRID_OFF = 0.1
"""The largest accepted difference between the configured clip length and that of the files, as a share of the former.

A larger one is refused, because training on a wrong grid gives no error (docs/features.md, "Alignment and tolerances").
"""

ROWS_OFF = ("", "one row off", "two rows off")
"""The finding for a file that has 0, 1 or 2 rows more or fewer than its video has clips, if its layout allows that."""


@dataclass(frozen=True)
class Finding:
    """A problem of one file.

    finding: `missing`, `broken` or `length` if the file is skipped, or one of `ROWS_OFF` if it is kept.
    file: path of the file below the archive's top.
    """

    family: str
    key: str
    vid: str
    finding: str
    file: str
    detail: str

    @property
    def is_fatal(self) -> bool:
        """True if the file is skipped."""
        return self.finding not in ROWS_OFF


@dataclass(frozen=True)
class ExpectedFile:
    """A file that should be in the archive.

    key: the vid, or the qid for words. duration: length of the video in seconds. n_clips: number of rows that are
    expected, or None for words.
    """

    key: str
    vid: str
    path: Path
    duration: float
    n_clips: int | None


@dataclass(frozen=True)
class CheckedFamily:
    """One family after every file of it was read once.

    good: the files that can be imported. n_rows: number of rows of every readable file, by key.
    n_unasked: number of files that no annotation asks for.
    """

    family: str
    layout: Layout
    passport: Passport
    good: list[ExpectedFile]
    n_rows: Mapping[str, int]
    findings: list[Finding]
    n_unasked: int

    @property
    def counts(self) -> dict[str, int]:
        """The numbers that the manifest records for this family."""
        kinds = Counter(f"{self.family}_{finding.finding.replace(' ', '_')}" for finding in self.findings)
        unasked = {f"{self.family}_unasked": self.n_unasked} if self.n_unasked else {}
        return {f"{self.family}_arrays": len(self.good)} | dict(kinds) | unasked


def checked_family(
    folder: Path, dataset: str, archive: str, family: str, grid: str, queries: Sequence[records.Query]
) -> CheckedFamily:
    """Read every file of a family once and check it. The store will be float16 only if all files are float16.

    Raises PipelineError for a family that no layout has a place for, if no file of the family can be imported, and for
    a grid that is not the files' own.
    """
    top, layout = find_top(folder, layouts_of(dataset, family))
    passport = _passport(top, archive, family, grid, layout)
    items = _expected_files(queries, grid, layout, top)
    good, findings, dtypes, n_rows = [], [], set(), {}
    for item in progress.lines(items, unit="file", what=family):
        content = _content_of(item, family, layout)
        if content.finding:
            file = item.path.relative_to(top).as_posix()
            findings.append(Finding(family, item.key, item.vid, content.finding, file, content.detail))
        if content.dtype is not None:
            n_rows[item.key] = content.n_rows
        if content.finding in ROWS_OFF:
            good.append(item)
            dtypes.add(content.dtype)
    if grid != "tokens":
        check_grid(archive, family, grid, [item.duration / n_rows[item.key] for item in items if item.key in n_rows])
    if not good:
        first = f"; the first: {findings[0].file}, {findings[0].detail}" if findings else ""
        raise PipelineError(
            f"none of {counted(len(items), 'file')} of {family} can be imported{first}",
            where=layout.file,
            remedy="fetch the archive again, or name the right folder",
        )
    unasked = set(top.glob(layout.file.format(vid="*", qid="*"))) - {item.path for item in items}
    dtype = "float16" if dtypes == {np.dtype("float16")} else "float32"
    return CheckedFamily(family, layout, replace(passport, dtype=dtype), good, n_rows, findings, len(unasked))


def check_grid(archive: str, family: str, grid: str, clip_seconds: Sequence[float]) -> None:
    """Raise PipelineError if the configured grid is not that of the files.

    Training on a wrong grid would give no error, only worse numbers.
    clip_seconds: for each readable file, the duration of its video divided by its number of rows.
    """
    if not clip_seconds:
        return
    derived, configured = median(clip_seconds), float(grid_seconds(grid))
    if abs(derived - configured) > GRID_OFF * configured:
        raise PipelineError(
            f"{family} has a row per {derived:.3g} s (duration by rows, median of"
            f" {counted(len(clip_seconds), 'video')}) where {configured:.3g} s are configured",
            where=archive,
            remedy=f"set its grid in config.yaml, `grids: {{{family}: …}}` of the dataset; it is {grid}",
        )


def with_other_families(finding: Finding, checked: Sequence[CheckedFamily]) -> Finding:
    """Add the lengths of the video's other families to a finding of a wrong length.

    The comparison shows which of the files has the wrong length.
    """
    if finding.finding != "length":
        return finding
    own = next(family for family in checked if family.family == finding.family)
    others = [
        f"{other.family} has {other.n_rows[finding.vid]} ({other.layout.path(Path(), finding.vid, finding.vid)})"
        for other in checked
        if other is not own and finding.vid in other.n_rows and other.passport.grid == own.passport.grid
    ]
    beside = f"; {', '.join(others)}" if others else ""
    return replace(finding, detail=f"{finding.detail}, allowed: {own.layout.rows_apart} apart{beside}")


def _expected_files(queries: Sequence[records.Query], grid: str, layout: Layout, top: Path) -> list[ExpectedFile]:
    """Return the files that the annotations ask for, sorted: one for each qid if the family is one of words, else one
    for each vid."""
    items = {}
    for query in queries:
        path = layout.path(top, query.vid, query.qid)
        if grid == "tokens":
            items[str(query.qid)] = ExpectedFile(str(query.qid), query.vid, path, query.duration, None)
        else:
            clips = n_clips(Fraction(query.duration), grid_seconds(grid))
            items[query.vid] = ExpectedFile(query.vid, query.vid, path, query.duration, clips)
    return [items[key] for key in sorted(items)]


class _FileContent(NamedTuple):
    """The content of one file. dtype: the dtype of its rows, or None if they cannot be used."""

    finding: str = ""
    detail: str = ""
    dtype: np.dtype | None = None
    n_rows: int = 0


def _content_of(item: ExpectedFile, family: str, layout: Layout) -> _FileContent:
    if not item.path.exists():
        return _FileContent("missing", "no such file")
    try:
        rows, pooled = read_released(item.path, layout)
    except ValueError as error:
        return _FileContent("broken", str(error))
    dim = FAMILIES[family].dim
    for array in [rows] if pooled is None else [rows, pooled[None]]:
        if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] != dim or not len(array):
            return _FileContent("broken", f"{array.dtype} {list(array.shape)} where floats [n, {dim}] are expected")
        if not np.isfinite(array).all():
            return _FileContent("broken", "holds NaN or infinity")
    apart = 0 if item.n_clips is None else len(rows) - item.n_clips
    finding = "length" if abs(apart) > layout.rows_apart else ROWS_OFF[abs(apart)]
    detail = (
        f"{counted(len(rows), 'row')} where the annotations have {counted(item.n_clips or 0, 'clip')}" if apart else ""
    )
    return _FileContent(finding, detail, rows.dtype, len(rows))


def _passport(top: Path, archive: str, family: str, grid: str, layout: Layout) -> Passport:
    """Make the passport of the imported rows.

    It is the passport that our export wrote, or one that says that the rows are published. Its origin is the archive.
    Its dtype is replaced later, when the files were read.
    Raises PipelineError if the archive holds another family in this place, or rows made on another grid.
    """
    signed = {name: signature for name, signature in read_passports(top).items() if place_of(name) == place_of(family)}
    there = next(iter(signed), place_of(family))
    if there != family:
        raise PipelineError(
            f"the archive's {layout.file} contains the family {there}, not {family}",
            where=archive,
            remedy=f"name {there} under `features`",
        )
    made, dim = f"as its publisher made it: {layout.file}", FAMILIES[family].dim
    published = Passport(family, FAMILIES[family].revision, archive, "released", grid, dim, layout.dtype, made)
    passport = replace(signed.get(family, published), origin=archive)
    if differ := passport_differences(passport, replace(passport, family=family, grid=grid, dim=dim)):
        why = f"the archive was exported with other settings than are asked for: {'; '.join(differ)} (asked for)"
        raise PipelineError(why, where=top, remedy="set the archive's own grid under `grids` of the dataset")
    return passport
