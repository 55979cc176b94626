"""Where a result comes from: revisions of stages, manifests, and the no-op rule every stage follows.

A stage's declared output is its manifest: small, written last, equal bytes for equal work. Before importing anything
heavy a stage compares the digests of its inputs and its resolved settings with the manifest it wrote last time, and
ends when nothing changed: Snakemake deletes declared outputs before a job, and re-runs more than what changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import files, stages, work_record
from pipeline.errors import PipelineError, is_printable, printable

STAGES: dict[str, int] = {"benchmark": 1} | {name: stage.revision for name, stage in stages.STAGES.items()}
"""The revision of every stage, by its name in manifests; `benchmark` is the demo's own."""

MANIFEST_BEGINS = b"{\n"
"""How every manifest is written, and no line of JSONL."""


@dataclass
class Outcome:
    """What a stage's work left behind.

    files: everything it made and a later stage may read. counts: what a reader of the manifest wants to see.
    skipped: one row per thing left out, `{"vid": …, "why": …}` (or `qid`).
    """

    files: Iterable[Path] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)


class Snapshot:
    """Files as they are now, each read at most once: a plan asks for the same manifests many times."""

    def __init__(self) -> None:
        self._json: dict[Path, Any] = {}
        self._sha256: dict[Path, str] = {}

    def json(self, path: Path) -> Any:
        """The content of a JSON file. Raises PipelineError as `files.read_json`."""
        if path not in self._json:
            self._json[path] = files.read_json(path)
        return self._json[path]

    def manifest(self, path: Path) -> dict[str, Any] | None:
        """The content of a manifest; None for any other file. Raises PipelineError for a file that cannot be read."""
        if path not in self._json:
            try:
                with open(path, "rb") as file:
                    if file.read(len(MANIFEST_BEGINS)) != MANIFEST_BEGINS:
                        return None
            except OSError as error:
                raise files.cannot_read(path, error) from error
        with suppress(PipelineError):
            content = self.json(path)
            return content if isinstance(content, dict) else None
        return None

    def sha256(self, path: Path) -> str:
        """The digest of a file. Raises PipelineError as `files.sha256`."""
        if path not in self._sha256:
            self._sha256[path] = files.sha256(path)
        return self._sha256[path]


@dataclass(frozen=True)
class Asked:
    """What a stage is asked for, in the very form in which its manifest will record it.

    The stage passes it to `run_stage`, and the plan of the workflow compares it with the manifest that is there, so
    both judge alike. settings, inputs, only: as in `run_stage`.
    """

    stage: str
    settings: Mapping[str, Any]
    inputs: Sequence[Path] = ()
    only: Callable[[Path], bool] | None = None

    def header(self, snapshot: Snapshot | None = None) -> dict[str, Any]:
        """The fields of the manifest that are known before the work. Raises PipelineError for unreadable inputs."""
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
    """Do `work` unless `manifest` says that it was done already; write the manifest. Returns whether work was done.

    inputs: the manifests (or plain files) the work reads. settings: everything else that can change a result, as
    JSON values. only: whether the work reads a file that an input manifest lists, by its path; without it all count. So
    a change of PANN leaves a training on video alone untouched. again: work even where the manifest says it was done.
    wait: a second process waits for the lock beside the manifest; without it that process ends with a PipelineError.
    While the work lasts a mark stands beside the manifest: work that fails may have written over some of the files that
    the older manifest lists.
    """
    manifest = Path(manifest)
    with files.lock(manifest, wait=wait):
        header = Asked(stage, settings or {}, tuple(map(Path, inputs)), only).header()
        if not again and is_done(manifest, header):
            begun(manifest).unlink(missing_ok=True)
            os.utime(manifest)
            work_record.note("unchanged", stage=stage, manifest=manifest, imported=work_record.imported())
            return False
        begun(manifest).touch()
        work_record.note("began", stage=stage, manifest=manifest)
        outcome = work()
        files.write_json(
            manifest,
            header
            | {
                "files": [describe(path) for path in sorted(map(Path, outcome.files))],
                "counts": dict(outcome.counts),
                "skipped": outcome.skipped,
            },
        )
        begun(manifest).unlink(missing_ok=True)
    return True


def run_asked(
    asked: Asked, manifest: Path | str, work: Callable[[], Outcome], *, again: bool = False, wait: bool = False
) -> bool:
    """`run_stage` for a stage whose settings and inputs were put together in `asked.py`."""
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


def describe(path: Path) -> dict[str, Any]:
    """One file as a manifest lists it: path, bytes, sha256."""
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": files.sha256(path)}


def is_done(manifest: Path, header: Mapping[str, Any], snapshot: Snapshot | None = None) -> bool:
    """Whether the last work recorded at `manifest` is exactly this and every file it lists is there at its size.

    After work that began and did not end, a size proves nothing: then the digests are compared.
    """
    old = last_record(manifest, snapshot)
    is_this = bool(old) and all(old.get(key) == header[key] for key in header) and is_whole(old)
    return is_this and (not begun(manifest).exists() or _is_unchanged(old))


def last_record(manifest: Path, snapshot: Snapshot | None = None) -> dict[str, Any]:
    """What a stage's last work left: its manifest; empty where there is none, or a torn one."""
    with suppress(PipelineError):
        found = (snapshot or Snapshot()).json(manifest)
        return found if isinstance(found, dict) else {}
    return {}


def begun(manifest: Path) -> Path:
    """The mark that stands beside a manifest from before its stage's work until after it."""
    return manifest.with_name(f".{manifest.name}.begun")


def is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether every file that a manifest lists exists at the size it had."""
    for entry in manifest.get("files", ()):
        try:
            if os.stat(entry["path"]).st_size != entry["bytes"]:
                return False
        except OSError:
            return False
    return True


def _is_unchanged(manifest: Mapping[str, Any]) -> bool:
    return all(files.sha256(entry["path"]) == entry["sha256"] for entry in manifest.get("files", ()))


def files_of(manifest: Path | str) -> list[Path]:
    """The files a manifest lists. Raises PipelineError where it is missing or none."""
    if (listed := _listed_files(Path(manifest))) is None:
        remedy = "name the manifest that a stage wrote; one of ours that is damaged is made again by its rule"
        raise PipelineError("is no manifest of this pipeline", where=manifest, remedy=remedy)
    return [Path(entry["path"]) for entry in listed]


def files_behind(path: Path) -> list[Path]:
    """The files that a manifest lists; any other path stands for itself. What decides is the content, not the name."""
    listed = _listed_files(path) if path.is_file() else None
    return [path] if listed is None else [Path(entry["path"]) for entry in listed]


def known_digest(path: Path) -> tuple[Path, str]:
    """The first file behind a manifest, and its SHA-256 as recorded there; any other path is read for its digest.

    Raises PipelineError for a manifest that lists no file, and for a file that cannot be read.
    """
    listed = _listed_files(path)
    if listed is None:
        return path, files.sha256(path)
    if not listed:
        raise PipelineError("lists no file", where=path, remedy="delete it and run again")
    return Path(listed[0]["path"]), listed[0]["sha256"]


def _listed_files(path: Path, snapshot: Snapshot | None = None) -> list[dict[str, Any]] | None:
    """What a manifest lists; None for any other file: a manifest is one JSON object with `stage` and `files`.

    Raises PipelineError for a file that cannot be read, and for a manifest that lists what no stage could have made.
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
