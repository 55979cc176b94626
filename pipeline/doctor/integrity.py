"""Compares the files that manifests and accounts of videos list with the files on the disk: presence, size, digest.

The workflow also finds a file that is gone or has another size, and makes it again. It may not find a file of the same
size with other bytes, because it would have to read terabytes before each run. So the digests of small files are
compared here, up to some hundred megabytes in all, and with `--digests` those of all files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import csv_file, files
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.layout import Layout
from pipeline.manifests import begun, is_whole, last_record

READ_BYTES = 256_000_000
"""Bytes that are read for digests in all, the smallest files first."""

AGAIN = "nothing has to be done: the run makes it again"


@dataclass(frozen=True)
class Listed:
    """A file that a manifest or an account lists.

    by: the path of this manifest or account. is_video: whether an account of videos lists it. is_needed: whether the
    run reads it.
    """

    path: Path
    n_bytes: int
    sha256: str
    by: Path
    is_video: bool = False
    is_needed: bool = True


@dataclass(frozen=True)
class Fault:
    """A problem of a file or a manifest. is_found: whether the next run finds it by itself."""

    where: Path
    why: str
    remedy: str
    is_found: bool


@dataclass(frozen=True)
class Examined:
    """All files that were compared. by_digest, by_size: the number of files that were compared by digest, and only by
    size."""

    faults: Sequence[Fault]
    by_digest: int
    by_size: int
    bytes_by_size: int


def examine(layout: Layout, *, all_digests: bool) -> Examined:
    """Compare all files. all_digests: read every file, however long that takes."""
    faults: list[Fault] = []
    whole: list[Listed] = []
    for manifest in layout.manifests():
        faults += _of_manifest(manifest)
    for one in _distinct([*listed_by_manifests(layout), *listed_by_accounts(layout)]):
        fault = _of_size(one)
        if fault:
            faults.append(fault)
        else:
            whole.append(one)
    left = float("inf") if all_digests else float(READ_BYTES)
    unread = []
    for one in sorted(whole, key=lambda listed: (listed.n_bytes, str(listed.path))):
        if one.n_bytes > left:
            unread.append(one)
            continue
        left -= one.n_bytes
        if fault := _of_digest(one):
            faults.append(fault)
    return Examined(faults, len(whole) - len(unread), len(unread), sum(one.n_bytes for one in unread))


def listed_by_manifests(layout: Layout) -> Iterator[Listed]:
    """Yield every file that a manifest lists. A file that is no valid manifest lists nothing."""
    for manifest in layout.manifests():
        for entry in _entries(last_record(manifest)):
            yield Listed(Path(entry["path"]), entry["bytes"], entry["sha256"], manifest)


def listed_by_accounts(layout: Layout) -> Iterator[Listed]:
    """Yield every usable video of an account. If features of its shard exist, the video is not needed any more."""
    for manifest in layout.manifests():
        record = last_record(manifest)
        if record.get("stage") != "videos":
            continue
        is_needed = not has_features(layout, record)
        for account in (Path(entry["path"]) for entry in _entries(record)):
            for row in rows_of(account):
                if row.get("status") == "ok" and row.get("bytes", "").isdigit():
                    yield Listed(Path(row["path"]), int(row["bytes"]), row["sha256"], account, True, is_needed)


def has_features(layout: Layout, videos: Mapping[str, Any]) -> bool:
    """Tell whether a shard's features are here. videos: the content of the manifest of its `videos`."""
    about = {key: str(videos.get("settings", {}).get(key)) for key in ("dataset", "shard")}
    readers = {str(family.reader) for family in FAMILIES.values()} - {"words", "None"}
    records = [last_record(layout.manifest("features", reader=reader, **about)) for reader in readers]
    return any(record and is_whole(record) for record in records)


def rows_of(account: Path) -> list[dict[str, str]]:
    """Read an account of videos. An account that cannot be read has no rows; the check of its manifest reports that it
    is damaged."""
    try:
        return csv_file.read(account)
    except PipelineError:
        return []


def _entries(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = record.get("files", ())
    kinds = {"path": str, "bytes": int, "sha256": str}
    return [
        entry
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in kinds.items())
    ]


def _distinct(listed: Iterable[Listed]) -> Iterator[Listed]:
    """Yield each path once. The manifest of the stage that made a file comes before the account that lists it."""
    seen = set()
    for one in listed:
        if one.path not in seen:
            seen.add(one.path)
            yield one


def _of_manifest(manifest: Path) -> Iterator[Fault]:
    record = last_record(manifest)
    if not record or not isinstance(record.get("files"), list):
        yield Fault(manifest, "is no manifest any more", AGAIN, is_found=True)
    elif len(_entries(record)) < len(record["files"]):
        yield Fault(
            manifest, "lists a file without its path, size or digest", f"delete {manifest} and run again", False
        )
    if begun(manifest).exists():
        yield Fault(manifest, "its stage began again and did not end", "nothing has to be done: the run goes on", True)


def _of_size(one: Listed) -> Fault | None:
    try:
        size = one.path.stat().st_size
    except OSError:
        return Fault(one.path, f"is gone, and {one.by} lists it", *_mended(one, "bring it back, or"))
    if size != one.n_bytes:
        return Fault(
            one.path,
            f"has {size:,} bytes, and {one.by} says {one.n_bytes:,}",
            *_mended(one, "put a good copy there, or"),
        )
    return None


def _mended(one: Listed, first: str) -> tuple[str, bool]:
    """Return how a damaged file can be repaired, and whether the run does this. A video is read only when the account
    of its shard is made, so the run does not notice its damage before."""
    if not one.is_video:
        return AGAIN, True
    if not one.is_needed:
        return (
            f"go on: its features are here. To get the file back, {first} delete {one.path} and {one.by},"
            " and run again",
            True,
        )
    return f"{first} delete {one.path} and {one.by}: the run then fetches it again", False


def _of_digest(one: Listed) -> Fault | None:
    try:
        found = files.sha256(one.path)
    except PipelineError as error:
        return Fault(one.path, error.what, "allow this user to read that file", False)
    if found == one.sha256:
        return None
    what = f"has other bytes than {one.by} says (digest {found[:12]}…, not {one.sha256[:12]}…)"
    if one.is_video:
        return Fault(one.path, what, *_mended(one, "put a good copy there, or"))
    return Fault(one.path, what, f"delete {one.path}, and run again", False)
