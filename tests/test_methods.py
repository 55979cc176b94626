"""Methods in the config are distinguished by name, and recorded by the settings that differ from their defaults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from toy import ToySettings

from pipeline import config, methods, provenance
from pipeline.errors import PipelineError
from pipeline.methods.tr_detr.settings import LossWeights, TrDetrSettings

ROOT = Path(__file__).resolve().parents[1]
KNOWN = ", ".join(methods.METHODS)
DEFAULTS = Path(__file__).parent / "data/defaults.json"
LOAD = """
import json, sys
from pipeline import methods
methods.METHODS["toy"] = "toy:ToySettings"
from pipeline import config
from pipeline.errors import PipelineError

def told(raw):
    try:
        loaded = config.load(raw).experiments["one"]
    except PipelineError as error:
        return str(error)
    assert config.section(config.Experiment, loaded.model_dump_json(), "") == loaded
    return loaded.settings_of("VT-s2017").recorded()["model"]

print(json.dumps([told(raw) for raw in json.loads(sys.stdin.read())]))
"""


def raw(model=None, top=None, **experiment):
    return {
        "datasets": {"tvsum": {"annotations": {"train": "a", "val": "b"}}},
        "training": {"tvsum": {}},
        "experiments": {
            "one": {
                "dataset": "tvsum",
                "features": {"video": ["clip-vit-b32"]},
                **({"model": model} if model is not None else {}),
                **experiment,
            }
        },
    } | (top or {})


def test_with_two_methods_a_section_takes_the_keys_of_the_one_it_names():
    """In a process of its own, in which a second method is registered as a line of the registry does it."""
    tuned = {"model": {"dropout": 0.2}, "model_by_dataset": {"tvsum": {"loss_weights": {"saliency": 3}}}}
    cases = [
        (raw({"name": "toy", "threshold": 0.4}), {"name": "toy", "revision": 1, "threshold": 0.4}),
        (raw({"name": "toy"}, top=tuned), {"name": "toy", "revision": 1}),
        (
            raw({"dropout": 0.3}, top={"model": {"name": "tr_detr"}}),
            {"name": "tr_detr", "revision": TrDetrSettings.revision, "dropout": 0.3},
        ),
        (
            raw(top=tuned),
            {"name": "tr_detr", "revision": TrDetrSettings.revision, "dropout": 0.2, "loss_weights": {"saliency": 3.0}},
        ),
        (raw(top={"model": {"name": "toy", "threshold": 0.1}}), {"name": "toy", "revision": 1, "threshold": 0.1}),
        (raw({"name": "toy", "dropout": 0.1}), "`experiments.one.model.dropout` is no key of the method toy"),
        (raw({"threshold": 0.1}), "`experiments.one.model.threshold` is no key of the method tr_detr"),
        (raw({"name": "toi"}), f"`experiments.one.model.name`: no such method, known are {KNOWN}, toy (found 'toi')"),
        (raw({"name": "toy", "threshold": 2}), "`experiments.one.model.threshold`: Input should be less than 1"),
        (raw(top={"model": {"name": "toy", "heads": 2}}), "`model.heads` is no key of the method toy"),
        (raw(sweep={"a": {"model": {"x": 1}}}), "`experiments.one.sweep.a.model.x` is no key of the method tr_detr"),
        (raw(3), "`experiments.one.model`: must be a section of keys (found 3)"),
        (raw({"name": ["toy"]}), "`experiments.one.model.name`: no such method"),
    ]
    given = json.dumps([case for case, _ in cases])
    answer = subprocess.run(
        [sys.executable, "-c", LOAD],
        input=given,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    for found, (case, wanted) in zip(json.loads(answer.stdout), cases, strict=True):
        assert wanted in found if isinstance(found, str) else wanted == found, case


KEYS = {name: set(methods.settings_class(name).model_fields) for name in methods.METHODS}


@pytest.mark.parametrize(
    ("name", "key"),
    [(one, key) for one in KEYS for other in KEYS for key in sorted(KEYS[other] - KEYS[one])],
)
def test_a_key_of_another_method_is_refused_by_name(name, key):
    with pytest.raises(PipelineError, match=rf"`experiments\.one\.model\.{key}` is no key of the method {name}\b"):
        config.load(raw({"name": name, key: 1}))


@pytest.mark.parametrize(
    ("experiment", "top", "complaint"),
    [
        (
            {"training": {"loss_weights": {"span": 3}}},
            {},
            "`experiments.one.training.loss_weights` is no key of `training`: it belongs to the method, write it under "
            "`experiments.one.model.loss_weights`",
        ),
        (
            {},
            {"training": {"tvsum": {"saliency_margin": 0.1}}},
            "`training.tvsum.saliency_margin` .* write it under `model_by_dataset.tvsum.saliency_margin`",
        ),
        (
            {"sweep": {"x": {"training": {"loss_weights": {}}}}},
            {},
            "write it under `experiments.one.sweep.x.model.loss_weights`",
        ),
    ],
)
def test_a_key_that_moved_from_the_training_to_the_method_is_sent_there(experiment, top, complaint):
    with pytest.raises(PipelineError, match=complaint):
        config.load(raw(**experiment, top=top))


@pytest.mark.parametrize("key", ["span", "giou", "label"])
@pytest.mark.parametrize("where", ["model", "model_by_dataset", "experiment", "sweep"])
def test_a_weight_that_nothing_reads_is_refused_wherever_it_stands(key, where):
    model = {"loss_weights": {key: 2}}
    top = {"model": model} if where == "model" else {"model_by_dataset": {"tvsum": model}}
    case = {
        "model": lambda: raw(top=top),
        "model_by_dataset": lambda: raw(top=top),
        "experiment": lambda: raw(model),
        "sweep": lambda: raw(sweep={"x": {"model": model}}),
    }[where]()
    with pytest.raises(
        PipelineError, match=rf"`model.loss_weights.{key}` is read by nothing on tvsum, which has no mom"
    ):
        config.load(case)


@pytest.mark.parametrize("name", [name for name, keys in KEYS.items() if "queries" in keys])
@pytest.mark.parametrize("key", ["span", "giou", "label"])
def test_every_method_with_moment_queries_refuses_a_weight_that_nothing_reads(name, key):
    with pytest.raises(PipelineError, match=f"`model.loss_weights.{key}` is read by nothing on tvsum"):
        config.load(raw({"name": name, "loss_weights": {key: 2}}))


def test_weights_of_moments_are_read_where_there_are_moments():
    changed = raw({"loss_weights": {"span": 2}}, dataset="qvhighlights")
    changed |= {"datasets": {"qvhighlights": {"annotations": {"train": "a"}}}, "training": {"qvhighlights": {}}}
    assert config.load(changed).experiments["one"].model.loss_weights.span == 2


def test_plain_masks_under_paper_are_refused():
    with pytest.raises(PipelineError, match="`formulation: paper` has plain masks anyway: leave out `plain_masks`"):
        config.load(raw({"formulation": "paper", "plain_masks": True}))


def test_a_new_key_with_a_default_changes_no_record_and_a_value_does():
    class Newer(TrDetrSettings):
        another: float = 3.0

    assert Newer(dropout=0.2).recorded() == TrDetrSettings(dropout=0.2).recorded()
    assert Newer(another=4.0).recorded() == {"name": "tr_detr", "revision": TrDetrSettings.revision, "another": 4.0}
    weights = LossWeights(saliency=2.0)
    assert TrDetrSettings(loss_weights=weights).recorded()["loss_weights"] == {"saliency": 2.0}


@pytest.mark.parametrize("key", ["features", None], ids=["features", "the experiment itself"])
def test_a_new_key_of_an_experiment_changes_no_record_and_a_value_does(key):
    experiment = config.load(raw({"dropout": 0.2})).experiments["one"]
    today = getattr(experiment, key) if key else experiment

    class Newer(type(today)):
        another: float = 3.0

    assert Newer.model_construct(**dict(today)).recorded() == today.recorded()
    assert Newer.model_construct(**dict(today), another=4.0).recorded() == today.recorded() | {"another": 4.0}


def test_experiments_of_two_methods_with_their_defaults_have_two_records():
    records = [config.load(raw({"name": name})).experiments["one"].recorded() for name in ("tr_detr", "qd_detr")]
    assert [record["model"]["name"] for record in records] == ["tr_detr", "qd_detr"]


def test_what_a_record_says_can_be_read_back():
    settings = TrDetrSettings(dropout=0.3, loss_weights=LossWeights(giou=0.5), mr2hd=False)
    recorded = settings.recorded()
    assert recorded.pop("revision") == TrDetrSettings.revision
    assert TrDetrSettings.model_validate(recorded) == settings


def test_a_record_of_another_revision_or_of_a_method_that_is_gone_is_not_current():
    class Raised(ToySettings):
        revision: ClassVar[int] = 2

    assert methods.is_current(TrDetrSettings().recorded())
    assert not methods.is_current(TrDetrSettings().recorded() | {"revision": 0})
    assert not methods.is_current(Raised().recorded())


def flat(section, prefix=""):
    """Return nested keys as dotted ones."""
    found = {}
    for key, value in section.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def defaults():
    """Return the values that a record leaves out, with the revision that stands for them."""
    found = {
        name: {"revision": kind.revision, "defaults": flat(kind().model_dump(mode="json"))}
        for name, kind in ((name, methods.settings_class(name)) for name in methods.METHODS)
    }
    training = config.Training().model_dump(mode="json")
    return found | {"training": {"revision": provenance.STAGES["train"], "defaults": training}}


def test_a_default_that_changes_raises_a_revision():
    """Runs are recorded by what differs from the defaults.

    To write the file anew: PYTHONPATH=. python tests/test_methods.py
    """
    for name, was in json.loads(DEFAULTS.read_text()).items():
        now = defaults()[name]
        if now["revision"] == was["revision"]:
            kept = {key: now["defaults"].get(key) for key in was["defaults"]}
            assert kept == was["defaults"], f"raise the revision of {name}"
    assert {name: now["revision"] for name, now in defaults().items()} == {
        name: was["revision"] for name, was in json.loads(DEFAULTS.read_text()).items()
    }, "write the file anew"


if __name__ == "__main__":
    DEFAULTS.write_text(json.dumps(defaults(), indent=1) + "\n")
