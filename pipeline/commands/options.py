"""What several commands ask of their options: resolved settings, and the files behind manifests."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from pipeline import config, provenance
from pipeline.errors import PipelineError


def settings_of(options: Namespace) -> dict[str, Any]:
    """`--settings` as a dict. Raises PipelineError for text that is no JSON object."""
    try:
        settings = json.loads(options.settings)
    except ValueError as error:
        raise PipelineError(f"is no JSON ({error})", where="--settings", remedy="pass a JSON object") from error
    if not isinstance(settings, dict):
        raise PipelineError("is no JSON object", where="--settings", remedy='pass {"dataset": …}')
    return settings


def section(options: Namespace, key: str, kind: type[config.S]) -> config.S:
    """A section of the config among the settings. Raises PipelineError where it is missing or does not fit."""
    settings = settings_of(options)
    if key not in settings:
        raise PipelineError(f"has no `{key}`", where="--settings", remedy="pass what the rule of this stage passes")
    return config.section(kind, json.dumps(settings[key]))


def file_behind(path: Path) -> Path:
    """The one file behind a `fetch` manifest; any other path stands for itself."""
    return provenance.files_behind(path)[0]
