"""Records where a result comes from, and decides whether a stage has work.

The declared output of a stage is its manifest, a small file that is written last. Equal work gives a manifest of equal
bytes. Before a stage imports anything heavy, it compares the digests of its inputs and its settings with the manifest
of its last work. If nothing changed, it ends. This is needed because Snakemake starts more jobs than those whose inputs
changed. The large files of a stage are not declared as outputs, because Snakemake deletes declared outputs before a
job.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import files, seal, stages, work_record
from pipeline.errors import PipelineError, is_printable, printable
from pipeline.layout import results_of

STAGES: dict[str, int] = {"benchmark": 1} | {name: stage.revision for name, stage in stages.STAGES.items()}
"""The revision of every stage, by its name in manifests; `benchmark` is the demo's own."""

MANIFEST_BEGINS = b"{\n"
"""The first bytes of every manifest. No line of JSONL has them, so large JSONL files need not be parsed."""

CHANGED = "was changed or damaged after it was written: its content does not fit its own digest"

SMALL_BYTES = 1 << 20
"""A file of up to 1 MiB is compared by its digest whenever its manifest is. Larger ones are compared by their size, and
by their digest when a stage reads them: the videos and features of a whole run are too much to read for a plan."""


@dataclass
class Outcome:
    """What the work of a stage made.

    files: all files that it made and that a later stage may read. counts: numbers for the reader of the manifest.
    skipped: a row for each video or query that was skipped: `{"vid": …, "why": …}` (or `qid`).
    """

    files: Iterable[Path] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)


class Snapshot:
    """Reads each file at most once and remembers it, because a plan asks for the same manifests many times."""

    def __init__(self) -> None:
        self._json: dict[Path, Any] = {}
        self._sha256: dict[Path, str] = {}
        self._unbroken: set[Path] = set()

    def json(self, path: Path) -> Any:
        """Return the content of a JSON file. Raises PipelineError as `files.read_json` does."""
        if path not in self._json:
            self._json[path] = files.read_json(path)
        return self._json[path]

    def manifest(self, path: Path) -> dict[str, Any] | None:
        """Return the content of a manifest, or None for another file.

        Raises PipelineError if it cannot be read, and if it has another content than when it was written (`seal.py`).
        """
        if path not in self._json:
            try:
                with open(path, "rb") as file:
                    if file.read(len(MANIFEST_BEGINS)) != MANIFEST_BEGINS:
                        return None
            except OSError as error:
                raise files.cannot_read(path, error) from error
        try:
            content = self.json(path)
        except PipelineError:
            return None
        if not isinstance(content, dict):
            return None
        if "stage" in content and path not in self._unbroken:
            if seal.is_broken(content):
                raise PipelineError(CHANGED, where=path, remedy=files.MADE_HERE)
            self._unbroken.add(path)
        return content

    def sha256(self, path: Path) -> str:
        """Return the digest of a file. Raises PipelineError as `files.sha256` does."""
        if path not in self._sha256:
            self._sha256[path] = files.sha256(path)
        return self._sha256[path]


@dataclass(frozen=True)
class Asked:
    """What a stage is asked for, in the form in which its manifest will record it.

    The stage passes it to `run_stage`, and the plan of the workflow compares it with the existing manifest. So both
    decide by the same rule. settings, inputs and only have the same meaning as in `run_stage`.
    """

    stage: str
    settings: Mapping[str, Any]
    inputs: Sequence[Path] = ()
    only: Callable[[Path], bool] | None = None

    def header(self, snapshot: Snapshot | None = None) -> dict[str, Any]:
        """Return the fields of the manifest that are known before the work.

        Raises PipelineError if an input cannot be read.
        """
        return {
            "stage": self.stage,
            "revision": STAGES[self.stage],
            "settings": dict(self.settings),
            "inputs": input_digests(self.inputs, self.only, snapshot),
        }


