"""The stage `fetch`: it makes a checked file of a source under `{results}/resources/{name}/`.

A file is identified by its digest, not by its address. So folders of this machine are searched before the network is
asked, and the mirrors of a source are tried in their order. Where nobody publishes a digest, the digest of the first
file is stored beside it (a pin). From then on, another file under the same name is an error.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline import files, locks, provenance, stage_requests
from pipeline.acquire import folders, originals, patience, sources
from pipeline.acquire.copying import copy
from pipeline.acquire.partial import Partial
from pipeline.acquire.parts import Parts
from pipeline.acquire.sources import ANOTHER_ADDRESS, Source
from pipeline.acquire.transfer import (
    ANOTHER_FILE,
    ARCHIVE_SUFFIXES,
    NoSuchFileError,
    TransientError,
    Wanted,
    receive,
)
from pipeline.config import Acquire
from pipeline.errors import PipelineError
from pipeline.layout import pin_path_of
from pipeline.manifests import last_record
from pipeline.nouns import counted
from pipeline.progress import duration_text
from pipeline.stage_settings import Fetch
from pipeline.stages import StageJob


def fetch(job: StageJob[Fetch]) -> bool:
    """Put a source under `{results}/resources/{name}/{its file}`. Returns whether there was anything to do.

    Addresses are not part of the stage's settings, because a file is the same wherever it came from. When another
    process already fetches the file, this one waits and uses the finished file. Raises PipelineError for an unknown
    name, for a source that has one file per video, and when no address gave the right file (with the reason of each).
    """
    name, acquire, manifest = job.about["name"], job.settings.acquire, job.manifest
    source = sources.load(acquire.sources, acquire.mirror)[name]
    if source.kind not in ("file", "archive"):
        raise PipelineError(
            f"is of kind {source.kind}: its files are fetched one by one", where=name, remedy="run the `videos` stage"
        )
    target = job.layout.resource(name) / source.file
    taken = originals.fetched(source, target, last_record(manifest), manifest)
    again = taken is not None and taken.has_changed()
    if taken and taken.looks_changed() and not again:
        taken.keep_time()

    def work() -> provenance.Outcome:
        if source.licence:
            print(f"fetch: the licence of {name}, as its publisher states it: {source.licence}", file=sys.stderr)
        _fetch(source, target, acquire, again=again)
        return provenance.Outcome([target], {"bytes": target.stat().st_size})

    want = stage_requests.fetch(job, source.file, source.digest)
    return provenance.run_request(want, manifest, work, again=again, wait=True)


def download(wanted: Wanted, acquire: Acquire) -> str:
    """Put a file under its target, complete and checked, and return its SHA-256. A download that broke off is
    continued.

    When another process downloads to the same target, this one waits for it and uses that file. Only tries without
    progress are counted: a slow server that hangs up a hundred times still delivers. Raises NoSuchFileError when there
    is no such file, and PipelineError for everything else.
    """
    with locks.lock(wanted.target, wait=True, keep=False) as waited:
        if waited and wanted.target.is_file():
            # The other process may have brought another file, so it is compared with what is wanted here.
            with suppress(PipelineError):
                sha256 = files.sha256(wanted.target)
                wanted.check(wanted.target, sha256)
                return sha256
        return _download(wanted, acquire)


def _download(wanted: Wanted, acquire: Acquire) -> str:
    if urlsplit(wanted.url).scheme == "file":
        # A file name on disk may be no UTF-8, so the bytes of the address are decoded as the file system's names are.
        return copy_checked(Path(os.fsdecode(unquote_to_bytes(urlsplit(wanted.url).path))), wanted)
    try:
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.cannot_write(wanted.target, error) from error
    partial = Partial(wanted.target)
    # A single connection continues what an earlier try over a single connection left.
    parts = Parts(wanted, acquire) if acquire.connections > 1 and not partial.version(wanted.url) else None
    best = useless = 0
    version = None
    while True:
        try:
            if parts:
                if sha256 := parts.receive():
                    return sha256
                parts = None
            patience.wait_for_turn(wanted.url, acquire)
            return receive(wanted, partial, acquire)
        except TransientError as trouble:
            now = parts.version if parts else partial.version(wanted.url)
            # These are the bytes that the next try can continue from.
            held = parts.held if parts else partial.size if now else 0
            # After the server replaced the file, the size of the old part says nothing about progress with the new one.
            is_another = None not in (version, now) and now != version
            useless = 0 if held > best and not is_another else useless + 1
            best = held if is_another else max(best, held)
            version = now or version
            if useless >= acquire.attempts:
                raise PipelineError(
                    f"{trouble}; {counted(useless, 'try')} without progress",
                    where=wanted.where,
                    remedy=f"run again to continue where it stopped, {ANOTHER_ADDRESS}",
                ) from trouble
            refuse_long_wait(trouble, wanted, acquire)
            time.sleep(max(trouble.after_s, patience.backoff_s(useless)))


def refuse_long_wait(trouble: TransientError, wanted: Wanted, acquire: Acquire) -> None:
    """Raise PipelineError when a server asks to wait longer than the config allows. Coming back earlier would disturb
    the server, and waiting for hours would block a job."""
    if trouble.after_s > acquire.longest_wait_s:
        raise PipelineError(
            f"{trouble}, and asks to wait {duration_text(trouble.after_s)}; acquire.longest_wait_s allows"
            f" {duration_text(acquire.longest_wait_s)}",
            where=wanted.where,
            remedy=f"run again in {duration_text(trouble.after_s)} to continue where it stopped, {ANOTHER_ADDRESS}",
        ) from trouble


def first_that_works(mirrors: list[Wanted], acquire: Acquire) -> None:
    """Download from the first address that gives the file.

    Raises PipelineError with every address's reason, and NoSuchFileError when every address says that there is no such
    file.
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
        f"none of {counted(len(mirrors), 'address', 'addresses')} gave the file ({reasons})",
        where=mirrors[0].name,
        remedy=f"put the file ({mirrors[0].digest or mirrors[0].target.name}) into a folder named under acquire.local",
    )


