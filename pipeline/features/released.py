"""Released feature archives into our stores: every file read, checked and accounted for.

Layouts: UMT's TVSum archive, and Moment-DETR's and UMT's QVHighlights archives (features.md 4, datasets.md 1.2, 3.4).
A family keeps its name and gets its archive's beside it, so that it never mixes with rows of our own.
"""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline import files, records
from pipeline.errors import PipelineError
from pipeline.features.store import ROWS_APART, StoreWriter
from pipeline.provenance import FAMILIES, REVISIONS, Outcome, Passport
from pipeline.shards import shard_name, shard_names, shard_of
from pipeline.video.segment import grid_seconds, n_clips


@dataclass(frozen=True)
class Layout:
    """Where an archive has a family: file per vid (or qid), and the arrays' names in an npz."""

    file: str
    rows: str = ""
    pooled: str = ""

    @property
    def folder(self) -> str:
        """The folder that marks the archive's top."""
        return self.file.split("/", maxsplit=1)[0]


LAYOUTS: Mapping[str, Mapping[str, Layout]] = {
    "tvsum": {
        "i3d-inception-rgb-tvsum": Layout("video_features/{vid}_rgb.npy"),
        "i3d-inception-flow-tvsum": Layout("video_features/{vid}_opt.npy"),
        "pann-cnn14": Layout("audio_features/{vid}.npy"),
        "clip-token-table": Layout("query_features/{vid}.npz", "token", "text"),
    },
    "qvhighlights": {
        "clip-vit-b32": Layout("clip_features/{vid}.npz", "features"),
        "pann-cnn14": Layout("pann_features/{vid}.npy"),
        "clip-text": Layout("clip_text_features/qid{qid}.npz", "last_hidden_state", "pooler_output"),
    },
}

REPORT_COLUMNS = ("family", "key", "finding", "file", "detail")


@dataclass(frozen=True)
class Finding:
    """What is wrong with one file: `missing`, `broken` or `length` (left out), or `one row off` (kept)."""

    family: str
    key: str
    vid: str
    finding: str
    file: str
    detail: str

    @property
    def is_fatal(self) -> bool:
        """Whether the file's rows are left out."""
        return self.finding != "one row off"


@dataclass(frozen=True)
class _Item:
    """One array that should be there. n_clips: rows expected, None for words."""

    key: str
    vid: str
    path: Path
    n_clips: int | None


def fill_from_archive(
    results: Path,
    dataset: str,
    archive: str,
    grids: Mapping[str, str],
    folder: Path,
    annotations: Iterable[Path],
    n_shards: int,
) -> Outcome:
    """Check and import the families of `grids` (family → grid), all shards. Writes the report beside the manifest."""
    queries = [query for path in annotations for query in records.read_queries(path)]
    findings: list[Finding] = []
    made: list[Path] = []
    counts: Counter[str] = Counter()
    for family, grid in grids.items():
        layout = _layout(dataset, family)
        items = _items(queries, grid, layout, _top(folder, layout))
        good, dtype, found = _checked(items, family, layout)
        findings += found
        passport = _passport(family, archive, grid, dtype, layout)
        home = results / "features" / dataset / grid / f"{family}+{archive}"
        made += _write(good, layout, passport, home, n_shards)
        counts[f"{family}_arrays"] = len(good)
        counts.update({f"{family}_{finding.finding.replace(' ', '_')}": 1 for finding in found})
    report = results / "features" / dataset / f"+{archive}.csv"
    _write_report(report, findings)
    skipped = [{"vid": f.vid, "why": f"{f.family}: {f.finding}, {f.detail}"} for f in findings if f.is_fatal]
    return Outcome([*made, report], counts, skipped)


