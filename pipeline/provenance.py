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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import files, locks, seal, stages, work_record
from pipeline.layout import results_of
from pipeline.manifests import (
    SMALL_BYTES,
    Snapshot,
    begun,
    describe,
    files_of,
    input_digests,
    is_as_listed,
    is_whole,
    last_record,
    refuse_damaged,
)

STAGES: dict[str, int] = {"benchmark": 1} | {name: stage.revision for name, stage in stages.STAGES.items()}
"""The revision of every stage, by its name in manifests; `benchmark` is the demo's own."""


@dataclass
class Outcome:
    """The results of the work of a stage.

    files: all files that it made and that a later stage may read. counts: numbers for the reader of the manifest.
    skipped: a row for each video or query that was skipped: `{"vid": …, "why": …}` (or `qid`).
    """

    files: Iterable[Path] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class StageRequest:
    """The work that a stage has to do, in the form in which its manifest will record it.

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
    with locks.lock(manifest, wait=wait):
        header = StageRequest(stage, settings or {}, read, only).header()
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


def run_request(
    request: StageRequest, manifest: Path | str, work: Callable[[], Outcome], *, again: bool = False, wait: bool = False
) -> bool:
    """Do what `run_stage` does, for a stage whose settings and inputs were put together in `stage_requests.py`."""
    return run_stage(
        request.stage,
        manifest,
        work,
        inputs=request.inputs,
        settings=request.settings,
        only=request.only,
        again=again,
        wait=wait,
    )


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
        if (since is None or path.stat().st_mtime_ns < since) and not is_as_listed(entry):
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


def is_done(manifest: Path, header: Mapping[str, Any], snapshot: Snapshot | None = None) -> bool:
    """Tell whether the manifest records exactly this work, and its files exist (`is_whole`).

    If later work began and did not end, files may have been replaced by others of the same size. The digests of all are
    then compared.
    """
    old = last_record(manifest, snapshot)
    is_this = bool(old) and all(old.get(key) == header[key] for key in header)
    return is_this and is_whole(old, math.inf if begun(manifest).exists() else SMALL_BYTES)
