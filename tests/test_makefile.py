"""The Makefile on other people's machines: what their modules set, and which Python they have."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STRANGE = [
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONSTARTUP", "PYTHONDONTWRITEBYTECODE", "PYTHONSAFEPATH"),
    *("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "UV_TARGET", "UV_SYSTEM_PYTHON"),
]
FAKE = """#!/bin/sh
[ "$1" = -c ] && exec python3 -c "import sys
sys.version_info, sys.version = {info}, '{version} (a fake)'
exec(sys.argv[1])" "$2"
echo "would run $*"
exit 7
"""


@pytest.fixture
def make(tmp_path):
    """Run make on the Makefile in an empty folder; returns (exit code, what it said)."""
    if not shutil.which("make"):
        pytest.skip("no make here")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")

    def make(*arguments, **env):
        command = ["make", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return make


def test_what_a_clusters_modules_set_reaches_no_recipe(make, tmp_path):
    (tmp_path / "look.mk").write_text("include Makefile\nlook:\n\t@env\n")
    code, said = make("-f", "look.mk", "look", **dict.fromkeys(STRANGE, "1"))
    assert code == 0, said
    seen = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    assert {name for name in STRANGE if name in seen} == set()
    assert seen["PYTHONNOUSERSITE"] == "1"


@pytest.mark.parametrize("version", ["3.10.14", "3.11.0", "3.13.9", "3.14.0", "4.0.0"])
@pytest.mark.parametrize("target", [".venv/ready", ".venv-light/ready"])
def test_a_python_that_readme_does_not_promise_is_refused_before_anything_is_installed(make, tmp_path, target, version):
    fake = tmp_path / "fake-python"
    fake.write_text(FAKE.format(version=version, info=tuple(map(int, version.split(".")))))
    fake.chmod(0o755)
    code, said = make(target, f"PYTHON={fake}")
    assert code
    if version in ("3.11.0", "3.13.9"):
        assert "would run -m venv" in said
    else:
        assert f"Python 3.11, 3.12 or 3.13 is needed, found {version} -> make PYTHON=python3.12" in said
        assert "would run" not in said
