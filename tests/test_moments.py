"""Moment retrieval against the plain reference, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import reference_metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import moments
from pipeline.ragged import chunks

# Even seconds (as QVHighlights), tenths (as Charades-STA) and ends that leave the video; reversed ones on purpose.
even = st.integers(-2, 20).map(lambda step: 2.0 * step)
tenths = st.integers(-10, 80).map(lambda step: step / 10)
scores = st.sampled_from([0.0, 0.1, 0.5, 0.5, 0.9, 1.0])


def queries(seconds):
    window = st.tuples(seconds, seconds)
    truth = st.lists(window.map(sorted), min_size=1, max_size=6)
    predictions = st.lists(st.tuples(seconds, seconds, scores).map(list), min_size=1, max_size=14)
    return st.lists(st.tuples(predictions, truth), min_size=1, max_size=5)


def score(rows):
    predictions, truths = zip(*rows, strict=True)
    return moments.score_moments([p[:10] for p in predictions], [p[0] for p in predictions], truths)


def assert_equals_reference(rows):
    for name, scored in score(rows).items():
        for index, (predictions, truth) in enumerate(rows):
            kept = reference.within(truth, name)
            if not kept:
                assert not scored.present[index]
                continue
            expected = [reference.moment_ap(predictions, kept, t) for t in moments.THRESHOLDS]
            np.testing.assert_allclose(scored.ap[index], expected, rtol=0, atol=1e-12)
            assert scored.iou[index] == reference.first_iou(predictions, kept)


@settings(max_examples=300)
@given(queries(even))
def test_even_seconds_score_like_the_reference(rows):
    assert_equals_reference(rows)


@settings(max_examples=300)
@given(queries(tenths))
def test_decimal_seconds_score_like_the_reference(rows):
    assert_equals_reference(rows)


@settings(max_examples=150)
@given(queries(st.sampled_from([0.0, 10.0, 20.0])))
def test_ties_and_degenerate_windows_score_like_the_reference(rows):
    assert_equals_reference(rows)


@given(queries(even), st.randoms(use_true_random=False))
def test_a_query_scores_the_same_alone_and_among_others(rows, random):
    shuffled = random.sample(range(len(rows)), len(rows))
    together = score([rows[index] for index in shuffled])["full"]
    for place, index in enumerate(shuffled):
        np.testing.assert_array_equal(together.ap[place], score([rows[index]])["full"].ap[0])


def test_the_worked_example_falls_through_as_the_activitynet_rule_says():
    truth = [(10, 20), (60, 80)]
    predictions = [(12, 20, 0.9), (60, 70, 0.8), (62, 80, 0.7), (0, 150, 0.1)]
    scored = score([(predictions, truth)])["full"]
    np.testing.assert_allclose(scored.ap[0], [1] + 6 * [5 / 6] + 2 * [1 / 6] + [0])
    assert scored.ap[0].mean() == pytest.approx(0.6333, abs=5e-5)
    assert scored.iou[0] == 0.8


def test_the_two_kinds_of_iou_disagree_where_the_last_bit_decides():
    scored = score([([(4.9, 6.4, 1.0)], [(3.4, 6.4)])])["full"]
    assert scored.ap[0, 0] == 1.0
    assert scored.reaches(0.5)[0] == 0.0


def test_r1_looks_at_the_first_listed_window_and_ap_at_the_most_confident():
    scored = score([([(0, 10, 0.1), (20, 40, 0.9)], [(20, 40)])])["full"]
    assert scored.iou[0] == 0.0
    assert scored.ap[0, 0] == 1.0


def test_only_the_first_ten_listed_windows_count_however_confident_the_eleventh():
    misses = [(100, 110, 0.1)] * 10
    assert score([([*misses, (0, 10, 0.9)], [(0, 10)])])["full"].ap.max() == 0.0


def test_more_than_ten_windows_cap_average_precision_at_ten_of_them():
    truth = [(10 * k, 10 * k + 4) for k in range(12)]
    predictions = [(*window, 0.5) for window in truth]
    np.testing.assert_allclose(score([(predictions, truth)])["full"].ap, 10 / 12)


def test_of_two_equally_good_windows_the_later_is_taken_first():
    predictions = [(0, 20, 0.9), (0, 10, 0.8)]
    first_left, second_left = [(0, 10), (10, 20)], [(10, 20), (0, 10)]
    assert score([(predictions, first_left)])["full"].ap[0, 0] == 1.0
    # Both windows tie at 1/2; taking the later (0, 10) leaves (10, 20) for a prediction that misses it.
    assert score([(predictions, second_left)])["full"].ap[0, 0] == 0.5


@pytest.mark.parametrize("prediction", [(5.0, 5.0, 1.0), (9.0, 9.0, 1.0)])
def test_a_window_without_length_misses_a_real_one(prediction):
    scored = score([([prediction], [(0, 10)])])["full"]
    assert scored.ap.max() == 0.0
    assert scored.iou[0] == 0.0


@pytest.mark.parametrize(("prediction", "truth"), [((4, 4, 1.0), (4, 4)), ((20, 10, 1.0), (0, 10))])
def test_zero_over_zero_is_a_hit_for_ap_and_a_miss_for_r1(prediction, truth):
    scored = score([([prediction], [truth])])["full"]
    assert scored.ap.min() == 1.0
    assert not scored.reaches(0.5)[0]


def test_ranges_are_open_below_and_closed_above_and_full_keeps_everything():
    truth = [(0, 0), (0, 10), (0, 30), (0, 150), (0, 151)]
    for window in truth:
        scored = score([([(*window, 1.0)], [window])])
        counts = {name: not np.isnan(scored[name].ap).any() for name in reference.RANGES}
        assert counts == {name: reference.within([window], name) == [window] for name in reference.RANGES}


def test_a_right_answer_of_another_length_is_a_false_positive_in_a_range():
    rows = [([(0, 100, 0.9), (120, 124, 0.8)], [(0, 100), (120, 124)])]
    scored = score(rows)
    assert scored["full"].ap[0, 0] == 1.0
    assert scored["short"].ap[0, 0] == 0.5
    assert not scored["middle"].present[0]


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 30))
def test_chunks_hold_every_filled_row_once_within_the_bound(lengths, cells):
    parts = list(chunks(np.array(lengths, dtype=np.int64), cells))
    assert sorted(row for part in parts for row in part) == [row for row, n in enumerate(lengths) if n]
    assert all(len(part) == 1 or len(part) * max(lengths[row] for row in part) <= cells for part in parts)
