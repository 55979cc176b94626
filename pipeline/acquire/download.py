"""Fetching: a source of the table to a checked file under `{results}/resources/{name}/`.

A file is known by its digest, not by where it came from: folders of this machine are searched before the network is
asked, and mirrors are tried in their order. Where nobody publishes a digest, the first one seen is pinned, and another
file under the same name is an error from then on.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline import files, provenance
from pipeline.acquire import folders, sources
from pipeline.acquire.partial import Partial
from pipeline.acquire.sources import Source
from pipeline.acquire.transfer import ANOTHER_FILE, ARCHIVE_SUFFIXES, NoSuchFileError, TransientError, Wanted, receive
from pipeline.config import Acquire
from pipeline.errors import PipelineError

BACKOFF_S = 1.0
"""Wait after the first useless try; doubled after each further one."""
LONGEST_WAIT_S = 60.0


def fetch(name: str, results: Path, acquire: Acquire, manifest: Path) -> bool:
    """Put the source `name` under `{results}/resources/{name}/{its file}`. Returns whether there was anything to do.

    Addresses are no settings of the stage: a file is the same wherever it came from. Raises PipelineError for an
    unknown name, for a source of one file per video, and where no address gave the right file, with each one's reason.
    """
    source = sources.load(acquire.sources)[name]
    if source.kind not in ("file", "archive"):
        raise PipelineError(
            f"is of kind {source.kind}: its files are fetched one by one", where=name, remedy="run the `videos` stage"
        )
    target = Path(results) / "resources" / name / source.file

    def work() -> provenance.Outcome:
        _fetch(source, target, acquire)
        return provenance.Outcome([target], {"bytes": target.stat().st_size})

    settings = {"name": name, "file": source.file, "digest": source.digest}
    return provenance.run_stage("fetch", manifest, work, settings=settings)


def download(wanted: Wanted, acquire: Acquire) -> str:
    """Put a file under its target, whole and checked; return its SHA-256. A file that broke off is gone on with.

    Only tries without progress are counted: a slow server that hangs up a hundred times still delivers.
    Raises NoSuchFileError where there is no such file, PipelineError for everything else.
    """
    if urlsplit(wanted.url).scheme == "file":
        return take(Path(unquote(urlsplit(wanted.url).path)), wanted)
    try:
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.cannot_write(wanted.target, error) from error
    partial = Partial(wanted.target)
    best = useless = 0
    version = None
    while True:
        try:
            return receive(wanted, partial, acquire.timeout_s)
        except TransientError as trouble:
            now = partial.version(wanted.url)
            held = partial.size if now else 0  # what the next try can go on with
            # Bytes of a file that was replaced are no measure for those of its successor.
            is_another = None not in (version, now) and now != version
            useless = 0 if held > best and not is_another else useless + 1
            best = held if is_another else max(best, held)
            version = now or version
            if useless >= acquire.attempts:
                raise PipelineError(
                    f"{trouble}; {useless} tries without progress",
                    where=wanted.where,
                    remedy="run again, it goes on where it stopped; or name a mirror",
                ) from trouble
            time.sleep(min(LONGEST_WAIT_S, max(trouble.after_s, BACKOFF_S * 2.0 ** max(useless - 1, 0))))


def first_that_works(mirrors: list[Wanted], acquire: Acquire) -> None:
    """Download from the first address that gives the file.

    Raises PipelineError with every address's reason; NoSuchFileError where that is each one's.
    """
    problems: list[PipelineError] = []
    for wanted in mirrors:
        try:
            download(wanted, acquire)
        except PipelineError as problem:
            problems.append(problem)
        else:
            return
    if len(problems) == 1:
        raise problems[0]
    reasons = "; ".join(f"{wanted.url}: {problem.what}" for wanted, problem in zip(mirrors, problems, strict=True))
    gone = all(isinstance(problem, NoSuchFileError) for problem in problems)
    raise (NoSuchFileError if gone else PipelineError)(
        f"none of {len(mirrors)} addresses gave the file ({reasons})",
        where=mirrors[0].name,
        remedy=f"put the file ({mirrors[0].digest or mirrors[0].target.name}) into a folder named under acquire.local",
    )


def take(path: Path, wanted: Wanted) -> str:
    """Link or copy a file of this machine to a target after checking it; return its SHA-256. A folder is packed.

    Raises NoSuchFileError where it is not there, PipelineError for another size or digest.
    """
    if path.is_dir():
        return _take_folder(path, wanted)
    if not path.is_file():
        raise NoSuchFileError("no such file", where=wanted.where, remedy="correct the address")
    sha256 = files.sha256(path)
    wanted.check(path, sha256)
    with files.atomic_path(wanted.target) as partial:
        try:
            partial.hardlink_to(path.resolve())
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, partial)
    return sha256


def _take_folder(folder: Path, wanted: Wanted) -> str:
    packed = wanted.target.with_name(f".{wanted.target.name}.packed")
    try:
        folders.pack(folder, packed, wanted.name)
        sha256 = files.sha256(packed)
        wanted.check(packed, sha256)
        os.replace(packed, wanted.target)
    finally:
        packed.unlink(missing_ok=True)
    return sha256


def find_local(source: Source, folders: Iterable[str], digest: str | None) -> Path | None:
    """The file in `folders` (searched through) that has the digest; where none is known, the one of the source's name.

    For an archive without a digest a folder does, too, that has the archive's name without its suffix.

    Raises PipelineError for a folder that is not there.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise PipelineError("no such folder", where=f"acquire.local: {folder}", remedy="correct it in the config")
        unpacked = Path(folder, _without_suffix(source.file))
        if digest is None and source.kind == "archive" and unpacked.name != source.file and unpacked.is_dir():
            return unpacked
        for path in _candidates(Path(folder), source):
            if digest is None and path.name == source.file:
                return path
            with suppress(PipelineError):  # what cannot be read is not the one
                if digest is not None and _has(path, digest):
                    return path
    return None


def _without_suffix(name: str) -> str:
    suffix = next((s for s in ARCHIVE_SUFFIXES if name.endswith(s)), "")
    return name.removesuffix(suffix).removesuffix(".tar")


def _candidates(folder: Path, source: Source) -> Iterator[Path]:
    """Files that may be the one: of its size where that is known; those of its name first, reading is dear."""
    found = [
        path
        for parent, _, names in os.walk(folder)
        for path in (Path(parent, name) for name in names)
        if os.access(path, os.R_OK) and path.is_file() and source.n_bytes in (None, path.stat().st_size)
    ]
    yield from sorted(found, key=lambda path: (path.name != source.file, path))


def _fetch(source: Source, target: Path, acquire: Acquire) -> None:
    pin = target.parent / "pin.json"
    digest = source.digest or _pinned(pin)
    if not (target.is_file() and _has(target, digest)):
        local = find_local(source, acquire.local, digest)
        addresses = [local.resolve().as_uri()] if local else source.addresses
        remedy = (
            ANOTHER_FILE if source.digest else f"it changed since it was first seen; to take it remove {pin.parent}"
        )
        first_that_works([Wanted(u, target, source.name, digest, source.n_bytes, remedy) for u in addresses], acquire)
    if source.digest is None:
        files.write_json(pin, {"sha256": files.sha256(target), "bytes": target.stat().st_size})


def _pinned(pin: Path) -> str | None:
    return f"sha256:{files.read_json(pin)['sha256']}" if pin.exists() else None


def _has(path: Path, digest: str | None) -> bool:
    algorithm, _, value = (digest or "").partition(":")
    return digest is None or files.digest(path, algorithm) == value
