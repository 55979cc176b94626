"""Finds out whether the original of a copied file on this machine has changed, or has newly appeared.

An original is a file (or, for an archive, a folder) behind a `file:///` address or in a folder of `acquire.local`. The
copy gets the modification time of its original. So an equal size and time mean that nothing changed, and only other
files have to be read. Nothing here writes to results, imports a network library or asks the network, because it is
called while the workflow is planned.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline import csv_file, files
from pipeline.acquire import folders
from pipeline.acquire.sections import videos_with
from pipeline.acquire.sources import Source, Sources
from pipeline.layout import Layout

READ_BYTES = 100_000_000
"""Largest number of bytes that a plan reads to find out whether the content of an original changed, and not only its
time. Longer originals are left to the stage."""


@dataclass(frozen=True)
class CopiedFile:
    """A file that was copied from an original.

    sha256: digest of the original when it was copied. since: time of that record, in nanoseconds.
    """

    original: Path
    target: Path
    sha256: str
    since: int

    @property
    def n_bytes(self) -> int:
        """Size of the original now, in bytes. The size of a folder is that of all its files."""
        return folders.n_bytes(self.original) if self.original.is_dir() else self.original.stat().st_size

    def looks_changed(self) -> bool:
        """Tell whether the original's size or time differs from the copy's. An original that is gone has not
        changed."""
        try:
            original, target = self.original.stat(), self.target.stat()
            if self.original.is_dir():
                return folders.newest_ns(self.original) != target.st_mtime_ns
        except OSError:
            return False
        # An earlier version made links, and a linked file is its own original.
        if (original.st_dev, original.st_ino) == (target.st_dev, target.st_ino):
            return original.st_mtime_ns > self.since
        return (original.st_size, original.st_mtime_ns) != (target.st_size, target.st_mtime_ns)

    def has_changed(self) -> bool:
        """Tell whether the original has other bytes now. Raises PipelineError when it cannot be read."""
        return self.looks_changed() and self._digest() != self.sha256

    def _digest(self) -> str:
        if self.original.is_dir():
            return folders.digest(self.original, self.target.name)
        return files.sha256(self.original)

    def keep_time(self) -> None:
        """Give the copy the time of its original, whose bytes are known to be equal."""
        if self.original.is_dir():
            newest = folders.newest_ns(self.original)
            os.utime(self.target, ns=(newest, newest))
        else:
            same_time(self.original.stat(), self.target)


def same_time(original: os.stat_result, target: Path) -> None:
    """Give the copy the modification time of its original."""
    os.utime(target, ns=(original.st_atime_ns, original.st_mtime_ns))


def original_of(source: Source, vid: str = "") -> Path | None:
    """Return the file of this machine that a source is copied from, or None when its first address is on another
    machine.

    A source whose digest stands in the table also gives None: the digest says what the file is, and one of several
    mirrors may differ from it. A source at a mirror gives None, too, because a mirror replaces the network, where files
    do not change.
    """
    if source.is_mirrored:
        return None
    address = urlsplit(source.addresses[0])
    if address.scheme != "file" or (source.digest and len(source.addresses) > 1):
        return None
    return _path_of(source.addresses[0], vid)


def fetched(source: Source, target: Path, record: Mapping[str, Any], manifest: Path) -> CopiedFile | None:
    """Return what a `fetch` copied, according to its manifest, or None when there is no original on this machine.

    record: the manifest's content.
    """
    original = original_of(source)
    listed = {entry["path"]: entry["sha256"] for entry in record.get("files", ())}
    if original is None or str(target) not in listed:
        return None
    return CopiedFile(original, target, listed[str(target)], manifest.stat().st_mtime_ns)


def videos(account: Path, table: Sources) -> list[CopiedFile]:
    """Return the videos of a shard that were copied from originals.

    account: the CSV file of `videos`. A file that does not exist gives an empty list.
    """
    named = {source.name: source for source in table if source.kind == "video" and original_of(source)}
    if not named or not account.is_file():
        return []
    since = account.stat().st_mtime_ns
    rows = [row for row in csv_file.read(account) if row["path"] and row["source"] in named]
    found = []
    for row in rows:
        original = original_of(named[row["source"]], row["vid"])
        if original is not None:
            found.append(CopiedFile(original, Path(row["path"]), row["sha256"], since))
    return found


def corrupt_replaced(account: Path) -> bool:
    """Tell whether the file of a video that could not be read was replaced or deleted since its account was made.

    account: the CSV file of `videos`. A deleted file is fetched again.
    """
    if not account.is_file():
        return False
    since = account.stat().st_mtime
    rows = [row for row in csv_file.read(account) if row["status"] == "corrupt" and row["path"]]
    return any(not is_untouched(Path(row["path"]), row["bytes"], since) for row in rows)


def is_untouched(path: Path, n_bytes: int | str, since: float) -> bool:
    """Tell whether a file still has the size that an account gives, and is older than the account (seconds)."""
    if not path.is_file():
        return False
    state = path.stat()
    return str(state.st_size) == str(n_bytes) and state.st_mtime < since


def have_changed(taken: Iterable[CopiedFile]) -> bool:
    """Tell whether an original has changed. An original that may have changed, but is too long to be read for a plan,
    counts as changed."""
    suspects = [one for one in taken if one.looks_changed()]
    if sum(one.n_bytes for one in suspects) > READ_BYTES:
        return True
    return any(one.has_changed() for one in suspects)


def searched_addresses(names: Sequence[str], table: Sources) -> str:
    """Return, in one line, where the videos of a dataset are searched. This line is recorded with each video that was
    not found."""
    return " ".join(address for name in names for address in (table[name].addresses if name in table.by_name else ()))


def may_come_now(
    record: Mapping[str, Any], names: Sequence[str], table: Sources, local: Iterable[str], layout: Layout
) -> bool:
    """Tell whether a video that was not found when an account was made should be searched again.

    It should when the fetch failed, when the sources have other addresses now, and when its file is on this machine
    now. record: the content of the manifest of `videos`. layout: where the videos would lie.
    """
    if record.get("counts", {}).get("failed"):
        return True
    gone = [row for row in record.get("skipped", ()) if str(row.get("why", "")).startswith("missing")]
    if not gone:
        return False
    if any(row.get("asked") != searched_addresses(names, table) for row in gone):
        return True
    sources = [table[name] for name in names if table[name].kind in ("video", "youtube")]
    copies = local_copies(local) if sources else {}
    return any(_is_here(row["vid"], source, copies, layout) for row in gone for source in sources)


def local_copies(folders: Iterable[str]) -> dict[str, Path]:
    """Return all files in the folders of `acquire.local`: name → path of the first file of that name.

    A folder that does not exist has no files.
    """
    found: dict[str, Path] = {}
    for path in _walk(folders):
        found.setdefault(path.name, path)
    return found


def _walk(folders: Iterable[str]) -> Iterator[Path]:
    for folder in folders:
        for parent, below, names in os.walk(folder):
            below.sort()
            yield from (Path(parent, name) for name in sorted(names))


def _is_here(vid: str, source: Source, copies: Mapping[str, Path], layout: Layout) -> bool:
    for video in videos_with(vid, source):
        name = source.file.replace("{vid}", video)
        originals = [_path_of(address, video) for address in source.addresses if address.startswith("file:")]
        if name in copies or any(path.is_file() for path in (*originals, layout.unpacked(source.name) / name)):
            return True
    return False


def _path_of(address: str, vid: str) -> Path:
    """Return the file behind a `file:///` address. A file name on disk may be no UTF-8."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(address).path)).replace("{vid}", vid))
