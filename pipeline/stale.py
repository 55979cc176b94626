"""Which manifests do not say what is asked for, although Snakemake may take them for finished.

A manifest is the only output that a rule declares, and Snakemake's own record of it is no proof: after a failed job the
record holds the new settings while the restored manifest holds the old ones, a lost record says nothing, and neither
knows of a deleted store or of a raised revision. So each manifest of a plan is compared with what its stage would be
asked for, by the very rule by which the stage itself decides whether it has work. Nothing is moved or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import methods
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.manifests import Snapshot
from pipeline.provenance import STAGES, Asked, is_done


def has_work(asked: Asked, manifest: Path, snapshot: Snapshot | None = None) -> bool:
    """Whether the stage behind a manifest that exists would do its work if it were started now.

    snapshot: what was read of other manifests already. An input that is missing or torn is made again first, by a stage
    of its own, and whatever stands on it follows; so it is no reason here.
    """
    snapshot = snapshot or Snapshot()
    try:
        header = asked.header(snapshot)
    except PipelineError:
        return False
    return not is_done(manifest, header, snapshot)


def is_current(manifest: Mapping[str, Any]) -> bool:
    """Whether the stage that wrote a manifest, the families it made and the methods of its runs still have the
    revisions it names."""
    settings = manifest.get("settings", {})
    runs = settings["runs"].values() if isinstance(settings.get("runs"), dict) else ()
    if not all(methods.is_current(run.get("model", {})) for run in runs):
        return False
    made = settings.get("families", {})
    families = {name: made[name].get("revision") for name in made if isinstance(made[name], dict)}
    written = {manifest["stage"]: manifest.get("revision")} | families
    now = STAGES | {name: FAMILIES[name].revision for name in families if name in FAMILIES}
    return all(now.get(name) == revision for name, revision in written.items())
