"""The table of families: every entry is whole, its encoder takes its options, and a row of it has a cost."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from pipeline import config
from pipeline.acquire import sources
from pipeline.cost.estimate import estimate
from pipeline.encoders.base import Weights, encoder_of
from pipeline.families import FAMILIES, Family, cost_of

ROOT = Path(__file__).resolve().parents[1]
MADE = [name for name, family in FAMILIES.items() if family.encoder]
INPUTS = {"frames224": ("frames",), "native": ("frames",), "sound": ("pieces",), "words": ("queries",)}


@pytest.mark.parametrize("name", MADE)
def test_an_encoder_takes_exactly_the_options_of_its_family(name):
    pytest.importorskip("torch")
    family = FAMILIES[name]
    module, kind = family.encoder.split(":")
    kind = getattr(import_module(module), kind)
    given = [Weights("random:0"), "cpu", *([["a text"]] if family.reader == "words" else [])]
    inspect.signature(kind).bind(*given, **family.options)
    keywords = {p.name for p in inspect.signature(kind).parameters.values() if p.kind == p.KEYWORD_ONLY}
    assert keywords == family.options.keys()
    assert tuple(inspect.signature(kind.encode).parameters)[1:] == INPUTS[family.reader]


@pytest.mark.parametrize("name", MADE)
def test_a_family_that_is_made_here_says_everything_of_its_input(name):
    family = FAMILIES[name]
    assert family.reader in INPUTS and family.preprocessing and family.batch > 0 and family.dim > 0
    assert bool(family.sampling) == bool(family.view) == (INPUTS[family.reader] == ("frames",))
    assert json.loads(json.dumps(family.options)).keys() == family.options.keys()  # a config file can hold them


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in MADE])
def test_a_released_family_says_its_width_and_nothing_else(name):
    assert FAMILIES[name] == Family(dim=FAMILIES[name].dim)


def test_no_two_families_would_make_the_same_rows_under_two_names():
    made = [
        (family.encoder, json.dumps(family.options), family.weights, family.sampling, family.view, family.instead_of)
        for name, family in FAMILIES.items()
        if name in MADE
    ]
    assert len(set(made)) == len(made)


def test_passports_and_costs_are_known_without_importing_any_encoder():
    code = (
        "import sys; from pipeline.families import FAMILIES, cost_of; [cost_of(n) for n in FAMILIES]; "
        "print([m for m in sys.modules if m.startswith('pipeline.encoders') or m in ('torch', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_family_without_a_measured_cost_is_estimated_like_the_dearest_of_its_kind(monkeypatch):
    clip = FAMILIES["clip-vit-b32"]
    monkeypatch.setitem(FAMILIES, "clip-other", replace(clip, cost=None))
    monkeypatch.setitem(FAMILIES, "new-network", replace(clip, cost=None, encoder="elsewhere:Network"))
    assert cost_of("clip-other") == (*clip.cost[:2], "assumed")
    assert cost_of("new-network") == (*FAMILIES["slowfast-r50-caffe2"].cost[:2], "assumed")
    assert cost_of("clip-vit-b32").known == "measured"


def test_an_estimate_says_which_of_its_figures_are_assumed(monkeypatch):
    table = sources.load()
    cfg = config.load(yaml.safe_load((ROOT / "config.yaml").read_text()))
    before = lines_of(estimate(cfg, table))
    monkeypatch.setitem(FAMILIES, "clip-vit-b32", replace(FAMILIES["clip-vit-b32"], cost=None, encoder="else:where"))
    after = lines_of(estimate(cfg, table))
    assert (before["clip-vit-b32"].known, after["clip-vit-b32"].known) == ("measured", "assumed")
    assert after["clip-vit-b32"].total > before["clip-vit-b32"].total
    assert {name for name in after if after[name].known == "assumed"} == {"clip-vit-b32"}


def lines_of(found):
    (on_cpu,) = [line for line in found.costs if line.label == "encoding on a CPU, core hours"]
    return {part.label: part for part in on_cpu.parts}


def test_a_network_without_weights_says_so_in_its_passport():
    assert Weights.joined().passport == "none"


def test_options_reach_the_network(monkeypatch):
    monkeypatch.setitem(FAMILIES, "mine", replace(FAMILIES["glove-6b-300d"], options={"strips_full_stop": False}))
    weights = Weights("random:0")
    assert encoder_of("mine")(weights, "cpu", []).words("A shelf.") == ["a", "shelf."]
    assert encoder_of("glove-6b-300d")(weights, "cpu", []).words("A shelf.") == ["a", "shelf"]
