"""Equality with the metrics files that authors released, with the plain reference, and with quoted values."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import reference_metrics as reference
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import check, evaluate, format_comparison, format_headline, score, score_files
from pipeline.evaluation.intervals import compare
from pipeline.evaluation.official import rounded

HEADLINE = (
    "MR-full-R1@0.5",
    "MR-full-R1@0.7",
    "MR-full-mAP@0.5",
    "MR-full-mAP@0.75",
    "MR-full-mAP",
    "HL-min-VeryGood-mAP",
    "HL-min-VeryGood-Hit1",
)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


@pytest.fixture(scope="module")
def scored(shared_data, tmp_path_factory):
    """Score a released QVHighlights file from file to file, once."""
    results = {}
    truths = {"val": "qvhighlights_val.jsonl", "test": "qvhighlights_test_with_gt.jsonl"}

    def score(name):
        if name not in results:
            output = tmp_path_factory.mktemp("metrics") / f"{name}.json"
            annotations = shared_data / "annotations" / truths[name.rsplit("_", 1)[1]]
            result = score_files("qvhighlights", shared_data / f"predictions/{name}.jsonl", annotations, output)
            results[name] = result, output
        return results[name]

    return score


@pytest.mark.parametrize("name", ["trdetr_qvhighlights_val", "momentdetr_qvhighlights_val"])
def test_all_104_numbers_equal_the_authors_metrics_file_in_value_and_order(shared_data, scored, name):
    released = json.loads((shared_data / f"predictions/{name}_metrics.json").read_text())
    _, output = scored(name)
    ours = json.loads(output.read_text())
    assert len(list(flat(released))) == 104
    assert list(flat({key: ours[key] for key in list(ours)[: len(released)]})) == list(flat(released))


def test_the_released_test_file_gives_table_1s_row(scored):
    result, _ = scored("trdetr_qvhighlights_test")
    brief = result.metrics["brief"]
    assert [brief[key] for key in HEADLINE] == [64.66, 48.96, 63.98, 43.73, 42.62, 39.91, 63.42]
    assert [brief[f"MR-{name}-mAP"] for name in ("long", "middle", "short")] == [50.80, 43.27, 8.22]
    assert [brief[f"HL-min-Fair-{kind}"] for kind in ("mAP", "Hit1")] == [76.96, 77.76]
    assert [brief[f"HL-min-Good-{kind}"] for kind in ("mAP", "Hit1")] == [65.94, 76.26]
    assert result.metrics["n_queries"] == {"all": 1542, "long": 574, "middle": 950, "short": 398}


def test_real_files_equal_the_plain_reference_at_full_precision(shared_data, scored):
    result, _ = scored("trdetr_qvhighlights_val")
    predictions = read(shared_data / "predictions/trdetr_qvhighlights_val.jsonl")
    annotations = read(shared_data / "annotations/qvhighlights_val.jsonl")
    expected = dict(flat(reference.qvhighlights(predictions, annotations)))
    assert dict(flat(result.metrics["unrounded"])) == pytest.approx(expected, rel=1e-12)


def test_headline_numbers_are_the_means_of_the_per_query_columns(scored):
    result, output = scored("trdetr_qvhighlights_val")
    rows = read(output.with_suffix(".queries.jsonl"))
    assert rows == result.queries
    for name, value in result.metrics["unrounded"]["brief"].items():
        column = [row[name] for row in rows if row[name] is not None]
        assert 100 * np.mean(column) == pytest.approx(value, rel=1e-12)


def test_two_released_files_differ_with_an_interval_that_leaves_out_zero(scored):
    rows = compare(scored("trdetr_qvhighlights_val")[0].queries, scored("momentdetr_qvhighlights_val")[0].queries, 2000)
    assert [row.metric for row in rows] == list(scored("trdetr_qvhighlights_val")[0].metrics["brief"])
    assert all(row.difference.low > 0 and row.p < 0.01 for row in rows)
    assert "12.89" in format_comparison(rows)


def test_the_perfect_answer_reaches_the_known_ceilings(shared_data):
    annotations = read(shared_data / "annotations/qvhighlights_val.jsonl")
    predictions = []
    for row in annotations:
        saliency = [0] * int(row["duration"] / 2)
        for clip, ratings in zip(row["relevant_clip_ids"], row["saliency_scores"], strict=True):
            saliency[clip] = sum(rating >= 4 for rating in ratings)
        windows = [[*window, 1.0] for window in row["relevant_windows"]]
        predictions.append({"qid": row["qid"], "pred_relevant_windows": windows, "pred_saliency_scores": saliency})
    brief = evaluate("qvhighlights", predictions, annotations).metrics["brief"]
    assert (brief["MR-full-mAP"], brief["HL-min-VeryGood-Hit1"]) == (99.76, 97.74)


def test_charades_has_nulls_for_its_empty_range_and_its_own_block(shared_data):
    annotations = read(shared_data / "annotations/charades_sta_test.jsonl")
    random = np.random.default_rng(0)
    predictions = []
    for row in annotations:
        ends = np.sort(random.random((5, 2)), axis=1) * row["duration"]
        windows = [[*map(float, np.round(pair, 1)), 1 - rank / 10] for rank, pair in enumerate(ends)]
        predictions.append({"qid": row["qid"], "pred_relevant_windows": windows})
    result = evaluate("charades_sta", predictions, annotations)
    metrics = result.metrics
    expected = reference.qvhighlights(predictions, annotations)
    charades = metrics["unrounded"].pop("charades")
    ours, plain = dict(flat(metrics["unrounded"])), dict(flat(expected))
    assert [name for name, value in ours.items() if value is None] == [name for name in plain if plain[name] is None]
    for name, value in plain.items():
        assert value is None or ours[name] == pytest.approx(value, rel=1e-12), name
    assert list(metrics) == ["brief", "full", "long", "middle", "short", "charades", "n_queries", "unrounded", "notes"]
    assert metrics["brief"]["MR-long-mAP"] is None
    assert set(metrics["long"]["MR-R1"].values()) == {None}
    assert metrics["n_queries"] == {"all": 3720, "long": 0, "middle": 788, "short": 2932}
    first = [
        reference.first_iou(p["pred_relevant_windows"], a["relevant_windows"])
        for p, a in zip(predictions, annotations, strict=True)
    ]
    assert charades == pytest.approx(
        {"MR-full-R1@0.3": 100 * np.mean(np.array(first) >= 0.3), "MR-full-mIoU": 100 * np.mean(first)}
    )
    assert "MR-full-mIoU" in format_headline(result)


def test_tvsum_equals_the_reference_and_the_annotators_own_mean_gives_the_known_yardstick(shared_data):
    annotations = read(shared_data / "annotations/tvsum_val.jsonl")
    predictions = [
        {"qid": row["qid"], "pred_saliency_scores": np.mean(row["label"], axis=1).tolist()} for row in annotations
    ]
    metrics = evaluate("tvsum", predictions, annotations).metrics
    assert metrics["unrounded"]["brief"] == pytest.approx(reference.tvsum(predictions, annotations), rel=1e-12)
    assert metrics["percent"]["average"] == pytest.approx(84.3, abs=0.05)


def test_tvsum_scores_the_same_with_durations_in_clips_and_in_seconds(shared_data):
    clips = read(shared_data / "annotations/tvsum_val.jsonl")
    seconds = [row | {"duration": 2.0 * row["duration"]} for row in clips]
    predictions = [
        {"qid": row["qid"], "pred_saliency_scores": np.random.default_rng(1).random(len(row["label"])).tolist()}
        for row in clips
    ]
    released, ours = (evaluate("tvsum", predictions, rows).metrics for rows in (clips, seconds))
    assert released["brief"] == ours["brief"]
    assert "released form" in released["annotations"]
    assert "seconds" in ours["annotations"]


def test_a_file_of_one_tvsum_domain_is_scored_on_that_domain(shared_data, tmp_path):
    annotations = shared_data / "annotations/tvsum_val.jsonl"
    row = next(row for row in read(annotations) if row["domain"] == "PK")
    scores = [float(clip) for clip in range(len(row["label"]))]
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"qid": row["qid"], "pred_saliency_scores": scores}))
    result = score_files("tvsum", path, annotations, None, domain="PK")
    assert result.metrics["n_queries"] == {"all": 1, "PK": 1}
    assert result.metrics["brief"]["PK"] == result.metrics["brief"]["average"]


@st.composite
def whole_files(draw):
    """Return predictions and annotations of up to six queries as JSONL. Some list more than ten windows."""
    window = st.tuples(st.integers(0, 160), st.integers(0, 160)).map(sorted)
    rating = st.lists(st.integers(0, 4), min_size=3, max_size=3)
    confidence = st.sampled_from([0.1, 0.5, 0.9])
    predictions, annotations = [], []
    for qid in range(draw(st.integers(1, 6))):
        n = draw(st.integers(1, 8))
        clips = draw(st.lists(st.integers(0, n - 1), unique=True))
        annotations.append(
            {
                "qid": qid,
                "vid": f"v{qid % 2}_0.0_150.0",
                "duration": 2 * n,
                "relevant_windows": draw(st.lists(window, min_size=1, max_size=4)),
                "relevant_clip_ids": clips,
                "saliency_scores": [draw(rating) for _ in clips],
            }
        )
        listed = draw(st.lists(st.tuples(window, confidence), min_size=1, max_size=13))
        scores = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5]), min_size=max(n - 1, 1), max_size=n))
        windows = [[*map(float, ends), score] for ends, score in listed]
        predictions.append({"qid": qid, "pred_relevant_windows": windows, "pred_saliency_scores": scores})
    return draw(st.permutations(predictions)), annotations


@given(whole_files())
def test_whole_files_score_like_the_reference_in_any_row_order(files):
    predictions, annotations = files
    # Not through `evaluate`, which refuses ground truth that has no length or passes the video's end.
    truth = {row["qid"]: row for row in annotations}
    rows, _ = check("qvhighlights", enumerate(predictions, start=1), truth)
    ours = dict(flat(score("qvhighlights", rows, truth).metrics["unrounded"]))
    for name, value in flat(reference.qvhighlights(*files)):
        assert ours[name] == (None if value is None else pytest.approx(value, rel=1e-12, abs=1e-12)), name


def test_rounding_is_decimal_and_from_the_exact_binary_value():
    assert rounded({"b": None, "a": 2.675, "c": 0.125, "d": 67.1}) == {"b": None, "a": 2.67, "c": 0.12, "d": 67.1}


def test_windows_alone_give_the_moment_numbers_alone(shared_data):
    annotations = read(shared_data / "annotations/qvhighlights_val.jsonl")[:50]
    predictions = [{"qid": row["qid"], "pred_relevant_windows": [[0, 150, 1.0]]} for row in annotations]
    metrics = evaluate("qvhighlights", predictions, annotations).metrics
    assert not any(key.startswith("HL-") for key in [*metrics, *metrics["brief"]])
    assert metrics["brief"]["MR-full-R1@0.5"] > 0


def test_importing_the_scorer_pulls_in_neither_torch_nor_pandas():
    code = "import sys, pipeline.evaluation; print(sorted({'torch', 'pandas', 'pydantic', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
