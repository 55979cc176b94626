"""Finds manifests that differ from what is asked for, although Snakemake may take them for finished.

A manifest is the only output that a rule declares, and Snakemake's own record of it cannot be trusted. After a failed
job the record has the new settings, but the restored manifest has the old ones. The record may be lost. It does not
contain a deleted store or a raised revision. So each manifest of a plan is compared with what its stage would be asked
for. The stage itself uses the same comparison to decide whether it has work. Nothing is moved or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import methods
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.manifests import Snapshot
from pipeline.provenance import STAGES, StageRequest, is_done


def has_work(request: StageRequest, manifest: Path, snapshot: Snapshot | None = None) -> bool:
    """Tell whether the stage of an existing manifest would find work if it were started now.

    snapshot: the content of other manifests that were read already. An input that is missing or damaged does not count
    here: its own stage makes it again first, and everything that depends on it follows.
    """
    snapshot = snapshot or Snapshot()
    try:
        header = request.header(snapshot)
    except PipelineError:
        return False
    return not is_done(manifest, header, snapshot)


def is_current(manifest: Mapping[str, Any]) -> bool:
    """Tell whether the stage that wrote a manifest, the families that it made and the methods of its runs still have
    the revisions that the manifest names."""
    settings = manifest.get("settings", {})
    runs = settings["runs"].values() if isinstance(settings.get("runs"), dict) else ()
    if not all(methods.is_current(run.get("model", {})) for run in runs):
        return False
    made = settings.get("families", {})
    families = {name: made[name].get("revision") for name in made if isinstance(made[name], dict)}
    written = {manifest["stage"]: manifest.get("revision")} | families
    now = STAGES | {name: FAMILIES[name].revision for name in families if name in FAMILIES}
    return all(now.get(name) == revision for name, revision in written.items())
