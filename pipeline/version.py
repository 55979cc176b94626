"""The version of this package, as its installation or its checkout says, and the commit of the checkout."""

from __future__ import annotations

import os
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "tr-detr-pipeline"
PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LONGEST_S = 20
"""Seconds that git may take. A file system may be slow, and nothing waits for a commit longer than that."""


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


def commit() -> str:
    """Return the short hash of the checkout's commit, `+` behind it where tracked files differ from it.

    Empty where this file is in no checkout with a `.git`, and where git is absent or does not answer; never an error.
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
