"""Weight files that were fetched. How one is read without running anything is each encoder's own rule."""

from __future__ import annotations

from pathlib import Path

from pipeline import provenance
from pipeline.errors import PipelineError
from pipeline.layout import Layout


def weights_file(name: str, results: Path) -> Path:
    """The fetched file of the source `name`. Raises PipelineError with the command that fetches it where it is not."""
    manifest = Layout(results).manifest("fetched", name=name)
    remedy = f"python -m pipeline --results {results} fetch {name} --manifest {manifest}"
    if not manifest.exists():
        raise PipelineError("these weights are not here", where=name, remedy=remedy)
    (path,) = provenance.files_of(manifest)
    if not path.is_file():
        raise PipelineError("these weights were fetched, but are gone", where=path, remedy=remedy)
    return path
