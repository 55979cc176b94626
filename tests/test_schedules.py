"""The section `training` of an experiment: which values it inherits, and which keys its method never reads."""

from __future__ import annotations

import pytest

from pipeline import config, methods
from pipeline.errors import PipelineError

UMT_NEVER = {
    "gradient_clip": "umt clips no gradient",
    "drop_learning_rate_after": "the learning rate of umt is constant",
    "max_windows": "umt learns from every window of a query",
}
RELEASED = {
    ("umt", "qvhighlights"): {"evaluation_batch_size": 1},
    ("umt", "charades_sta"): {"evaluation_batch_size": 1},
    ("umt", "tvsum"): {"evaluation_batch_size": 1},
    ("univtg", "qvhighlights"): {"evaluation_batch_size": 4, "drop_learning_rate_after": 80},
    ("univtg", "charades_sta"): {"evaluation_batch_size": 4},
    ("eatr", "qvhighlights"): {"evaluation_batch_size": 50, "drop_learning_rate_after": 150},
}
"""The schedules in the specifications of the released systems."""


def load(name, dataset="qvhighlights", section=None, own=None, sweep=None):
    """Return the one experiment of a file. section: `training` of the dataset. own: `training` of the experiment."""
    experiment = {
        "dataset": dataset,
        "features": {"video": ["clip-vit-b32"]},
        "model": {"name": name},
        "training": own or {},
        "sweep": sweep or {},
    }
    clip = "1s" if dataset == "charades_sta" else "2s"
    raw = {
        "datasets": {dataset: {"annotations": {"train": "a"}, "clip": clip}},
        "training": {dataset: section or {}},
        "experiments": {"one": experiment},
    }
    return config.load(raw).experiments["one"]


@pytest.mark.parametrize("dataset", ["qvhighlights", "charades_sta", "tvsum"])
@pytest.mark.parametrize("name", ["umt", "univtg", "tr_detr", "qd_detr", "moment_detr"])
def test_a_released_schedule_lies_under_the_file(name, dataset):
    assert load(name, dataset).training.changes() == RELEASED.get((name, dataset), {})


def test_the_published_run_of_eatr_drops_its_rate():
    assert load("eatr").training.changes() == RELEASED["eatr", "qvhighlights"]


def test_the_section_of_the_dataset_lies_over_it_and_the_experiment_over_both():
    section = {"evaluation_batch_size": 7, "drop_learning_rate_after": 9}
    assert load("univtg", section=section).training.changes() == section
    own = load("univtg", section=section, own={"evaluation_batch_size": 8}).training
    assert own.changes() == {"evaluation_batch_size": 8, "drop_learning_rate_after": 9}


def test_a_point_of_a_sweep_has_the_schedule_of_its_own_method():
    section = {"gradient_clip": 0.5, "epochs": 3}
    points = {"a": {"model": {"name": "umt"}}, "b": {}, "c": {"training": {"epochs": 4}}}
    one = load("univtg", section=section, own={"evaluation_batch_size": 6}, sweep=points)
    umt, same, longer = (one.sweep[point].training.changes() for point in "abc")
    assert umt == {"epochs": 3, "evaluation_batch_size": 6}
    assert same == section | {"evaluation_batch_size": 6, "drop_learning_rate_after": 80}
    assert longer == same | {"epochs": 4}


@pytest.mark.parametrize("key", UMT_NEVER)
def test_what_the_method_never_reads_is_inherited_from_no_section(key):
    assert key not in load("umt", section={key: 3}).settings_of("all-s2017").recorded()["training"]


@pytest.mark.parametrize("where", ["experiment", "sweep"])
@pytest.mark.parametrize(
    ("name", "dataset", "key", "why"),
    [("umt", "qvhighlights", key, why) for key, why in UMT_NEVER.items()]
    + [("univtg", "qvhighlights", "max_windows", "univtg learns from every window of a query")]
    + [("cg_detr", "charades_sta", "max_windows", "cg_detr learns from the first window of a query on charades_sta")]
    + [(name, "tvsum", "max_windows", "tvsum has no moments") for name in methods.METHODS],
)
def test_a_key_that_the_method_never_reads_is_refused_where_it_is_written(name, dataset, key, why, where):
    written = {key: 3}
    arguments = {"own": written} if where == "experiment" else {"sweep": {"x": {"training": written}}}
    place = "" if where == "experiment" else "sweep.x."
    complaint = rf"`experiments\.one`: `{place}training\.{key}` is never read, because {why}; leave it out"
    with pytest.raises(PipelineError, match=complaint):
        load(name, dataset, **arguments)


def test_a_section_of_a_dataset_with_a_key_that_no_method_reads_there_is_refused():
    with pytest.raises(PipelineError, match=r"`training\.tvsum\.max_windows` is never read, because tvsum has no mom"):
        load("tr_detr", "tvsum", section={"max_windows": 3})


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"model": {"dropout": 0.2}}, "`model.dropout`"),
        ({"model": {"name": "umt", "positions": 3}}, "`model.positions`"),
        ({"training": {"epochs": 3}}, "`training.epochs`"),
        ({"model": {"name": "umt"}}, None),  # it says whose predictions these are
    ],
)
def test_settings_of_an_experiment_that_trains_nothing_are_refused(written, complaint):
    experiment = {"dataset": "qvhighlights", "source": "predictions", "predictions": {"val": "x"}, **written}
    raw = {
        "datasets": {"qvhighlights": {"annotations": {"val": "a"}}},
        "training": {"qvhighlights": {"epochs": 5}},
        "model_by_dataset": {"qvhighlights": {"dropout": 0.3}},
        "experiments": {"one": experiment},
    }
    if complaint is None:
        config.load(raw)
        return
    with pytest.raises(PipelineError, match=f"{complaint} is never read, because `source: predictions` trains nothing"):
        config.load(raw)
