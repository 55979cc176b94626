"""The version of this package, as its installation or its checkout says."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "tr-detr-pipeline"
PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def version() -> str:
    """Return the version: that of the checkout around this file or, where there is none, of the installation."""
    if PROJECT.is_file():
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == DISTRIBUTION:
            return str(project["version"])
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
