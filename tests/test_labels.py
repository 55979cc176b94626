"""Labels against plain transcriptions of the rules, on made-up rows and on the real annotations."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.models.labels import Targets, query_labels
from pipeline.records import Query, read_queries

RATED = Query(
    qid=7,
    query="a dog",
    vid="v_0.0_20.0",
    duration=20.0,
    relevant_windows=((4.0, 10.0), (14.0, 16.0)),
    relevant_clip_ids=(2, 3, 4, 7),
    saliency_scores=((1, 1, 1), (4, 4, 3), (0, 0, 1), (4, 4, 3)),
)


def draw(query, n_clips, *, clip_s=2.0, seed=0, **settings):
    targets = Targets([query], [n_clips], clip_s, **{"max_windows": 5} | settings)
    return targets.draw([0], np.random.default_rng(seed))


def test_spans_are_fractions_of_the_features_length():
    spans = query_labels(RATED, 9, 2.0).spans
    np.testing.assert_allclose(spans, [[7 / 18, 6 / 18], [15 / 18, 2 / 18]], rtol=1e-6)


def test_a_window_beyond_the_features_is_not_cut():
    spans = query_labels(replace(RATED, relevant_windows=((0.0, 20.0),)), 9, 2.0).spans
    assert spans[0, 0] + spans[0, 1] / 2 > 1


def test_the_hard_pair_is_best_and_worst_rated_with_ties_settled_by_a_stable_sort():
    labels = draw(RATED, 10)
    assert (labels.saliency_pos[0, 0], labels.saliency_neg[0, 0]) == (7, 4)
    assert labels.saliency[0].tolist() == [0, 0, 3, 11, 1, 0, 0, 11, 0, 0]


def test_the_easy_pair_is_drawn_evenly_from_inside_and_outside():
    rng = np.random.default_rng(1)
    targets = Targets([RATED], [10], 2.0, max_windows=5)
    pairs = [targets.draw([0], rng) for _ in range(2000)]
    above = Counter(int(labels.saliency_pos[0, 1]) for labels in pairs)
    below = Counter(int(labels.saliency_neg[0, 1]) for labels in pairs)
    assert above.keys() == {2, 3, 4, 7}
    assert below.keys() == {0, 1, 5, 6, 8, 9}
    assert max(above.values()) < 1.25 * 500
    assert max(below.values()) < 1.25 * 2000 / 6


def test_without_clips_outside_the_easy_pair_is_the_hard_one():
    everywhere = replace(RATED, relevant_clip_ids=(0, 1, 2, 3))
    labels = draw(everywhere, 4)
    assert labels.saliency_pos[0].tolist() == [3, 3]
    assert labels.saliency_neg[0].tolist() == [2, 2]


def test_released_a_relevant_clip_just_beyond_the_features_wipes_the_mask():
    assert query_labels(RATED, 7, 2.0).clip_mask.tolist() == [0] * 7 + [1]
    assert draw(RATED, 7).clip_mask.tolist() == [[0] * 7]


def test_otherwise_such_a_clip_is_left_out():
    assert query_labels(RATED, 7, 2.0, formulation="paper").clip_mask.tolist() == [0, 0, 1, 1, 1, 0, 0]


def test_pairs_never_point_beyond_the_features():
    labels = draw(RATED, 7)
    assert max(labels.saliency_pos.max(), labels.saliency_neg.max()) <= 6


@pytest.mark.parametrize(
    ("query", "n_clips", "complaint"),
    [
        (RATED, 6, "clips up to 7, its features have 6"),
        (replace(RATED, relevant_clip_ids=(), saliency_scores=()), 10, "no relevant clip to learn from"),
        (replace(RATED, relevant_windows=((8.0, 4.0),)), 10, "ends before it starts"),
        (replace(RATED, relevant_windows=None), 10, "no windows and no labels"),
    ],
)
def test_a_row_without_usable_labels_is_named(query, n_clips, complaint):
    with pytest.raises(PipelineError, match=complaint) as error:
        query_labels(query, n_clips, 2.0)
    assert "qid 7" in str(error.value)


def test_more_windows_than_allowed_are_drawn_anew_each_time():
    many = replace(RATED, relevant_windows=tuple((2.0 * n, 2.0 * n + 1) for n in range(8)))
    targets, rng = Targets([many], [10], 2.0, max_windows=5), np.random.default_rng(0)
    draws = [targets.draw([0], rng).spans[0] for _ in range(40)]
    assert {len(spans) for spans in draws} == {5}
    assert targets.draw([0], rng).n_spans == (5,)
    assert len(torch.cat(draws).unique(dim=0)) == 8
    assert all(len(spans.unique(dim=0)) == 5 for spans in draws)


def test_equal_generators_draw_equal_labels():
    one, other = draw(RATED, 10, seed=4), draw(RATED, 10, seed=4)
    assert torch.equal(one.saliency_pos, other.saliency_pos)
    assert torch.equal(one.saliency_neg, other.saliency_neg)


@given(
    st.floats(0, 30), st.floats(0, 12), st.integers(1, 40), st.sampled_from([1.0, 0.5, 1 / 6, 2.0]), st.integers(0, 99)
)
def test_windows_alone_give_whole_clips_inside_and_touched_clips_in_the_mask(start, width, n_clips, clip_s, seed):
    query = Query(1, "", "v", 45.0, relevant_windows=((start, start + width),))
    labels = draw(query, n_clips, clip_s=clip_s, seed=seed)
    first, end = (math.floor(round(x / clip_s, 6)) for x in (start, start + width))
    last = max(0, min(end, n_clips) - 1)
    inside = set(range(min(first, last), last + 1))
    assert set(torch.nonzero(labels.saliency[0]).flatten().tolist()) == inside
    touched = set(range(first, math.ceil(round((start + width) / clip_s, 6))) or [first]) & set(range(n_clips))
    assert set(torch.nonzero(labels.clip_mask[0]).flatten().tolist()) == (touched or {n_clips - 1})
    above, below = labels.saliency_pos[0].tolist(), labels.saliency_neg[0].tolist()
    assert set(above) <= inside
    assert len(set(above)) == min(2, len(inside))
    if n_clips - len(inside) >= 2:
        assert not set(below) & inside
        assert len(set(below)) == 2
    else:
        assert below == above


def test_tvsum_scores_mask_and_pair_follow_the_sum_over_annotators():
    label = ((1.0,) * 20, (5.0,) * 20, (1.0,) * 10 + (3.0,) * 10, (2.0,) * 20, (1.0,) * 20)
    labels = draw(Query("v", "", "v", 10.0, label=label), 5)
    assert labels.saliency[0].tolist() == [0, 12, 3, 3, 0]
    assert labels.clip_mask[0].tolist() == [0, 1, 1, 1, 0]
    assert (labels.saliency_pos.tolist(), labels.saliency_neg.tolist()) == ([[1]], [[0]])
    assert labels.n_spans == (0,)


def test_a_batch_is_padded_to_its_longest_and_keeps_its_order():
    other = replace(RATED, qid=8, relevant_clip_ids=(0, 1, 2, 3))
    labels = Targets([RATED, other], [10, 6], 2.0, max_windows=5).draw([1, 0, 1], np.random.default_rng(0))
    assert labels.saliency.shape == labels.clip_mask.shape == (3, 10)
    assert labels.clip_mask.sum(1).tolist() == [4, 4, 4]
    assert not labels.saliency[0, 6:].any()


def test_rows_of_different_kinds_are_not_mixed():
    with pytest.raises(PipelineError, match="mixed"):
        Targets([RATED, replace(RATED, saliency_scores=None)], [10, 10], 2.0, max_windows=5)


def test_real_rated_rows_follow_the_rules(shared_data):
    queries = read_queries(shared_data / "annotations" / "qvhighlights_val.jsonl")
    n_clips = [int(min(query.duration // 2, 75)) - (n % 50 == 0) for n, query in enumerate(queries)]
    targets = Targets(queries, n_clips, 2.0, max_windows=5)
    labels = targets.draw(range(len(queries)), np.random.default_rng(0))
    for n, (query, length) in enumerate(zip(queries, n_clips, strict=True)):
        sums = {clip: sum(row) for clip, row in zip(query.relevant_clip_ids, query.saliency_scores, strict=True)}
        assert all(labels.saliency[n, clip] == score for clip, score in sums.items() if clip < length)
        assert labels.saliency[n].sum() == sum(score for clip, score in sums.items() if clip < 75)
        whole = max(sums) < length
        assert labels.clip_mask[n, :length].sum() == (len(sums) if whole else 0)
        if whole:
            (hard, easy), (worst, outside) = labels.saliency_pos[n].tolist(), labels.saliency_neg[n].tolist()
            assert (sums[hard], sums[worst]) == (max(sums.values()), min(sums.values()))
            assert easy in sums
            assert len(sums) == length or outside not in sums
        wanted = {((a + b) / 2 / (2 * length), (b - a) / (2 * length)) for a, b in query.relevant_windows}
        assert labels.n_spans[n] == min(5, len(wanted))
        gaps = [
            min(abs(c - x) + abs(w - y) for x, y in wanted) for c, w in labels.spans[n, : labels.n_spans[n]].tolist()
        ]
        assert max(gaps) < 1e-6


@pytest.mark.parametrize("clip_s", [1.0, 1 / 6])
def test_real_windows_alone_always_give_pairs_within_the_video(shared_data, clip_s):
    queries = read_queries(shared_data / "annotations" / "charades_sta_test.jsonl")
    n_clips = [max(int(query.duration / clip_s), 2) for query in queries]
    labels = Targets(queries, n_clips, clip_s, max_windows=5).draw(range(len(queries)), np.random.default_rng(0))
    limit = torch.tensor(n_clips)[:, None]
    assert (labels.saliency_pos < limit).all()
    assert (labels.saliency_neg < limit).all()
    assert (labels.saliency.gather(1, labels.saliency_pos) == 1).all()
    assert (labels.clip_mask.sum(1) >= 1).all()


def test_the_upper_half_of_every_real_tvsum_video_is_relevant(shared_data):
    queries = read_queries(shared_data / "annotations" / "tvsum_train.jsonl")
    n_clips = [len(query.label) for query in queries]
    labels = Targets(queries, n_clips, 2.0, max_windows=5).draw(range(len(queries)), np.random.default_rng(0))
    for n, length in enumerate(n_clips):
        mask, scores = labels.clip_mask[n, :length] > 0, labels.saliency[n, :length]
        assert mask.sum() == length - length // 2
        assert scores[mask].min() >= scores[~mask].max()
        assert scores[labels.saliency_pos[n]] == scores.max()
