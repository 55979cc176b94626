"""A job of a stage, made as its command makes it."""

from __future__ import annotations

from pathlib import Path

from pipeline.stages import STAGES, StageJob


def run(stage, results, manifest, inputs=None, settings=None, **about):
    """Do a job; returns whether there was work. inputs: a path, or several, by name. settings: sections by key."""
    row = STAGES[stage]
    given = {name: (paths,) if isinstance(paths, Path) else tuple(paths) for name, paths in (inputs or {}).items()}
    inputs = {one.name: given.pop(one.name, ()) for one in row.inputs}
    assert not given
    model = row.settings_class()(**(settings or {}))
    return row.run(StageJob(Path(results), Path(manifest), model, about, inputs))
