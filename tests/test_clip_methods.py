"""Tests that hold for both UniVTG and UMT, which predict moments for every clip and match nothing."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tiny_benchmark import PEERS, query

from pipeline import methods
from pipeline.config import Training
from pipeline.methods.contract import Inputs
from pipeline.models.batch import Batch, with_tensors
from pipeline.records import Query
from pipeline.training.step import Learner, Step

BOTH = ("univtg", "umt")


def made(dataset, inputs):
    """Return two videos, of 12 and 9 clips, with labels."""
    seeded = torch.Generator().manual_seed(0)
    lengths, words = [12, 9], [4, 3]
    masks = [(torch.arange(max(counts)) < torch.tensor(counts)[:, None]).float() for counts in (lengths, words)]
    video = torch.randn(2, 12, inputs.video_columns, generator=seeded) * masks[0][..., None]
    text = torch.randn(2, 4, inputs.text_dim, generator=seeded) * masks[1][..., None]
    if dataset == "tvsum":
        ratings = torch.randint(1, 6, (2, 12, 20), generator=seeded).tolist()
        queries = [Query(n, "", str(n), 24.0, label=tuple(map(tuple, rows))) for n, rows in enumerate(ratings)]
    elif dataset == "charades_sta":
        queries = [Query(n, "", str(n), 24.0, ((3.0, 9.5),)) for n in range(2)]
    else:
        queries = [query(0, 1, 3), query(1, 4, 5)]
    return Batch(video, masks[0], text, masks[1], ["0", "1"], ["0", "1"], [24.0, 18.0], lengths), queries


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("dataset", ["qvhighlights", "charades_sta", "tvsum"])
def test_a_step_looks_at_no_value_of_a_tensor(name, dataset, monkeypatch):
    """Take the branches of a GPU with meta tensors. They have no values, so code that reads one fails. On a GPU, such
    code would wait."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta
    inputs = Inputs(6, 3, 5, 2.0, moments=dataset != "tvsum", highlights=dataset != "charades_sta")
    batch, queries = made(dataset, inputs)
    with torch.device("meta"):
        method = methods.build(PEERS[name], inputs)
        optimizer = torch.optim.Adam(method.network.train().parameters())
    labels = method.targets(queries, batch.n_clips, Training()).draw([0, 1], np.random.default_rng(0))
    labelled = Batch(*[getattr(batch, field) for field in Batch.__slots__[:-1]], labels)
    step = Step(Learner(method, optimizer, Training()), with_tensors(labelled, lambda _, x: x.to("meta")))
    step.forward()
    step.match(labels)
    step.backward()
    assert step.losses()["total"].is_meta


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("dataset", ["qvhighlights", "charades_sta", "tvsum"])
def test_losses_fall_on_every_kind_of_labels(name, dataset, torch_one_thread):
    inputs = Inputs(6, 3, 5, 2.0, moments=dataset != "tvsum", highlights=dataset != "charades_sta")
    batch, queries = made(dataset, inputs)
    torch.manual_seed(0)
    method = methods.build(PEERS[name], inputs)
    training = Training(learning_rate=3e-3)
    learner = Learner(method, method.optimizer(training, "cpu"), training)
    labels = method.targets(queries, batch.n_clips, training).draw([0, 1], np.random.default_rng(0))
    labelled = Batch(*[getattr(batch, field) for field in Batch.__slots__[:-1]], labels)
    method.network.eval()  # without dropout
    totals = [float(learner.step(labelled)["total"]) for _ in range(30)]
    assert totals[-1] < 0.9 * totals[0]
    found = method.decode(method.outputs(batch), queries, batch.n_clips, dataset)
    assert [len(row) for row in found.saliency] == [12, 9]
    assert all(np.isfinite(row).all() for row in found.saliency)
    if dataset == "tvsum":
        assert found.windows is None
    else:
        assert all(len(rows) and (rows[:, 1] >= rows[:, 0]).all() for rows in found.windows)


@pytest.mark.parametrize("name", BOTH)
def test_weights_that_nothing_reads_are_named(name):
    weights = {"offset": 2.0} if name == "umt" else {"span": 2.0}
    settings = methods.settings_class(name)(loss_weights=weights)
    assert settings.never_read(moments=True) == []
    assert settings.never_read(moments=False) == [f"loss_weights.{key}" for key in weights]


def test_heads_that_do_not_divide_the_width_are_refused():
    for name in BOTH:
        with pytest.raises(ValueError, match="5 does not divide"):
            methods.settings_class(name)(heads=5)