def run_stage(
    stage: str,
    manifest: Path | str,
    work: Callable[[], Outcome],
    *,
    inputs: Iterable[Path | str] = (),
    settings: Mapping[str, Any] | None = None,
    only: Callable[[Path], bool] | None = None,
    wait: bool = False,
    again: bool = False,
) -> bool:
    """Do `work` unless `manifest` says that it was done already, and write the manifest. Returns whether work was done.

    inputs: the manifests (or plain files) that the work reads.
    settings: everything else that can change a result, as JSON values.
    only: a function that says by its path whether the work reads a file that an input manifest lists. Without it, all
    such files count. With it, a change of PANN does not repeat a training on video alone.
    again: do the work even if the manifest says that it was done.
    wait: whether a second process waits for the lock beside the manifest. Otherwise it ends with a PipelineError.
    Raises PipelineError before the work if a file that an input manifest lists has another digest by now.
    While the work lasts, a marker file (`begun`) lies beside the manifest, because work that fails may have written
    over some of the files that the older manifest lists.
    """
    manifest, read = Path(manifest), tuple(map(Path, inputs))
    with files.lock(manifest, wait=wait):
        header = Asked(stage, settings or {}, read, only).header()
        if not again and is_done(manifest, header):
            begun(manifest).unlink(missing_ok=True)
            os.utime(manifest)  # Snakemake takes an output that is older than its inputs for out of date
            work_record.note("unchanged", stage=stage, manifest=manifest, imported=work_record.imported())
            return False
        refuse_damaged(read, only)
        _drop_damaged(manifest)
        if not begun(manifest).exists():  # the time of a marker says when the work that did not end began
            begun(manifest).touch()
        work_record.note("began", stage=stage, manifest=manifest)
        outcome = work()
        made = {
            "files": [describe(path) for path in sorted(map(Path, outcome.files))],
            "counts": dict(outcome.counts),
            "skipped": outcome.skipped,
        }
        files.write_json(manifest, seal.sealed(header | made))
        begun(manifest).unlink(missing_ok=True)
        _sweep(manifest)
    return True


def run_asked(
    asked: Asked, manifest: Path | str, work: Callable[[], Outcome], *, again: bool = False, wait: bool = False
) -> bool:
    """Do what `run_stage` does, for a stage whose settings and inputs were put together in `asked.py`."""
    return run_stage(
        asked.stage,
        manifest,
        work,
        inputs=asked.inputs,
        settings=asked.settings,
        only=asked.only,
        again=again,
        wait=wait,
    )


def input_digests(
    inputs: Iterable[Path | str], only: Callable[[Path], bool] | None = None, snapshot: Snapshot | None = None
) -> dict[str, str]:
    """Map each input to its SHA-256. A manifest stands for the files it lists: their recorded digests are taken.

    only: as in `run_stage`.
    """
    snapshot = snapshot or Snapshot()
    digests: dict[str, str] = {}
    for path in map(Path, inputs):
        listed = _listed_files(path, snapshot)
        if listed is None:
            digests[str(path)] = snapshot.sha256(path)
            continue
        for entry in listed:
            if only is None or only(Path(entry["path"])):
                digests[entry["path"]] = entry["sha256"]
    return digests


def refuse_damaged(inputs: Iterable[Path], only: Callable[[Path], bool] | None = None) -> None:
    """Compare every file that the manifests among `inputs` list with the digest that they give.

    A disk may turn a bit round and leave size and time as they are. Such a file must not become part of a result.
    only: as in `run_stage`. Raises PipelineError that names the first file with another digest, or that is gone.
    """
    for manifest in inputs:
        for entry in _listed_files(manifest) or ():
            path = Path(entry["path"])
            if only is not None and not only(path):
                continue
            if not path.exists():
                remedy = "start the workflow again, which makes it again"
                raise PipelineError(f"is gone, and {manifest} lists it", where=path, remedy=remedy)
            if (found := files.sha256(path)) != entry["sha256"]:
                why = f"was changed or damaged after it was made: its SHA-256 is {found}, and {manifest} gives"
                raise PipelineError(f"{why} {entry['sha256']}", where=path, remedy=files.MADE_HERE)


def _drop_damaged(manifest: Path) -> None:
    """Delete the files of the last work that have other bytes by now, so that no stage goes on from what they hold.

    Files that are newer than the marker of work that did not end were made by that work, and stay. A manifest may come
    from a stranger, so nothing outside its results folder is touched.
    """
    results = results_of(manifest)
    if results is None:
        return
    since = begun(manifest).stat().st_mtime_ns if begun(manifest).exists() else None
    for entry in last_record(manifest).get("files", ()):
        path = Path(entry["path"])
        if not path.is_file() or not path.resolve().is_relative_to(results.resolve()):
            continue
        if (since is None or path.stat().st_mtime_ns < since) and not _is_as_listed(entry):
            path.unlink()


def _sweep(manifest: Path) -> None:
    """Delete what killed jobs left half written beside the files that this work made. Its lock keeps others away."""
    names: dict[Path, set[str]] = {}
    for path in [manifest, *files_of(manifest)]:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, made in names.items():
        for path in folder.glob(".*.partial*"):
            if files.target_of_partial(path.name) in made:
                path.unlink(missing_ok=True)


