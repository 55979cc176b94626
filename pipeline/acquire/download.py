"""Fetching: a source of the table to a checked file under `{results}/resources/{name}/`.

A file is known by its digest, not by where it came from: folders of this machine are searched before the network is
asked, and mirrors are tried in their order. Where nobody publishes a digest, the first one seen is pinned, and another
file under the same name is an error from then on.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline import asked, files, provenance
from pipeline.acquire import folders, originals, sources
from pipeline.acquire.copying import copy
from pipeline.acquire.partial import Partial
from pipeline.acquire.sources import Source
from pipeline.acquire.transfer import ANOTHER_FILE, ARCHIVE_SUFFIXES, NoSuchFileError, TransientError, Wanted, receive
from pipeline.config import Acquire
from pipeline.errors import PipelineError
from pipeline.layout import pin_beside
from pipeline.stage_settings import Fetch
from pipeline.stages import StageJob

BACKOFF_S = 1.0
"""Wait after the first useless try; doubled after each further one."""
LONGEST_WAIT_S = 60.0


def fetch(job: StageJob[Fetch]) -> bool:
    """Put a source under `{results}/resources/{name}/{its file}`. Returns whether there was anything to do.

    Addresses are no settings of the stage: a file is the same wherever it came from. Where another process fetches it,
    this one waits and takes the finished file. Raises PipelineError for an
    unknown name, for a source of one file per video, and where no address gave the right file, with each one's reason.
    """
    name, acquire, manifest = job.about["name"], job.settings.acquire, job.manifest
    source = sources.load(acquire.sources)[name]
    if source.kind not in ("file", "archive"):
        raise PipelineError(
            f"is of kind {source.kind}: its files are fetched one by one", where=name, remedy="run the `videos` stage"
        )
    target = job.layout.resource(name) / source.file
    taken = originals.fetched(source, target, provenance.last_record(manifest), manifest)
    again = taken is not None and taken.has_changed()
    if taken and taken.looks_changed() and not again:
        taken.keep_time()

    def work() -> provenance.Outcome:
        _fetch(source, target, acquire, again=again)
        return provenance.Outcome([target], {"bytes": target.stat().st_size})

    want = asked.fetch(job, source.file, source.digest)
    return provenance.run_asked(want, manifest, work, again=again, wait=True)


def download(wanted: Wanted, acquire: Acquire) -> str:
    """Put a file under its target, whole and checked; return its SHA-256. A file that broke off is gone on with.

    Where another process fetches to the same target, this one waits for it and takes the file that it brought.
    Only tries without progress are counted: a slow server that hangs up a hundred times still delivers.
    Raises NoSuchFileError where there is no such file, PipelineError for everything else.
    """
    with files.lock(wanted.target, wait=True, keep=False) as waited:
        if waited and wanted.target.is_file():
            with suppress(PipelineError):  # what the other process brought may be another file
                sha256 = files.sha256(wanted.target)
                wanted.check(wanted.target, sha256)
                return sha256
        return _download(wanted, acquire)


def _download(wanted: Wanted, acquire: Acquire) -> str:
    if urlsplit(wanted.url).scheme == "file":
        # A name on disk may be no UTF-8.
        return take(Path(os.fsdecode(unquote_to_bytes(urlsplit(wanted.url).path))), wanted)
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
    """Copy a file of this machine to a target, where it appears once its copy was checked; return its SHA-256.

    A folder is packed. Never a link: what its owner changes later must not change the results. Raises NoSuchFileError
    where it is not there, PipelineError for another size or digest, and where it cannot be read.
    """
    if path.is_dir():
        return _take_folder(path, wanted)
    if not path.is_file():
        raise NoSuchFileError("no such file", where=wanted.where, remedy="correct its url in the table of sources")
    state = path.stat()
    wanted.check_size(state.st_size)
    if not os.access(path, os.R_OK):
        raise PipelineError("cannot be read", where=wanted.where, remedy="give yourself the right to read that file")
    with files.atomic_path(wanted.target) as partial:
        copy(path, partial)
        sha256 = files.sha256(partial)
        wanted.check(partial, sha256)
    originals.same_time(state, wanted.target)
    return sha256


def _take_folder(folder: Path, wanted: Wanted) -> str:
    packed = wanted.target.with_name(f".{wanted.target.name}.packed")
    newest = folders.newest_ns(folder)
    try:
        folders.pack(folder, packed, wanted.name)
        sha256 = files.sha256(packed)
        wanted.check(packed, sha256)
        os.utime(packed, ns=(newest, newest))  # by which a later change is noticed (`originals.py`)
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


def _fetch(source: Source, target: Path, acquire: Acquire, *, again: bool = False) -> None:
    """again: the original on this machine has changed, so the file that was taken from it is not the one wanted."""
    pin = pin_beside(target)
    digest = source.digest or _pinned(pin)
    if again or not (target.is_file() and _has(target, digest)):
        local = None if again else find_local(source, acquire.local, digest)
        addresses = [local.resolve().as_uri()] if local else source.addresses
        first_that_works([_wanted(url, source, target, digest, acquire) for url in addresses], acquire)
    if source.digest is None:
        files.write_json(pin, {"sha256": files.sha256(target), "bytes": target.stat().st_size})


def _wanted(url: str, source: Source, target: Path, digest: str | None, acquire: Acquire) -> Wanted:
    """A file of this machine is its owner's to change: only a digest in the table of sources holds it fast."""
    if not url.startswith("file:"):
        remedy = f"it changed since it was first seen; to take it remove {target.parent}"
        return Wanted(url, target, source.name, digest, source.n_bytes, ANOTHER_FILE if source.digest else remedy)
    table = acquire.sources or sources.PACKAGED
    remedy = f"put the file of that digest there, or correct `digest` and `bytes` of {source.name} in {table}"
    return Wanted(url, target, source.name, source.digest, source.n_bytes, remedy)


def _pinned(pin: Path) -> str | None:
    if not pin.exists():
        return None
    held = files.read_json(pin, files.MADE_HERE)
    sha256 = held.get("sha256") if isinstance(held, dict) else None
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise PipelineError("holds no digest", where=pin, remedy=f"remove {pin.parent} to take the file anew")
    return f"sha256:{sha256}"


def _has(path: Path, digest: str | None) -> bool:
    algorithm, _, value = (digest or "").partition(":")
    return digest is None or files.digest(path, algorithm) == value
