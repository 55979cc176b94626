"""The workflow runs from any folder and with any Python variables of a site: jobs find their package.

Every case starts real jobs of seconds (the annotations of a small dataset); the hostile ones would fail in each job.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import files

ROOT = Path(__file__).resolve().parents[1]
MADE = Path("results/annotations/charades_sta/train.json")


@pytest.fixture
def place(tmp_path):
    """Return a working folder with a config and annotations, and nothing of the repository."""
    folder = tmp_path / "else where"  # a blank, as people have it
    folder.mkdir()
    table = ["name,kind,file,url,digest,bytes,licence,note"]
    for qid, split in enumerate(("train", "val")):
        row = {"qid": qid, "query": "somebody sits", "duration": 30.0, "vid": f"V{qid}", "relevant_windows": [[1, 9]]}
        path = tmp_path / f"{split}.jsonl"
        path.write_text(json.dumps(row) + "\n")
        table.append(f"{split},file,{split}.jsonl,{path.as_uri()},sha256:{files.sha256(path)},,,")
    (folder / "sources.csv").write_text("\n".join(table) + "\n")
    config = {
        "acquire": {"sources": "sources.csv"},
        "encoding": {"weights": {"clip-vit-b32": "random:0"}},
        "datasets": {"charades_sta": {"clip": "1s", "shards": 1, "annotations": {"train": "train", "val": "val"}}},
        "training": {"charades_sta": {}},
        "experiments": {"one": {"dataset": "charades_sta", "features": {"video": ["clip-vit-b32"]}}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Yield a separate checkout without bytecode, to which nobody may write."""
    folder = tmp_path_factory.mktemp("read only") / "checkout"
    for part in ("workflow", "pipeline"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def run(folder, *arguments, cwd=None, **env):
    """Run Snakemake without what this test run itself put into the environment; returns what it said."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments)],
        cwd=cwd or folder,
        env=clean | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def snakefile(checkout):
    return ["--snakefile", checkout / "workflow" / "Snakefile"]


@pytest.mark.workflow
def test_from_any_folder_with_a_checkout_that_nobody_may_write_to(place, checkout):
    before = sorted(path for path in checkout.rglob("*") if "__pycache__" not in path.parts)
    run(place, *snakefile(checkout), "annotations")
    assert (place / MADE).is_file()
    assert sorted(path for path in checkout.rglob("*") if "__pycache__" not in path.parts) == before


@pytest.mark.workflow
def test_with_the_option_for_another_folder(place):
    run(place, "annotations", "--directory", place, "--configfile", place / "config.yaml", cwd=ROOT)
    assert (place / MADE).is_file()


@pytest.mark.workflow
@pytest.mark.parametrize("variable", ["PYTHONSAFEPATH", "PYTHONPATH"])
def test_nothing_that_a_site_puts_in_pythons_way_reaches_a_job(place, variable):
    """A job that met one of these packages would end with code 3."""
    (place / "pipeline").mkdir()
    (place / "pipeline" / "__init__.py").write_text("import os\nos._exit(3)\n")
    site = place / "site"
    site.mkdir()
    strange = "import os, sys\nif {'-m', 'pipeline'} <= set(sys.orig_argv): os._exit(3)\n"
    (site / "sitecustomize.py").write_text(strange)
    run(place, *snakefile(ROOT), "annotations", **{variable: str(site)})
    assert (place / MADE).is_file()


@pytest.mark.workflow
def test_as_a_module_of_another_workflow(place):
    """Catalogues deploy workflows in this way."""
    (place / "Snakefile").write_text(f"""
configfile: "config.yaml"

module trdetr:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: config

use rule * from trdetr as trdetr_*

rule own:
    input: rules.trdetr_annotations.input
    output: "own.txt"
    shell: "python -c 'import sys; print(sys.path)' > {{output}}"
""")
    assert "trdetr_annotate" in run(place, "trdetr_experiment_one", "-n")
    run(place, "own")
    assert (place / MADE).is_file()
    assert f"'{ROOT}'" not in (place / "own.txt").read_text()


@pytest.mark.workflow
def test_a_snakefile_without_its_package_says_so(tmp_path, place):
    shutil.copytree(ROOT / "workflow", tmp_path / "bare" / "workflow")
    command = [sys.executable, "-m", "snakemake", "-n", "-s", str(tmp_path / "bare/workflow/Snakefile")]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no Python package `pipeline`" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