def describe(path: Path) -> dict[str, Any]:
    """Describe a file as a manifest lists it: path, size in bytes, and SHA-256."""
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": files.sha256(path)}


def is_done(manifest: Path, header: Mapping[str, Any], snapshot: Snapshot | None = None) -> bool:
    """Whether the manifest records exactly this work, and its files are there (`is_whole`).

    If later work began and did not end, files may have been replaced by others of the same size. The digests of all are
    then compared.
    """
    old = last_record(manifest, snapshot)
    is_this = bool(old) and all(old.get(key) == header[key] for key in header)
    return is_this and is_whole(old, math.inf if begun(manifest).exists() else SMALL_BYTES)


def last_record(manifest: Path, snapshot: Snapshot | None = None) -> dict[str, Any]:
    """Return the manifest of a stage's last work. It is empty if there is none, or if it is damaged."""
    with suppress(PipelineError):
        return (snapshot or Snapshot()).manifest(manifest) or {}
    return {}


def begun(manifest: Path) -> Path:
    """Return the path of the marker file that lies beside a manifest while its stage works."""
    return manifest.with_name(f".{manifest.name}.begun")


def is_whole(manifest: Mapping[str, Any], read_up_to: float = SMALL_BYTES) -> bool:
    """Whether every file that a manifest lists exists with the size and the digest that the manifest gives.

    read_up_to: of a file with more bytes the size alone is compared.
    """
    return all(_is_as_listed(entry, read_up_to) for entry in manifest.get("files", ()))


def is_as_made(manifest: Mapping[str, Any], path: Path) -> bool:
    """Whether a manifest lists this file, and the file has the digest that it gives."""
    return any(entry["path"] == str(path) and _is_as_listed(entry) for entry in manifest.get("files", ()))


def _is_as_listed(entry: Mapping[str, Any], read_up_to: float = math.inf) -> bool:
    try:
        n_bytes = os.stat(entry["path"]).st_size
        return n_bytes == entry["bytes"] and (n_bytes > read_up_to or files.sha256(entry["path"]) == entry["sha256"])
    except (OSError, PipelineError):
        return False


def files_of(manifest: Path | str) -> list[Path]:
    """Return the files that a manifest lists. Raises PipelineError if it is missing or is not a manifest."""
    if (listed := _listed_files(Path(manifest))) is None:
        remedy = "name the manifest that a stage wrote; one of ours that is damaged is made again by its rule"
        raise PipelineError("is no manifest of this pipeline", where=manifest, remedy=remedy)
    return [Path(entry["path"]) for entry in listed]


def files_of_all(manifests: Iterable[Path]) -> list[Path]:
    """Return the files that several manifests list, in order. Raises PipelineError as `files_of` does."""
    return [path for manifest in manifests for path in files_of(manifest)]


def files_behind(path: Path) -> list[Path]:
    """Return the files that a manifest lists, or the path itself if it is not a manifest.

    The content of the file decides whether it is a manifest, not its name.
    """
    listed = _listed_files(path) if path.is_file() else None
    return [path] if listed is None else [Path(entry["path"]) for entry in listed]


def known_digest(path: Path) -> tuple[Path, str]:
    """Return the first file that a manifest lists and its recorded SHA-256.

    For a path that is not a manifest, this returns the path and computes its SHA-256.
    Raises PipelineError for a manifest that lists no file, and for a file that cannot be read.
    """
    listed = _listed_files(path)
    if listed is None:
        return path, files.sha256(path)
    if not listed:
        why = "is a manifest that lists no file, and one is needed"
        raise PipelineError(why, where=path, remedy="delete it and run the workflow again")
    return Path(listed[0]["path"]), listed[0]["sha256"]


def _listed_files(path: Path, snapshot: Snapshot | None = None) -> list[dict[str, Any]] | None:
    """Return the entries of the files that a manifest lists, or None for another file.

    A manifest is one JSON object with `stage` and `files`.
    Raises PipelineError for a file that cannot be read, and for a manifest with a path that cannot be printed.
    """
    content = (snapshot or Snapshot()).manifest(path)
    if not (content and "stage" in content and isinstance(content.get("files"), list)):
        return None
    listed: list[dict[str, Any]] = content["files"]
    for entry in listed:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "sha256")):
            return None
        if not entry["path"] or not is_printable(entry["path"]):
            why = f"lists a path that cannot be printed ({printable(entry['path'])})"
            raise PipelineError(why, where=path, remedy="delete it, rename that file and run again")
    return listed
