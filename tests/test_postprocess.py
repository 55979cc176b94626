"""The outputs of a network become the rows of a prediction file."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods.contract import Inputs
from pipeline.methods.tr_detr.method import TrDetrMethod
from pipeline.methods.tr_detr.network import AlignedOutputs
from pipeline.methods.tr_detr.settings import TrDetrSettings
from pipeline.records import Query
from pipeline.training.predict import predictions

SETTINGS = TrDetrSettings(hidden_dim=8, heads=2, feedforward_dim=8)


def predict(spans, *, dataset="qvhighlights", clip_s=2.0, duration=150.0, logits=None, saliency=None, n_clips=None):
    spans = torch.tensor([spans])
    logits = torch.zeros(1, spans.shape[1], 2) if logits is None else torch.tensor([logits])
    saliency = torch.zeros(1, 75) if saliency is None else torch.tensor([saliency])
    nothing = torch.zeros(0, 1, spans.shape[1], 2)
    outputs = AlignedOutputs(
        logits=logits,
        spans=spans,
        aux_logits=nothing,
        aux_spans=nothing,
        saliency=saliency,
        video=torch.zeros(1, 75, 4),
        text=torch.zeros(1, 5, 4),
    )
    method = TrDetrMethod(SETTINGS, Inputs(4, 0, 4, clip_s, moments=dataset != "tvsum"))
    query = Query(qid=3, query="a dog", vid="v", duration=duration)
    return predictions(method.decode(outputs, [query], [n_clips or saliency.shape[1]], dataset), [query], dataset)[0]


def test_windows_are_fractions_of_the_annotated_duration():
    assert predict([[0.5, 0.2]], duration=140.0).pred_relevant_windows == [[56.0, 84.0, 0.5]]


def test_windows_are_sorted_by_score_and_ties_keep_their_order():
    logits = [[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [2.0, 0.0]]
    windows = predict([[0.1, 0.04], [0.3, 0.04], [0.5, 0.04], [0.7, 0.04]], logits=logits).pred_relevant_windows
    assert [row[2] for row in windows] == [0.8808, 0.8808, 0.5, 0.5]
    assert [row[0] for row in windows] == sorted(windows[n][0] for n in (0, 1)) + sorted(windows[n][0] for n in (2, 3))


def test_bounds_are_rounded_half_to_even_multiples_of_two():
    windows = predict([[4 / 150, 2 / 150], [8 / 150, 2 / 150]]).pred_relevant_windows
    assert [row[:2] for row in windows] == [[4.0, 4.0], [8.0, 8.0]]


def test_bounds_are_clamped_to_150_seconds_not_to_the_duration():
    windows = predict([[0.0, 0.5], [1.0, 0.5]], duration=140.0).pred_relevant_windows
    assert [row[:2] for row in windows] == [[0.0, 36.0], [104.0, 150.0]]


def test_charades_windows_lie_on_the_grid_and_end_with_the_video():
    windows = predict(
        [[0.9, 0.4], [0.21, 0.2]], dataset="charades_sta", clip_s=1.0, duration=30.96
    ).pred_relevant_windows
    assert [row[:2] for row in windows] == [[22.0, 30.96], [3.0, 10.0]]


def test_tvsum_has_no_windows():
    assert predict([[0.5, 0.2]], dataset="tvsum").pred_relevant_windows is None


def test_clip_scores_are_float16_and_stop_at_the_valid_clips():
    scores = predict([[0.5, 0.2]], saliency=[0.1, -2.00049, 3.0, 9.0], n_clips=3).pred_saliency_scores
    assert scores == [0.0999755859375, -2.0, 3.0]


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=10))
def test_every_bound_is_a_multiple_of_two_seconds_between_0_and_150(spans):
    windows = np.array(predict([list(span) for span in spans]).pred_relevant_windows)
    assert len(windows) == len(spans)
    assert (windows[:, :2] % 2 == 0).all()
    assert ((windows[:, :2] >= 0) & (windows[:, :2] <= 150)).all()
    assert (windows[:, 0] <= windows[:, 1]).all()
