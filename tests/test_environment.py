"""The software of every stage is the lock's: same versions, hashed, and no address of any registry."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")


def pins(text):
    return dict(match.groups() for line in text.splitlines() if (match := PIN.match(line)))


@pytest.mark.parametrize("env", ["light", "extract", "train"])
def test_an_environment_file_pins_what_the_lock_pins(env):
    lock = pins((ROOT / "requirements" / "full.lock").read_text())
    content = yaml.safe_load((ROOT / "workflow" / "envs" / f"{env}.yaml").read_text())
    listed = next(item["pip"] for item in content["dependencies"] if isinstance(item, dict))
    assert len(pins("\n".join(listed))) == len(listed) > 30
    assert {name: version for name, version in pins("\n".join(listed)).items() if lock.get(name) != version} == {}


@pytest.mark.parametrize(("env", "extras"), [("light", []), ("extract", ["extract"]), ("train", ["train"])])
def test_an_environment_file_names_everything_that_its_stage_asks_for(env, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    names = {re.split(r"[=<>;\[ ]", line)[0].lower().replace("_", "-") for line in asked}
    text = (ROOT / "workflow" / "envs" / f"{env}.yaml").read_text().lower().replace("_", "-")
    assert {name for name in names if f'"{name}==' not in text} == set()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_pin_of_a_lock_is_hashed_and_names_no_host(lock):
    text = lock.read_text()
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(text)) > 0
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert re.findall(r"https?://|--(?:extra-)?index|--find-links", text) == []


def test_the_light_installation_has_no_torch_and_is_part_of_the_full_one():
    light, full = (pins((ROOT / "requirements" / f"{name}.lock").read_text()) for name in ("light", "full"))
    assert not {"torch", "av", "decord", "open-clip-torch", "scipy"} & set(light)
    assert light.items() <= full.items()


def test_the_catalogue_is_told_what_the_workflow_has():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    assert usage["software-stack-deployment"]["conda"] == ("conda:" in rules)
    assert usage["software-stack-deployment"]["apptainer"] == ("container:" in rules)
    assert usage["report"] == (re.search(r"\breport\(", rules) is not None)
    for profile in re.findall(r"workflow/profiles/\w+", usage["mandatory-flags"]["desc"]):
        assert (ROOT / profile).is_dir()
