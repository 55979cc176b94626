"""Reads the table of sources, which is the only place with addresses. Each row is one address. Rows of one name are
mirrors.

Columns of a table (`sources.csv` beside this file, or another one that `acquire.sources` in the config names):

    name     what the config and the stages call it; rows of one name are tried in their order
    kind     file, archive (unpacked after fetching), video (one file per vid) or youtube (one page per video)
    file     the file name under which it is stored; the same for all mirrors
    url      an http, https or file address; the kinds video and youtube have `{vid}` in it. An archive may have
             `file:///…/folder/`: the files in that folder stand for the archive, and `digest` is that of their tar
    digest   `sha256:HEX`, `md5:HEX` or `git-blob:HEX`; empty where nobody publishes one (then the first file is pinned)
    bytes    the exact size; empty where unknown
    licence  the licence that its publisher states
    note     where these facts come from, and what is uncertain
    reported the size in bytes as others report it, where `bytes` is empty; a table may lack this column
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

from pipeline import csv_file, datasets, families
from pipeline.errors import PipelineError
from pipeline.nouns import counted

Kind = Literal["file", "archive", "video", "youtube"]

PACKAGED = Path(__file__).with_name("sources.csv")
COLUMNS = ("name", "kind", "file", "url", "digest", "bytes", "licence", "note")
REPORTED = "reported"
DIGEST_LENGTHS = {"sha256": 64, "md5": 32, "git-blob": 40}
SHARED = ("kind", "file", "digest", "bytes", REPORTED)
"""Columns in which mirrors of one name must agree: they offer the same file."""


ANOTHER_ADDRESS = "add another address in sources.csv or set acquire.mirror"
"""The advice for an address that does not give its file."""


@dataclass(frozen=True)
class Source:
    """One thing that can be fetched.

    digest: `algorithm:hex`, or None if nobody publishes one. n_bytes: the exact size, or None if it is unknown.
    n_bytes_reported: the size that others report; it is used for estimates and checks nothing. addresses: mirrors of
    the same file, in the order in which they are tried. is_mirrored: whether the mirror that the config names is the
    only address.
    """

    name: str
    kind: Kind
    file: str
    digest: str | None
    n_bytes: int | None
    addresses: tuple[str, ...]
    licence: str
    n_bytes_reported: int | None = None
    is_mirrored: bool = False

    def at_mirror(self, mirror: str) -> Source:
        """Return the same source with the address that its file has at a mirror (`acquire.mirror`), and no other.

        A mirror has the same layout as `results/resources/`, so it can be made by copying this folder.
        """
        base = mirror if "://" in mirror else Path(mirror).resolve().as_uri()
        folder = "files/" if self.kind in ("video", "youtube") else ""
        return replace(self, addresses=(f"{base}/{self.name}/{folder}{self.file}",), is_mirrored=True)


class Sources:
    """A checked table of sources, looked up by name."""

    def __init__(self, by_name: dict[str, Source], table: Path) -> None:
        self.by_name = by_name
        self.table = table

    def __getitem__(self, name: str) -> Source:
        """Return the source of that name. Raises PipelineError, with the nearest names, for a name that the table
        lacks."""
        try:
            return self.by_name[name]
        except KeyError:
            near = get_close_matches(name, self.by_name, n=3) or sorted(self.by_name)
            raise PipelineError(
                f"no source {name!r}", where=self.table, remedy=f"name one of {', '.join(near)}, or add a row"
            ) from None

    def __iter__(self) -> Iterator[Source]:
        return iter(self.by_name.values())

    def predictions_of(self, dataset: str, split: str) -> list[str]:
        """Return the names of all prediction files for a split of a dataset, in the order of the alphabet."""
        ending = datasets.get(dataset).predictions_end.format(split=split)
        return sorted(name for name in self.by_name if ending and name.endswith(ending))

    def is_archive(self, name: str) -> bool:
        """Tell whether that source is unpacked after fetching. Raises PipelineError for an unknown name."""
        return self[name].kind == "archive"


def load(table: Path | str | None = None, mirror: str | None = None) -> Sources:
    """Read and check a table. Without a path it is the table that comes with the package.

    mirror: an address or folder that takes the place of all addresses in the table.

    Raises PipelineError, which names the table's line and column, for anything that does not fit.
    """
    path = PACKAGED if table is None else Path(table)
    with csv_file.reader(path, "name a UTF-8 CSV file") as reader:
        _check_header(reader.fieldnames, path)
        rows = [(reader.line_num, row) for row in reader]
    by_name: dict[str, list[dict[str, str]]] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        _check_row(row, where)
        _check_mirror(row, by_name.setdefault(row["name"], []), where)
        by_name[row["name"]].append(row)
    found = {name: _source(mirrors) for name, mirrors in by_name.items()}
    if mirror:
        found = {name: source.at_mirror(mirror) for name, source in found.items()}
    return Sources(found | _own_weights(by_name, path), path)


def _own_weights(table: Iterable[str], path: Path) -> dict[str, Source]:
    """Return a source for each weight file that a family of the config names. These files are on this machine.

    Raises PipelineError if the table has a row of the same name.
    """
    found = {}
    for name, file in families.own_weight_files().items():
        if name in table:
            why = f"has a row {name!r}, which is the name of the weights of a family of the config"
            raise PipelineError(why, where=path, remedy="give the row or the family another name")
        suffix = file.suffix if re.fullmatch(r"\.[A-Za-z0-9]+", file.suffix) else ""
        size = file.stat().st_size if file.is_file() else None
        found[name] = Source(name, "file", f"weights{suffix}", None, None, (file.as_uri(),), "", size)
    return found


def _source(mirrors: list[dict[str, str]]) -> Source:
    first = mirrors[0]
    return Source(
        name=first["name"],
        kind=first["kind"],  # type: ignore[arg-type]  # checked against Kind
        file=first["file"],
        digest=first["digest"] or None,
        n_bytes=int(first["bytes"]) if first["bytes"] else None,
        addresses=tuple(row["url"] for row in mirrors),
        licence=first["licence"],
        n_bytes_reported=int(first[REPORTED]) if first.get(REPORTED) else None,
    )


def _check_header(header: Iterable[str] | None, path: Path) -> None:
    if tuple(header or ()) not in (COLUMNS, (*COLUMNS, REPORTED)):
        raise PipelineError(
            f"has the columns {header}", where=f"{path}, line 1", remedy=f"write {','.join(COLUMNS)}, in this order"
        )


def _check_row(row: dict[str, str], where: str) -> None:
    if None in row or None in row.values():
        n_columns = sum(column is not None for column in row)
        raise PipelineError(
            f"does not have {n_columns} fields", where=where, remedy="put quotes around a field that contains a comma"
        )
    for column, (pattern, allowed) in PATTERNS.items():
        if not re.fullmatch(pattern, found := row.get(column, "")):
            raise PipelineError(f"`{column}` is {found!r}", where=where, remedy=f"write {allowed}")
    algorithm, _, value = row["digest"].partition(":")
    if row["digest"] and len(value) != DIGEST_LENGTHS[algorithm]:
        raise PipelineError(
            f"`digest` has {counted(len(value), 'character')}",
            where=where,
            remedy=f"{algorithm} has {DIGEST_LENGTHS[algorithm]}",
        )
    if ("{vid}" in row["url"]) != (row["kind"] in ("video", "youtube")):
        raise PipelineError(
            f"`url` is {row['url']!r} and `kind` {row['kind']}",
            where=where,
            remedy="write {vid} into the url of a video or youtube source, and of no other",
        )


def _check_mirror(row: dict[str, str], earlier: list[dict[str, str]], where: str) -> None:
    for other in earlier:
        if row["url"] == other["url"]:
            raise PipelineError(
                f"`url` is listed twice for {row['name']}", where=where, remedy="remove one of the rows"
            )
        for column in SHARED:
            if row.get(column) != other.get(column):
                raise PipelineError(
                    f"`{column}` is {row.get(column)!r}, {other.get(column)!r} in an earlier row of {row['name']}",
                    where=where,
                    remedy="mirrors offer one file: make them agree, or give another name",
                )


PATTERNS = {
    "name": (r"[A-Za-z0-9][A-Za-z0-9-]*", "letters, digits and hyphens"),
    "kind": ("|".join(get_args(Kind)), f"one of {', '.join(get_args(Kind))}"),
    "file": (r"(\{vid\}|[A-Za-z0-9])[A-Za-z0-9._=-]*", "a plain file name"),
    "url": (r"(https?://[^/\s]+/\S*)|(file:///\S+)", "an https, http or file address without blanks"),
    "digest": (r"((sha256|md5|git-blob):[0-9a-f]+)?", "`algorithm:hex` (sha256, md5, git-blob), or nothing"),
    "bytes": (r"([1-9][0-9]*)?", "a whole number, or nothing"),
    REPORTED: (r"([1-9][0-9]*)?", "a whole number, or nothing"),
}
"""Column of the table, the pattern that it must match, and how an error describes that pattern."""
