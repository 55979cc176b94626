"""Finds the version of this package (from its checkout or its installation) and the commit of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "tr-detr-pipeline"
SCRIPT = "tr-detr"
"""The name of the console script that an installation brings."""
PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LONGEST_S = 20
"""Largest number of seconds to wait for git, because a file system may be slow."""


def version() -> str:
    """Return the version of the checkout around this file or, if there is none, that of the installation."""
    if PROJECT.is_file():
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == DISTRIBUTION:
            return str(project["version"])
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


def program() -> str:
    """Return how this program was called, for commands that a message names."""
    return SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "python -m pipeline"


def has_workflow() -> bool:
    """Tell whether the workflow lies beside this package. An installation brings the package alone."""
    return (PROJECT.parent / "workflow" / "Snakefile").is_file()


def commit() -> str:
    """Return the short hash of the checkout's commit. It is followed by `+` if tracked files differ from the commit.

    It is '' if this file is in no checkout with a `.git`, and if git is absent or does not answer. This function never
    raises.
    """
    checkout = PROJECT.parent
    if not (checkout / ".git").exists():
        return ""
    try:
        found = _git(checkout, "rev-parse", "--short=12", "HEAD")
        return found + "+" * bool(_git(checkout, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""


def _git(checkout: Path, *words: str) -> str:
    # Inside a hook of git these variables name another checkout.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(checkout), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONGEST_S, env=environment)
    return done.stdout.strip()
