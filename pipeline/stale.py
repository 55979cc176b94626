"""What has to be made again although Snakemake sees no change: manifests whose files are gone, of an older revision,
with videos that did not come, or that it has no record of.

Looked for while the workflow is parsed. A manifest is the only output a rule declares, so nothing else would notice.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.provenance import REVISIONS, aside, is_whole, last_record, manifest_of

MANIFESTS = (
    "resources/*/*.json",
    "annotations/*/*.json",
    "videos/*/*.json",
    "segments/*/*.json",
    "features/*/*.json",
    "features/*/*/*.json",
    "runs/*.json",
    "predictions/*.json",
    "metrics/*.json",
    "tables/*.json",
    "figures/*.json",
)
"""Where manifests lie under a results folder."""

Manifests = Mapping[Path, Mapping[str, Any]]


def set_aside(results: Path) -> list[Path]:
    """Hide manifests that no longer say what is there, so that the workflow makes them again; return those.

    Snakemake makes a missing file only for a job that has to run. So whatever stands on a hidden manifest is hidden
    too; its stage still finds it, and brings it back where the new files equal the old. Where a job is at work (of
    another Snakemake, or left behind by a killed one), its manifest stays.
    """
    manifests = dict(_manifests(results))
    stale = {path for path, content in manifests.items() if not (_is_good(content) and is_remembered(path))}
    for path in _with_dependents(stale, manifests):
        with suppress(files.BusyError), files.lock(path):
            os.replace(path, aside(path))
    return sorted(stale)


def put_back(results: Path) -> None:
    """Let everybody see the hidden manifests that no job made again: after a plan, a failure, or for want of a target.

    They are told from good ones whenever the workflow is parsed, so nothing stale passes for new.
    """
    for pattern in MANIFESTS:
        for hidden in sorted(results.glob(str(aside(Path(pattern))))):
            path = manifest_of(hidden)
            with suppress(files.BusyError, FileNotFoundError), files.lock(path):
                if not path.exists():
                    os.replace(hidden, path)


def is_remembered(manifest: Path, records: Path = Path(".snakemake")) -> bool:
    """Whether Snakemake has a record of how it made a manifest, or is making it now.

    Where it has none (records deleted, results copied here or named otherwise) it takes the manifest as it is, whatever
    the config says. So such a manifest counts as stale: its stage, started again, compares and mostly ends at once.
    """
    name = urlsafe_b64encode(str(manifest).encode()).decode()
    longest = os.pathconf(".", "PC_NAME_MAX") - 1  # longer names are cut there: @piece/@piece/rest
    pieces = [name[i : i + longest] for i in range(0, len(name), longest)]
    place = Path(*(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
    return any((records / kind / place).exists() for kind in ("metadata", "incomplete"))


def is_current(manifest: Mapping[str, Any]) -> bool:
    """Whether the stage that wrote a manifest, and the families it made, still have the revision it names."""
    made = manifest.get("settings", {}).get("families", {})
    families = {name: made[name].get("revision") for name in made if isinstance(made[name], dict)}
    written = {manifest["stage"]: manifest.get("revision")} | families
    return all(REVISIONS.get(name) == revision for name, revision in written.items())


def forget_failures(manifest: Path) -> None:
    """Take work that counts failures for undone, so that its stage, started again, tries once more what failed."""
    if last_record(manifest).get("counts", {}).get("failed"):
        manifest.unlink(missing_ok=True)
        aside(manifest).unlink(missing_ok=True)


def _is_good(content: Mapping[str, Any]) -> bool:
    # A video that did not come is asked for again. One that hangs its decoder would cost every start its whole time.
    did_not_come = content["stage"] == "videos" and content.get("counts", {}).get("failed")
    return is_whole(content) and is_current(content) and not did_not_come


def _manifests(results: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path in _existing(results):
        content = files.read_json(path, files.MADE_HERE)
        if isinstance(content, dict) and "stage" in content:
            yield path, content


def _existing(results: Path) -> list[Path]:
    return [path for pattern in MANIFESTS for path in sorted(results.glob(pattern))]


def _with_dependents(stale: set[Path], manifests: Manifests) -> set[Path]:
    """These manifests, those made from their files, those made from files of these, to the last table."""
    found: set[Path] = set()
    newest = stale
    while newest:
        found |= newest
        made = {entry["path"] for path in newest for entry in manifests[path].get("files", ())}
        newest = {path for path, content in manifests.items() if made & set(content.get("inputs", ()))} - found
    return found
