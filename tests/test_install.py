"""The package can be installed and used from any folder: script, version, extras, and every file that is no module."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import pipeline
from pipeline import cli
from pipeline import version as of
from pipeline.version import commit, version

ROOT = Path(__file__).resolve().parents[1]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETUP["project"]


def test_the_script_runs_the_command_line(monkeypatch, capsys):
    module, name = PROJECT["scripts"]["tr-detr"].split(":")
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/tr-detr", "--help"])
    with pytest.raises(SystemExit, match="0"):
        getattr(import_module(module), name)()
    assert capsys.readouterr().out.startswith("usage: tr-detr ")


def test_the_version_is_that_of_the_project(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"tr-detr-pipeline {PROJECT['version']}\n"
    assert version() == PROJECT["version"]


def test_all_extras_are_in_all():
    extras = PROJECT["optional-dependencies"]
    others = ",".join(name for name in extras if name not in ("all", "dev"))
    assert extras["all"] == [f"{PROJECT['name']}[{others}]"]
    assert others == "extract,train,serve"


def test_every_file_that_is_no_module_is_packaged():
    patterns = SETUP["tool"]["setuptools"]["package-data"]["pipeline"]
    others = [path for path in (ROOT / "pipeline").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    left = [path for path in others if not any(fnmatch.fnmatch(path.name, p.rpartition("/")[2]) for p in patterns)]
    assert left == []


def test_every_folder_of_the_package_is_a_package():
    folders = {path.parent for path in (ROOT / "pipeline").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_names_that_the_package_offers_are_there():
    assert pipeline.evaluate is import_module("pipeline.evaluation").evaluate
    pytest.importorskip("torch")
    assert pipeline.Moments is import_module("pipeline.asking.moments").Moments
    with pytest.raises(AttributeError, match="no attribute 'Moment'"):
        _ = pipeline.Moment


def test_commands_work_outside_the_checkout(tmp_path):
    code = "import sys; from pipeline.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "estimate", "--configfile", str(ROOT / "config.yaml")]
    answer = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert "no workflow here; run from the repository's root" in answer.stdout


def test_the_citation_names_this_version_and_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == PROJECT["version"]
    assert cited["preferred-citation"]["title"].startswith("TR-DETR: Task-Reciprocal Transformer")
    assert [author["family-names"] for author in cited["preferred-citation"]["authors"]] == [
        "Sun",
        "Zhou",
        "Chen",
        "Xie",
    ]


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a checkout with one commit that takes the place of this one."""
    monkeypatch.setattr(of, "PROJECT", tmp_path / "inside/pyproject.toml")
    (tmp_path / "inside").mkdir()
    of.PROJECT.write_text("one")
    git(tmp_path / "inside", "init", "-q")
    git(tmp_path / "inside", "add", ".")
    git(tmp_path / "inside", "commit", "-qm", "one")
    return tmp_path / "inside"


def test_the_commit_is_that_of_the_checkout_and_says_whether_files_differ(checkout, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(checkout / "elsewhere"))  # as in a hook of another checkout
    assert re.fullmatch(r"[0-9a-f]{12}", commit())
    (checkout / "results.txt").touch()  # no tracked file
    assert not commit().endswith("+")
    of.PROJECT.write_text("two")
    assert re.fullmatch(r"[0-9a-f]{12}\+", commit())


def test_without_git_or_a_checkout_of_its_own_there_is_no_commit_and_no_error(checkout, monkeypatch):
    with monkeypatch.context() as without:
        without.setenv("PATH", "")
        assert commit() == ""
    with monkeypatch.context() as slow:
        slow.setattr(of, "LONGEST_S", 0)
        assert commit() == ""
    (checkout / ".git/HEAD").write_text("damaged")
    assert commit() == ""
    # A package that is installed inside another project is of no commit of that project.
    git(checkout.parent, "init", "-q")
    (checkout / ".git").rename(checkout / "away")
    assert commit() == ""
