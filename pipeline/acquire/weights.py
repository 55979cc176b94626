"""Finds weight files that were fetched. Each encoder has its own way to read them without running code from them."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.layout import Layout
from pipeline.manifests import files_of
from pipeline.version import program


def weights_file(name: str, results: Path) -> Path:
    """Return the fetched file of the source `name`. Raises PipelineError, with the command that fetches it, if it is
    missing."""
    manifest = Layout(results).manifest("fetched", name=name)
    remedy = f"{program()} --results {results} fetch {name} --manifest {manifest}"
    if not manifest.exists():
        raise PipelineError("these weights are not here", where=name, remedy=remedy)
    (path,) = files_of(manifest)
    if not path.is_file():
        raise PipelineError("these weights were fetched, but are gone", where=path, remedy=remedy)
    return path
