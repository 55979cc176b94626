"""Finds which sources of the run are here already, which are in a folder of this machine, and which have to be
fetched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline import files
from pipeline.acquire.download import find_local
from pipeline.acquire.originals import original_of
from pipeline.acquire.sources import Source
from pipeline.acquire.transfer import ARCHIVE_SUFFIXES
from pipeline.cost.need import file_of
from pipeline.doctor.case import Case
from pipeline.doctor.findings import Finding, named, note, ok, problem
from pipeline.errors import PipelineError
from pipeline.layout import pin_path_of
from pipeline.manifests import is_whole, last_record
from pipeline.nouns import counted
from pipeline.shards import shard_names

NAME = "sources"
READ_BYTES = 100_000_000
"""An original on this machine with more bytes is compared only by its size, unless `--digests` is given."""
GB = 1e9


@dataclass(frozen=True)
class Present:
    """The sources of a run by where they are.

    here: fetched. offered: a folder of `acquire.local` has the file. on_disk: the address is a file of this machine.
    to_fetch: they have to be fetched from the network.
    """

    here: list[Source] = field(default_factory=list)
    offered: list[Source] = field(default_factory=list)
    on_disk: list[Source] = field(default_factory=list)
    to_fetch: list[Source] = field(default_factory=list)


def sources_at_hand(case: Case) -> Present:
    """Return the sources of the run by where they are.

    They are recognised by name and size. A file in a folder of `acquire.local` whose digest is known is recognised by
    its digest, as in a fetch.
    """
    folders = [folder for folder in case.local if Path(folder).is_dir()]
    found, offered = Present(), _names_below(folders)
    for source in case.needs.sources.values() if case.needs else ():
        if _is_here(case, source):
            found.here.append(source)
        elif _is_offered(source, offered, folders):
            found.offered.append(source)
        elif original_of(source) is not None or _file_of_machine(source):
            found.on_disk.append(source)
        else:
            found.to_fetch.append(source)
    return found


def check(case: Case) -> Iterator[Finding]:
    """Say how many sources are here, and which originals on this machine are not what the table of sources says."""
    if case.needs is None:
        return
    found = sources_at_hand(case)
    missing = [folder for folder in case.local if not Path(folder).is_dir()]
    if missing:
        yield problem(NAME, f"acquire.local: {named(missing)} is no folder", "correct `acquire.local` in the config")
    yield from _mirror(case, found.on_disk)
    for source in found.on_disk:
        yield from _original(case, source)
    fetched = [source for source in found.here if source.kind in ("file", "archive")]
    for source in fetched:
        yield from _pin(case, source)
    yield ok(NAME, _summary(case, found))


def _mirror(case: Case, asked: Iterable[Source]) -> Iterator[Finding]:
    """Yield a problem if the folder of `acquire.mirror`, or a file that is to be copied from it, does not exist."""
    needed = [source for source in asked if source.is_mirrored]
    if case.mirror is None or not needed:
        return
    if not case.mirror.is_dir():
        what = f"acquire.mirror: there is no folder {case.mirror}"
        yield problem(
            NAME, what, "correct `acquire.mirror` in the config, or create that folder and put the files there"
        )
        return
    if lacking := [source for source in needed if not _at_mirror(source).exists()]:
        shown = named(f"{_at_mirror(source).relative_to(case.mirror.resolve())}" for source in lacking)
        what = f"acquire.mirror: {case.mirror} lacks {len(lacking)} of {counted(len(needed), 'source')}: {shown}"
        remedy = "put them there under these names, or into a folder named under acquire.local"
        yield problem(NAME, what, remedy)


def _at_mirror(source: Source) -> Path:
    """Return where a mirror folder has a source. For a source of single videos this is the folder with the videos."""
    path = Path(unquote(urlsplit(source.addresses[0]).path))
    return path if source.kind in ("file", "archive") else path.parent


def _summary(case: Case, found: Present) -> str:
    n = len(case.needs.sources) if case.needs else 0
    if not n:
        return "none needed"
    sizes = [file_of(source).n_bytes for source in found.to_fetch]
    parts = [f"{len(found.here)} of {n} are here"]
    if found.offered:
        parts.append(f"{len(found.offered)} offered by acquire.local ({named(s.name for s in found.offered)})")
    if found.on_disk:
        parts.append(f"{len(found.on_disk)} copied from this machine")
    if found.to_fetch:
        unknown = sum(size is None for size in sizes)
        beside = f", {unknown} of unknown size" if unknown else ""
        parts.append(
            f"{len(found.to_fetch)} to fetch, {sum(size or 0 for size in sizes) / GB:,.1f} GB{beside}"
            f" ({named(source.name for source in found.to_fetch)})"
        )
    return "; ".join(parts)


def _is_here(case: Case, source: Source) -> bool:
    """Tell whether a source was fetched as a whole."""
    if source.kind not in ("file", "archive"):
        return _are_videos_here(case, source)
    record = last_record(case.layout.manifest("fetched", name=source.name))
    return bool(record) and is_whole(record)


def _are_videos_here(case: Case, source: Source) -> bool:
    """Tell whether the accounts of all shards that ask for a source of single videos are here and miss none."""
    if case.needs is None:
        return False
    shards = [
        case.layout.manifest("videos", dataset=name, shard=shard)
        for name in case.needs.of_datasets
        if source.name in case.needs.cfg.datasets[name].videos
        for shard in shard_names(case.needs.cfg.datasets[name].shards)
    ]
    return bool(shards) and all(_misses_none(last_record(manifest)) for manifest in shards)


def _misses_none(account: Mapping[str, Any]) -> bool:
    """Tell whether no video is missing or failed in an account. account: the content of its manifest."""
    counts = account.get("counts", {})
    return counts.get("missing") == counts.get("failed") == 0 and is_whole(account)


def _file_of_machine(source: Source) -> bool:
    return any(address.startswith("file:") for address in source.addresses)


def _names_below(folders: Iterable[str]) -> dict[str, set[int]]:
    """Return name → sizes of all files below folders. A folder has the size -1."""
    found: dict[str, set[int]] = {}
    for folder in folders:
        for parent, below, names in os.walk(folder):
            for name in below:
                found.setdefault(name, set()).add(-1)
            for name in names:
                path = Path(parent, name)
                if path.is_file():
                    found.setdefault(name, set()).add(path.stat().st_size)
    return found


def _is_offered(source: Source, offered: Mapping[str, set[int]], folders: Sequence[str]) -> bool:
    """Tell whether a file of the source's digest is offered, whatever its name.

    A long file, and a file of unknown size or digest, is recognised only by its name. A fetch compares its digest.
    """
    if source.digest and source.n_bytes and source.n_bytes <= READ_BYTES:
        has_its_size = any(source.n_bytes in sizes for sizes in offered.values())
        return has_its_size and find_local(source, folders, source.digest) is not None
    sizes = offered.get(source.file, set()) - {-1}
    if sizes and (source.n_bytes is None or source.n_bytes in sizes):
        return True
    plain = next((source.file.removesuffix(s) for s in ARCHIVE_SUFFIXES if source.file.endswith(s)), "")
    as_folder = source.kind == "archive" and source.digest is None and plain
    return bool(as_folder) and -1 in offered.get(plain.removesuffix(".tar"), set())


def _original(case: Case, source: Source) -> Iterator[Finding]:
    """Compare an original on this machine with the table of sources: whether it exists, its size and its digest."""
    path = _at_mirror(source) if source.is_mirrored else original_of(source)
    if path is None or source.kind in ("video", "youtube"):
        return
    if source.is_mirrored and not path.exists():
        return  # all of these are told together
    table = case.table.table if case.table else "the table of sources"
    if not path.exists():
        yield problem(NAME, f"{source.name}: {path} does not exist", f"bring it back, or correct `url` in {table}")
        return
    if path.is_dir():
        return
    size = path.stat().st_size
    if source.n_bytes not in (None, size):
        yield problem(
            NAME, f"{source.name}: {path} has {size:,} bytes, not {source.n_bytes:,}", _to_correct(source, table)
        )
    elif source.digest and (size <= READ_BYTES or case.invocation.digests):
        algorithm, _, wanted = source.digest.partition(":")
        try:
            has = files.digest(path, algorithm)
        except PipelineError as error:
            yield problem(NAME, f"{source.name}: {path} {error.what}", "allow this user to read that file")
            return
        if has != wanted:
            what = f"{source.name}: {path} has the {algorithm} digest {has[:16]}…, and {wanted[:16]}… is asked for"
            yield problem(NAME, what, _to_correct(source, table))


def _to_correct(source: Source, table: object) -> str:
    if source.is_mirrored:
        return "put the right file there, or name another folder as `acquire.mirror`"
    return f"put the right file there, or correct `digest` and `bytes` of {source.name} in {table}"


def _pin(case: Case, source: Source) -> Iterator[Finding]:
    """Compare the digest in the manifest of a fetched file with that of the table of sources, or with the pin of the
    first fetch."""
    manifest = case.layout.manifest("fetched", name=source.name)
    entry = next(iter(last_record(manifest).get("files", ())), None)
    if entry is None:
        return
    again = "nothing has to be done: the run fetches it again"
    if source.digest and source.digest.startswith("sha256:") and source.digest != f"sha256:{entry['sha256']}":
        yield note(NAME, f"{source.name}: the table of sources has another digest than the fetched file", again)
    pin = pin_path_of(Path(entry["path"]))
    if source.digest is None and pin.is_file():
        try:
            held = files.read_json(pin, files.MADE_HERE)
        except PipelineError as error:
            yield problem(NAME, f"{pin}: {error.what}", f"remove {pin.parent} to fetch the file again")
            return
        if not isinstance(held, dict) or held.get("sha256") != entry["sha256"]:
            what = f"{source.name}: its pin says another digest than its manifest"
            yield problem(NAME, what, f"remove {pin.parent} to fetch the file again")
