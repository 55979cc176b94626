"""TVSum's top-5 mAP against the plain reference, by hand, and what is said about ties and durations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import reference_metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.ground_truth import duration_form
from pipeline.errors import PipelineError
from pipeline.evaluation import evaluate, format_headline, score_files
from pipeline.evaluation.top5 import top5_average_precision


@st.composite
def videos(draw):
    n = draw(st.integers(1, 12))
    rating = st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0])
    label = draw(st.lists(st.lists(rating, min_size=3, max_size=3), min_size=n, max_size=n))
    scores = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0]), min_size=1, max_size=n + 3))
    return label, scores


@settings(max_examples=300)
@given(videos())
def test_any_video_scores_like_the_reference(video):
    label, scores = video
    expected = [reference.top5_ap(scores, ratings) for ratings in zip(*label, strict=True)]
    np.testing.assert_allclose(top5_average_precision(scores, label), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ([1, 0, 0, 0, 0], 1.0),
        ([0, 1, 0, 0, 0], 0.25),
        ([0, 0, 0, 0, 1], 0.1),
        ([0, 1, 1, 0, 1], 0.4611),
        ([1, 1, 1, 1, 1], 1.0),
        ([0, 0, 0, 0, 0], 0.0),
    ],
)
def test_only_the_five_top_clips_and_their_order_count(top, expected):
    label = [[2.0 if hit else 1.0] for hit in top] + [[1.0]] * 7
    falling = [1.0 - 0.01 * clip for clip in range(12)]
    assert top5_average_precision(falling, label)[0] == pytest.approx(expected, abs=5e-5)


def test_positive_lies_strictly_above_the_lower_median():
    label = [[1.0], [2.0], [3.0], [4.0]]
    assert top5_average_precision([0.0, 9.0, 1.0, 0.5], label)[0] < 1.0
    assert top5_average_precision([0.0, 0.1, 9.0, 8.0], label)[0] == 1.0


def annotations(*durations_and_domains, clips=8):
    label = [[float(1 + (clip * (k + 2)) % 5) for k in range(20)] for clip in range(clips)]
    return [
        {"qid": f"video-{i}", "vid": f"video-{i}", "query": "q", "duration": duration, "label": label, "domain": domain}
        for i, (duration, domain) in enumerate(durations_and_domains)
    ]


def predictions(rows, scores):
    return [{"qid": row["qid"], "pred_saliency_scores": scores} for row in rows]


def test_domains_are_means_over_their_videos_and_the_average_is_over_domains():
    rows = annotations((8, "VT"), (8, "BK"), (8, "BK"))
    predicted = [
        {"qid": row["qid"], "pred_saliency_scores": [float((clip * (i + 3)) % 11) for clip in range(8)]}
        for i, row in enumerate(rows)
    ]
    result = evaluate("tvsum", predicted, rows)
    expected = reference.tvsum(predicted, rows)
    assert result.metrics["unrounded"]["brief"] == pytest.approx(expected)
    assert result.metrics["brief"] == {domain: round(value, 5) for domain, value in expected.items()}
    assert result.metrics["percent"]["average"] == round(100 * expected["average"], 2)
    assert result.metrics["n_queries"] == {"all": 3, "VT": 1, "BK": 2}


def test_a_shared_fifth_best_score_is_reported():
    rows = annotations((8, "VT"))
    result = evaluate("tvsum", predictions(rows, [8.0, 7.0, 6.0, 5.0, 1.0, 1.0, 1.0, 0.0]), rows)
    assert any("video-0: 3 clips share scores among the five best" in note for note in result.metrics["notes"])


def test_a_tie_within_the_five_best_is_reported_because_their_order_counts():
    rows = annotations((8, "VT"))
    notes = evaluate("tvsum", predictions(rows, [5.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0]), rows).metrics["notes"]
    assert notes == ["video-0: 2 clips share scores among the five best; the earlier come first"]


def test_a_collapsed_model_is_reported_and_its_earlier_clips_come_first():
    rows = annotations((8, "VT"))
    collapsed = evaluate("tvsum", predictions(rows, [0.5] * 8), rows)
    in_order = evaluate("tvsum", predictions(rows, [float(-clip) for clip in range(8)]), rows)
    assert any("all 8 scores are equal" in note for note in collapsed.metrics["notes"])
    assert collapsed.metrics["brief"] == in_order.metrics["brief"]


def test_distinct_scores_need_no_note_about_ties():
    rows = annotations((8, "VT"))
    notes = evaluate("tvsum", predictions(rows, [float(clip) for clip in range(8)]), rows).metrics["notes"]
    assert notes == []


@pytest.mark.parametrize(("duration", "form"), [(8, "clips"), (16.0, "seconds"), (17.9, "seconds"), (18.0, "seconds")])
def test_both_forms_of_duration_are_recognised(duration, form):
    assert form in duration_form(annotations((duration, "VT")), 2.0)


def test_a_duration_that_fits_neither_form_is_refused_by_name():
    rows = annotations((40, "VT"))
    with pytest.raises(PipelineError, match=r"\(qid video-0\): duration 40 fits 8 labelled clips"):
        evaluate("tvsum", predictions(rows, [1.0] * 8), rows)


def test_the_average_has_an_interval_where_it_is_a_mean_of_videos(tmp_path):
    for domains, has_interval in ((("VT", "BK"), True), (("VT", "BK", "BK"), False)):
        rows = annotations(*((8, domain) for domain in domains))
        for name, content in (("a", rows), ("p", predictions(rows, [float(clip) for clip in range(8)]))):
            (tmp_path / name).write_text("\n".join(map(json.dumps, content)))
        text = format_headline(score_files("tvsum", tmp_path / "p", tmp_path / "a"))
        (line,) = (line for line in text.splitlines() if "average" in line)
        assert line.endswith("]") == has_interval
