"""Highlight detection against the plain reference, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import reference_metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.highlights import LEVELS, score_highlights

# Few distinct scores, so that ties are the rule, as in float16 files.
few_scores = st.sampled_from([-1.5, -0.2, 0.0, 0.3, 0.3, 2.0])
any_scores = st.floats(-5, 5, width=16)


@st.composite
def rated_queries(draw, score):
    n = draw(st.integers(1, 9))
    clips = draw(st.lists(st.integers(0, n - 1), unique=True))
    ratings = draw(
        st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=len(clips), max_size=len(clips))
    )
    duration = 2 * n + draw(st.sampled_from([0, 1, 1.5]))
    annotation = {"duration": duration, "relevant_clip_ids": clips, "saliency_scores": ratings}
    return annotation, draw(st.lists(score, min_size=1, max_size=n + 3))


def score(queries):
    annotations, scores = zip(*queries, strict=True)
    keys = ("relevant_clip_ids", "saliency_scores")
    truth = ([annotation[key] for annotation in annotations] for key in keys)
    return score_highlights(scores, list(map(reference.n_clips, annotations)), *truth, raters=3)


def assert_equals_reference(queries):
    scored = score(queries)
    for index, (annotation, scores) in enumerate(queries):
        for place, level in enumerate(LEVELS.values()):
            expected = reference.annotator_aps(annotation, scores, level)
            np.testing.assert_allclose(scored.ap[index, :, place], expected, rtol=0, atol=1e-12)
            assert scored.hit[index, place] == reference.is_hit(annotation, scores, level)


@settings(max_examples=300)
@given(st.lists(rated_queries(few_scores), min_size=1, max_size=5))
def test_tied_scores_score_like_the_reference(queries):
    assert_equals_reference(queries)


@settings(max_examples=200)
@given(st.lists(rated_queries(any_scores), min_size=1, max_size=5))
def test_any_scores_score_like_the_reference(queries):
    assert_equals_reference(queries)


def one(labels, scores):
    """Return AP and hit of one query whose first annotator rates the labelled clips 4, and the others nothing."""
    clips = [clip for clip, label in enumerate(labels) if label]
    annotation = {
        "duration": 2 * len(labels),
        "relevant_clip_ids": clips,
        "saliency_scores": [[4, 0, 0]] * len(clips),
    }
    scored = score([(annotation, scores)])
    return scored.ap[0, 0, 2], scored.hit[0, 2]


def test_equal_scores_count_once_and_precision_is_interpolated():
    assert one([0, 1, 1, 0, 1], [0.9, 0.9, 0.5, 0.4, 0.1])[0] == pytest.approx((2 / 3 + 2 / 3 + 3 / 5) / 3)


def test_a_missing_clip_gets_zero_and_may_rank_first():
    assert one([1, 0, 0, 1], [-0.2, -0.5, -0.9])[0] == 1.0


def test_surplus_scores_are_cut_for_ap_and_a_miss_for_hit():
    ap, hit = one([1, 0], [0.5, 0.1, 0.9])
    assert ap == 1.0
    assert not hit


def test_no_positive_is_zero_and_all_positive_is_one():
    assert one([0, 0, 0], [0.1, 0.2, 0.3])[0] == 0.0
    assert one([1, 1, 1], [0.1, 0.2, 0.3])[0] == 1.0


def test_hit_takes_the_first_of_equal_scores_and_any_annotator():
    assert one([1, 0], [0.7, 0.7])[1]
    assert not one([0, 1], [0.7, 0.7])[1]