def copy_checked(path: Path, wanted: Wanted) -> str:
    """Copy a file or folder of this machine to a target and return its SHA-256. The target appears after the check.

    A folder is packed into a tar. The copy is never a link, because later edits of the original must not change the
    results. Raises NoSuchFileError when nothing is at `path`, and PipelineError for another size or digest and for what
    cannot be read.
    """
    if path.is_dir():
        return _copy_folder(path, wanted)
    if not path.is_file():
        raise NoSuchFileError("no such file", where=wanted.where, remedy="put it there, or correct its address")
    state = path.stat()
    wanted.check_size(state.st_size)
    if not os.access(path, os.R_OK):
        raise PipelineError("cannot be read", where=wanted.where, remedy="allow this user to read that file")
    with files.atomic_path(wanted.target) as partial:
        copy(path, partial)
        sha256 = files.sha256(partial)
        wanted.check(partial, sha256)
    originals.same_time(state, wanted.target)
    return sha256


def _copy_folder(folder: Path, wanted: Wanted) -> str:
    packed = wanted.target.with_name(f".{wanted.target.name}.packed")
    newest = folders.newest_ns(folder)
    try:
        folders.pack(folder, packed, wanted.name)
        sha256 = files.sha256(packed)
        wanted.check(packed, sha256)
        # `originals.py` compares these times to notice a later change of the original.
        os.utime(packed, ns=(newest, newest))
        os.replace(packed, wanted.target)
    finally:
        packed.unlink(missing_ok=True)
    return sha256


def find_local(source: Source, folders: Iterable[str], digest: str | None) -> Path | None:
    """Search `folders` for the file that has the source's digest, or, without a digest, the source's file name.

    An archive without a digest is also found as a folder that has the archive's name without its suffix. Returns None
    when nothing fits. Raises PipelineError for a folder that does not exist.
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
            # A file that cannot be read cannot be shown to be the wanted one, so the search goes on.
            with suppress(PipelineError):
                if digest is not None and _has(path, digest):
                    return path
    return None


def _without_suffix(name: str) -> str:
    suffix = next((s for s in ARCHIVE_SUFFIXES if name.endswith(s)), "")
    return name.removesuffix(suffix).removesuffix(".tar")


def _candidates(folder: Path, source: Source) -> Iterator[Path]:
    """Yield files that may be the wanted one: those of its size, if the size is known.

    Files of its name come first, because every file must be read for its digest, which takes long.
    """
    found = [
        path
        for parent, _, names in os.walk(folder)
        for path in (Path(parent, name) for name in names)
        if os.access(path, os.R_OK) and path.is_file() and source.n_bytes in (None, path.stat().st_size)
    ]
    yield from sorted(found, key=lambda path: (path.name != source.file, path))


def _fetch(source: Source, target: Path, acquire: Acquire, *, again: bool = False) -> None:
    """Fetch a source. again: whether its original on this machine has changed, so that the copy is outdated."""
    pin = pin_path_of(target)
    digest = source.digest or _pinned(pin)
    if again or not (target.is_file() and _has(target, digest)):
        local = None if again else find_local(source, acquire.local, digest)
        addresses = [local.resolve().as_uri()] if local else source.addresses
        first_that_works([_wanted(url, source, target, digest, acquire) for url in addresses], acquire)
    if source.digest is None:
        files.write_json(pin, {"sha256": files.sha256(target), "bytes": target.stat().st_size})


def _wanted(url: str, source: Source, target: Path, digest: str | None, acquire: Acquire) -> Wanted:
    """Describe the file to get. A pinned digest does not apply to a file of this machine: its owner may change it.

    Only a digest in the table of sources refuses a changed file of this machine.
    """
    if source.is_mirrored or not url.startswith("file:"):
        remedy = f"it changed since it was first fetched; to use the new file, remove {target.parent}"
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
        raise PipelineError("holds no digest", where=pin, remedy=f"remove {pin.parent} to fetch the file again")
    return f"sha256:{sha256}"


def _has(path: Path, digest: str | None) -> bool:
    algorithm, _, value = (digest or "").partition(":")
    return digest is None or files.digest(path, algorithm) == value
