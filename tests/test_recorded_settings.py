"""A table uses only runs, predictions and metrics that belong together, and prints the settings of the runs."""

from __future__ import annotations

import re

import pytest

from pipeline import config, files
from pipeline.errors import PipelineError
from pipeline.recorded_settings import check_chain, recorded_settings, skipped_in

SECTIONS = {"dataset": "qvhighlights", "features": {"video": ["clip-vit-b32"]}, "model": {}, "training": {}}
WEIGHTS, PREDICTED = "results/runs/one/all-s1/last.safetensors", "results/runs/one/all-s1/predictions/val-last.jsonl"


def experiment(**lines):
    return config.Experiment.model_validate(SECTIONS | {"table": 4, "row": "(j)", "seeds": [1]} | lines)


@pytest.fixture
def made(tmp_path):
    """Return manifests of one experiment that belong together: (experiments, metrics, predictions, runs). Tests spoil
    them."""
    one = experiment()
    of_run = {run: one.settings_of(run).recorded() for run in one.runs}
    settings = {"experiment": "one", "features": one.features.model_dump(mode="json"), "runs": of_run}
    contents = {
        "metrics": ({"experiment": "one"}, {PREDICTED: "p"}, {}),
        "predictions": (settings, {WEIGHTS: "w"}, {PREDICTED: "p"}),
        "runs": (settings, {}, {WEIGHTS: "w"}),
    }
    for name, (said, read, listed) in contents.items():
        entries = [{"path": path, "bytes": 1, "sha256": sha256} for path, sha256 in listed.items()]
        files.write_json(tmp_path / f"{name}.json", {"settings": said, "inputs": read, "files": entries})
    return {"one": one}, *([tmp_path / f"{name}.json"] for name in contents)


def spoil(manifests, change):
    (path,) = manifests
    content = files.read_json(path)
    change(content)
    files.write_json(path, content)


def test_what_belongs_together_is_accepted_and_gives_its_settings(made):
    check_chain(*made)
    experiments, *_, runs = made
    assert recorded_settings("one", experiments["one"], runs)["all-s1"].training.epochs == 200


@pytest.mark.parametrize(
    ("stage", "said"),
    [(1, "was made from other predictions than those of"), (2, "was made from other runs than those of")],
)
def test_a_link_that_does_not_hold_names_both_manifests(made, stage, said):
    spoil(made[stage], lambda content: content["inputs"].update(dict.fromkeys(content["inputs"], "another")))
    with pytest.raises(PipelineError, match=said) as error:
        check_chain(*made)
    assert str(made[stage][0]) in str(error.value)
    assert str(made[stage + 1][0]) in str(error.value)
    assert "snakemake --cores 1" in str(error.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            {"training": {"learning_rate": 200000}},
            "all-s1: training.learning_rate is 0.0001 in these runs, and 200000.0",
        ),
        ({"model": {"queries": 3}}, "all-s1: model.queries is 10 in these runs, and 3 is asked for"),
        ({"features": {"video": ["slowfast-r50-caffe2"]}}, "features is"),
        ({"seeds": [1, 2]}, "no run all-s2 of one is recorded"),
    ],
)
def test_runs_made_with_other_settings_than_asked_are_refused(made, lines, said):
    *_, runs = made
    with pytest.raises(PipelineError, match=re.escape(said)) as error:
        recorded_settings("one", experiment(**lines), runs)
    assert str(runs[0]) in str(error.value)


@pytest.mark.parametrize("damage", [{}, {"experiment": "one"}, {"experiment": "one", "features": 1, "runs": []}])
def test_a_manifest_without_settings_is_refused(made, damage):
    experiments, *_, runs = made
    spoil(runs, lambda content: content.update(settings=damage))
    with pytest.raises(PipelineError, match=r"does not say what its runs were made with|is recorded"):
        recorded_settings("one", experiments["one"], runs)


def test_a_setting_that_is_new_since_the_training_has_its_default(made):
    experiments, *_, runs = made
    assert "max_windows" not in files.read_json(runs[0])["settings"]["runs"]["all-s1"]["training"]
    assert recorded_settings("one", experiments["one"], runs)["all-s1"].training.max_windows == 5


def test_runs_of_an_older_revision_of_their_method_are_refused(made):
    experiments, *_, runs = made
    spoil(runs, lambda content: content["settings"]["runs"]["all-s1"]["model"].update(revision=0))
    with pytest.raises(PipelineError, match="the revision of tr_detr is 0 in these runs"):
        recorded_settings("one", experiments["one"], runs)


RELEASED = {"results/resources/theirs/val.jsonl": "t", "results/annotations/qvhighlights/val.jsonl": "a"}


def test_released_predictions_stand_on_no_runs_and_are_those_that_are_named(made):
    _, metrics, predictions, runs = made
    spoil(metrics, lambda content: content.update(settings={"experiment": "one", "split": "val"}, inputs=RELEASED))
    released = experiment(source="predictions", predictions={"val": "theirs"})
    check_chain({"one": released}, metrics, predictions, runs)
    others = experiment(source="predictions", predictions={"val": "others"})
    with pytest.raises(PipelineError, match=r"theirs/val.jsonl, and `experiments.one.predictions` names others"):
        check_chain({"one": others}, metrics, predictions, runs)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"inputs": RELEASED | {"results/annotations/qvhighlights/val.jsonl": "b"}}, "qvhighlights/val.jsonl differs"),
        ({"revision": 2}, "the revision of `score` differs"),
    ],
)
def test_numbers_on_other_annotations_or_of_another_scorer_are_not_compared(tmp_path, changed, said):
    """Both experiments have the same queries, so their matrix would show a difference that the methods do not have."""
    released = experiment(source="predictions", predictions={"val": "theirs"})
    metrics = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in metrics:
        settings = {"experiment": path.stem, "split": "val"}
        files.write_json(path, {"revision": 3, "settings": settings, "inputs": RELEASED, "files": []})
    check_chain({"a": released, "b": released}, metrics, [], [])
    spoil(metrics[1:], lambda content: content.update(changed))
    with pytest.raises(PipelineError, match=said) as error:
        check_chain({"a": released, "b": released}, metrics, [], [])
    assert all(str(path) in str(error.value) for path in metrics)
    check_chain({"a": released}, metrics, [], [])


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("content", [[], None, {"settings": None}, {"settings": {}, "inputs": []}])
def test_what_is_no_manifest_is_refused_with_the_command_that_makes_it(made, stage, content):
    (path,) = made[stage]
    files.write_json(path, content)
    with pytest.raises(PipelineError, match="is no manifest of this pipeline") as error:
        check_chain(*made)
    assert f"snakemake --cores 1 {path}" in str(error.value)


@pytest.mark.parametrize("word", ["skipped", "left_out"])
def test_what_a_run_did_not_use_is_read_from_new_cards_and_from_older_ones(word):
    rows = {"train": [{"qid": "1", "vid": "a", "why": "404"}], "val": []}
    assert skipped_in({"run": "all-s1", word: rows}) == rows
