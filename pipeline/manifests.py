"""Reads manifests: which files they list, with which digests, and whether these files are still what they were.

A manifest is the small file that a stage writes last. It is one JSON object with `stage` and `files`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import files, seal
from pipeline.errors import PipelineError, is_printable, printable

MANIFEST_BEGINS = b"{\n"
"""The first bytes of every manifest. No line of JSONL has them, so large JSONL files need not be parsed."""

CHANGED = "was changed or damaged after it was written: its content does not fit its own digest"

SMALL_BYTES = 1 << 20
"""A file of up to 1 MiB is compared by its digest whenever its manifest is. Larger ones are compared by their size, and
by their digest when a stage reads them: the videos and features of a whole run are too much to read for a plan."""


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


def describe(path: Path) -> dict[str, Any]:
    """Describe a file as a manifest lists it: path, size in bytes, and SHA-256."""
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": files.sha256(path)}


def last_record(manifest: Path, snapshot: Snapshot | None = None) -> dict[str, Any]:
    """Return the manifest of a stage's last work. It is empty if there is none, or if it is damaged."""
    with suppress(PipelineError):
        return (snapshot or Snapshot()).manifest(manifest) or {}
    return {}


def begun(manifest: Path) -> Path:
    """Return the path of the marker file that lies beside a manifest while its stage works."""
    return manifest.with_name(f".{manifest.name}.begun")


def is_whole(manifest: Mapping[str, Any], read_up_to: float = SMALL_BYTES) -> bool:
    """Tell whether every file that a manifest lists exists with the size and the digest that the manifest gives.

    read_up_to: of a file with more bytes the size alone is compared.
    """
    return all(is_as_listed(entry, read_up_to) for entry in manifest.get("files", ()))


def is_as_made(manifest: Mapping[str, Any], path: Path) -> bool:
    """Tell whether a manifest lists this file, and the file has the digest that the manifest gives."""
    return any(entry["path"] == str(path) and is_as_listed(entry) for entry in manifest.get("files", ()))


def is_as_listed(entry: Mapping[str, Any], read_up_to: float = math.inf) -> bool:
    """Tell whether a file exists with the size and the digest that its entry in a manifest gives.

    read_up_to: of a file with more bytes the size alone is compared.
    """
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


def listed_or_itself(path: Path) -> list[Path]:
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
