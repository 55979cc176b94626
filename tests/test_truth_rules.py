"""Ground truth that `annotate` calls impossible is refused by every command that scores, with row, qid and reason."""

from __future__ import annotations

import json

import pytest

from pipeline import datasets
from pipeline.datasets import rows
from pipeline.errors import PipelineError
from pipeline.evaluation import compare_files, evaluate, load_truth, score_files, validate_files

VID = "abcdefghijk_0.0_20.0"
TRUTH = {
    "qvhighlights": {
        "qid": 1,
        "query": "a query",
        "vid": VID,
        "duration": 20,
        "relevant_windows": [[0, 4]],
        "relevant_clip_ids": [0, 1],
        "saliency_scores": [[4, 0, 2], [3, 3, 3]],
    },
    "charades_sta": {"qid": 1, "query": "a query", "vid": "AB1CD", "duration": 20, "relevant_windows": [[0, 4.5]]},
}
PREDICTION = {"qid": 1, "pred_relevant_windows": [[0, 4, 0.9]]}
COMMANDS = {
    "evaluate": score_files,
    "validate": validate_files,
    "compare": lambda dataset, predictions, truth: compare_files(dataset, predictions, predictions, truth),
    "annotate": lambda dataset, predictions, truth: rows.read(datasets.get(dataset), truth),
    "Python": lambda dataset, predictions, truth: evaluate(
        dataset, [PREDICTION], [json.loads(line) for line in truth.read_text().splitlines()]
    ),
}
RULES = {
    "reversed": ({"relevant_windows": [[4, 0]]}, "ends before it starts"),
    "without length": ({"relevant_windows": [[4, 4]]}, "has no length"),
    "before 0": ({"relevant_windows": [[-2, 2]]}, "starts before 0"),
    "past the end": ({"relevant_windows": [[18, 22]]}, "passes the end at 20"),
    "far past the end": ({"relevant_windows": [[30, 40]]}, "passes the end at 20"),
}


def files_with(tmp_path, dataset, changes):
    truth, predictions = tmp_path / "truth.jsonl", tmp_path / "predictions.jsonl"
    truth.write_text(json.dumps(TRUTH[dataset] | changes))
    predictions.write_text(json.dumps(PREDICTION))
    return predictions, truth


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("dataset", TRUTH)
@pytest.mark.parametrize("rule", RULES)
def test_an_impossible_moment_is_refused_by_every_command(tmp_path, command, dataset, rule):
    changes, said = RULES[rule]
    with pytest.raises(PipelineError, match=said) as refusal:
        COMMANDS[command](dataset, *files_with(tmp_path, dataset, changes))
    assert "qid 1" in str(refusal.value) or "line 1" in str(refusal.value)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("dataset", TRUTH)
@pytest.mark.parametrize("duration", [2e9, 1e308, 10**30])
def test_a_video_of_years_is_refused_before_memory_ends(tmp_path, command, dataset, duration):
    with pytest.raises(PipelineError, match="is longer than any video may be"):
        COMMANDS[command](dataset, *files_with(tmp_path, dataset, {"duration": duration}))


@pytest.mark.parametrize("command", ["evaluate", "validate", "compare", "annotate"])
def test_a_key_that_stands_twice_in_a_row_is_refused_by_every_command(tmp_path, command):
    predictions, truth = files_with(tmp_path, "charades_sta", {})
    truth.write_text(truth.read_text().replace("{", '{"duration": 200, ', 1))
    with pytest.raises(PipelineError, match="line 1: holds the key `duration` twice"):
        COMMANDS[command]("charades_sta", predictions, truth)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_clip_that_is_named_twice_is_refused_by_every_command(tmp_path, command):
    with pytest.raises(PipelineError, match="relevant_clip_ids"):
        COMMANDS[command]("qvhighlights", *files_with(tmp_path, "qvhighlights", {"relevant_clip_ids": [1, 1]}))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("dataset", TRUTH)
def test_the_unchanged_row_is_accepted_by_every_command(tmp_path, command, dataset):
    COMMANDS[command](dataset, *files_with(tmp_path, dataset, {}))


def test_every_released_file_keeps_the_rules(shared_data):
    for name in ("charades_sta_test", "charades_sta_train", "qvhighlights_train", "qvhighlights_val"):
        assert load_truth(name.rsplit("_", 1)[0], shared_data / f"annotations/{name}.jsonl")
    assert load_truth("qvhighlights", shared_data / "annotations/qvhighlights_test_with_gt.jsonl")
