"""CG-DETR's labels of rows that have only windows, which follow a rule of its own. Other rows have the usual labels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from pipeline.errors import PipelineError
from pipeline.methods.cg_detr.labels import labels_of_query
from pipeline.methods.cg_detr.settings import CgDetrSettings
from pipeline.methods.contract import Inputs
from pipeline.models.labels import query_labels
from pipeline.records import Query


def row(*windows, duration=30.96):
    return Query(1, "words", "video", duration, relevant_windows=windows)


@pytest.mark.parametrize(
    ("window", "duration", "n_clips", "clips"),
    [
        ((2.0, 6.0), 10.0, 10, range(2, 6)),  # a clip lasts 1 s exactly
        ((2.0, 6.0), 12.0, 10, range(1, 5)),  # 1.2 s: places 1.67 and 5
        ((3.1, 3.3), 10.0, 10, range(2, 3)),  # inside one clip: the last clip that ends before the window's end
        ((0.1, 0.2), 10.0, 10, range(1)),
        ((8.0, 10.0), 10.0, 10, range(8, 10)),
        ((8.0, 14.0), 10.0, 10, range(8, 10)),  # beyond the video
        ((11.0, 14.0), 10.0, 10, range(9, 10)),
    ],
)
def test_relevant_clips_are_counted_on_clips_of_the_annotated_duration(window, duration, n_clips, clips):
    found = labels_of_query(row(window, duration=duration), n_clips, 1.0)
    assert np.flatnonzero(found.saliency).tolist() == list(clips)
    assert found.inside.tolist() == list(clips)
    assert found.outside.tolist() == [clip for clip in range(n_clips) if clip not in clips]


def test_the_span_is_a_fraction_of_the_clips_of_the_grid():
    (span,) = labels_of_query(row((2.0, 6.0), duration=12.0), 10, 1.0).spans
    assert span == pytest.approx([0.4, 0.4])


def test_only_the_first_window_counts():
    both, alone = (labels_of_query(row(*windows), 30, 1.0) for windows in [((5, 9), (20, 25)), ((5, 9),)])
    assert both.spans.tolist() == alone.spans.tolist()
    assert both.saliency.tolist() == alone.saliency.tolist()


def test_pairs_are_two_different_clips_inside_and_outside_or_the_inner_ones_twice():
    from pipeline.config import Training
    from pipeline.methods import build

    settings = CgDetrSettings(hidden_dim=16, heads=2, feedforward_dim=16, dummies=2)
    method = build(settings, Inputs(4, 0, 4, 1.0, moments=True, highlights=False))
    queries = [row((2.0, 6.0), duration=10.0), row((0.0, 9.0), duration=10.0), row((4.2, 4.4), duration=10.0)]
    labels = method.targets(queries, (10, 10, 10), Training()).draw(range(3), np.random.default_rng(0))
    above, below = labels.saliency_pos.tolist(), labels.saliency_neg.tolist()
    assert len(set(above[0])) == 2
    assert set(above[0]) <= {2, 3, 4, 5}
    assert len(set(below[0])) == 2
    assert not set(below[0]) & {2, 3, 4, 5}
    assert below[1] == above[1], "one clip lies outside, so the clips inside are paired with themselves"
    assert above[2] == [3, 3]


@pytest.mark.parametrize(
    "query",
    [
        Query(1, "", "v", 20.0, ((2, 6),), (1, 2), ((4, 3, 4), (1, 1, 0))),
        Query(1, "", "v", 20.0, label=tuple((float(1 + n % 5),) * 20 for n in range(10))),
    ],
    ids=["ratings", "everybody"],
)
def test_other_rows_are_labelled_as_others_do(query):
    ours, common = labels_of_query(query, 10, 2.0), query_labels(query, 10, 2.0)
    assert all(np.array_equal(getattr(ours, name), getattr(common, name)) for name in ours.__slots__)


def test_a_window_that_ends_before_it_starts_is_refused():
    with pytest.raises(PipelineError, match="ends before it starts"):
        labels_of_query(row((6, 2)), 10, 1.0)