def read_released(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows [n, dim] and the pooled vector [dim] of one released file, as stored.

    Raises ValueError with the reason for a file that cannot be read or has no such array; nothing is unpickled.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if not layout.rows:
            return np.asarray(loaded), None
        with loaded as arrays:
            return arrays[layout.rows], arrays[layout.pooled].reshape(-1) if layout.pooled else None
    except KeyError as error:
        raise ValueError(f"has no array {error}") from error
    except (OSError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise ValueError(f"cannot be read ({error})") from error


def _layout(dataset: str, family: str) -> Layout:
    known = LAYOUTS.get(dataset, {})
    if family not in known:
        raise PipelineError(
            f"released archives of {dataset} have no place for it",
            where=family,
            remedy=f"name one of {', '.join(known) or 'another dataset'}",
        )
    return known[family]


def _top(folder: Path, layout: Layout) -> Path:
    """The folder that holds the layout's folders; archives have it at their top or below one or two more."""
    for depth in ("", "*/", "*/*/"):
        for found in sorted(folder.glob(f"{depth}{layout.folder}")):
            return found.parent
    raise PipelineError(
        f"holds no folder {layout.folder}", where=folder, remedy="name the folder that the archive was unpacked into"
    )


def _items(queries: Sequence[records.Query], grid: str, layout: Layout, top: Path) -> list[_Item]:
    """What the annotations ask for: one array per qid on the grid of words, per vid elsewhere; each once, sorted."""
    items = {}
    for query in queries:
        if "/" in query.vid or "/" in str(query.qid):
            raise PipelineError(f"`{query.vid}`, `{query.qid}` name no file", remedy="correct the annotations")
        path = top / layout.file.format(vid=query.vid, qid=query.qid)
        if grid == "tokens":
            items[str(query.qid)] = _Item(str(query.qid), query.vid, path, None)
        else:
            clips = n_clips(Fraction(query.duration), grid_seconds(grid))
            items[query.vid] = _Item(query.vid, query.vid, path, clips)
    return [items[key] for key in sorted(items)]


def _checked(items: Sequence[_Item], family: str, layout: Layout) -> tuple[list[_Item], str, list[Finding]]:
    """Read every file once. Returns what can be imported, its dtype (float16 only if all are), and the findings."""
    good, findings, dtypes = [], [], set()
    for item in tqdm(items, desc=family, unit="file", disable=None):
        finding, detail, dtype = _look(item, family, layout)
        if finding:
            findings.append(Finding(family, item.key, item.vid, finding, item.path.name, detail))
        if finding in ("", "one row off"):
            good.append(item)
            dtypes.add(dtype)
    if not good:
        first = f"; the first: {findings[0].file}, {findings[0].detail}" if findings else ""
        raise PipelineError(
            f"none of {len(items)} files of {family} can be imported{first}",
            where=layout.file,
            remedy="fetch the archive again, or name the right folder",
        )
    return good, "float16" if dtypes == {np.dtype("float16")} else "float32", findings


def _look(item: _Item, family: str, layout: Layout) -> tuple[str, str, np.dtype | None]:
    """(finding or "", detail, dtype) of one file."""
    if not item.path.is_file():
        return "missing", "no such file", None
    try:
        rows, pooled = read_released(item.path, layout)
    except ValueError as error:
        return "broken", str(error), None
    dim = FAMILIES[family].dim
    vectors = [rows] if pooled is None else [rows, pooled[None]]
    for array in vectors:
        if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] != dim or not len(array):
            return "broken", f"{array.dtype} {list(array.shape)} where floats [n, {dim}] are expected", None
        if not np.isfinite(array).all():
            return "broken", "holds NaN or infinity", None
    apart = 0 if item.n_clips is None else len(rows) - item.n_clips
    detail = f"{len(rows)} rows where the annotations have {item.n_clips} clips"
    if abs(apart) > ROWS_APART:
        return "length", detail, rows.dtype
    return ("one row off" if apart else ""), detail if apart else "", rows.dtype


def _passport(family: str, archive: str, grid: str, dtype: str, layout: Layout) -> Passport:
    made = f"as its publisher made it: {layout.file}"
    return Passport(family, REVISIONS[family], archive, "released", grid, FAMILIES[family].dim, dtype, made)


def _write(items: Sequence[_Item], layout: Layout, passport: Passport, home: Path, n_shards: int) -> Iterator[Path]:
    """One store per shard, empty ones too."""
    shards: dict[str, list[_Item]] = {name: [] for name in shard_names(n_shards)}
    for item in items:
        shards[shard_name(shard_of(item.vid, n_shards))].append(item)
    for name, members in shards.items():
        with StoreWriter(home / f"{name}.h5", passport) as store:
            for item in members:
                rows, pooled = read_released(item.path, layout)
                store.add(item.key, rows, pooled=pooled, file=item.path.name)
        yield home / f"{name}.h5"


def _write_report(path: Path, findings: Sequence[Finding]) -> None:
    with files.atomic(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(REPORT_COLUMNS)
        table.writerows((f.family, f.key, f.finding, f.file, f.detail) for f in findings)
