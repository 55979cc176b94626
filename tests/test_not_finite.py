"""Numbers that are not finite, in features, losses, weights and predictions, stop a training. The error says where they
come from."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
import torch
from tiny_benchmark import PEERS, Benchmark, experiment, list_stores

from pipeline.errors import PipelineError
from pipeline.training import loop

pytestmark = pytest.mark.usefixtures("torch_one_thread")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory) -> Benchmark:
    return Benchmark(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("every", [1, 3, 100])
def test_the_first_step_that_is_not_finite_is_named_however_seldom_one_looks(monkeypatch, every):
    monkeypatch.setattr(loop, "CHECK_EVERY", every)
    run = loop.Run("r", "tvsum", 0, experiment().settings_of("all-s2017"), "", Path("somewhere"))
    values = [1.0, 2.0, float("inf"), float("nan")]
    steps = []
    with pytest.raises(PipelineError, match=r"not finite \(total inf\) at epoch 7, step 3; qids of the batch: 2"):
        for qid, value in enumerate(values):
            steps.append(loop.Kept([qid], {"total": torch.tensor(value)}))
            if len(steps) % every == 0:
                loop.must_be_finite(run, 7, steps)
        loop.must_be_finite(run, 7, steps)


def test_a_loss_that_is_not_finite_names_run_epoch_step_and_qids(benchmark, tmp_path):
    with pytest.raises(PipelineError, match=r"run all-s2017 .*at epoch \d+, step \d+; qids of the batch: \d+, \d+"):
        benchmark.train(experiment(training={"learning_rate": 1e30, "gradient_clip": 1e30}), "wild", results=tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30], ids=str)
@pytest.mark.parametrize(("family", "key"), [(0, "v3"), (2, "3"), (0, "v25")], ids=["train", "words", "val"])
def test_features_that_are_not_finite_are_refused_by_name_before_the_first_epoch(tmp_path, value, family, key):
    own = Benchmark(tmp_path)
    with h5py.File(own.stores[family], "r+") as store:
        store[key][0, 0] = value
    own.features = [list_stores(own.features[0], own.stores)]
    said = rf"{own.stores[family]}: rows of 1 sample are not finite, or too large: {key} → extract or import"
    with pytest.raises(PipelineError, match=said):
        own.train(experiment(), results=tmp_path / "out")
    assert not list((tmp_path / "out").rglob("log.csv"))


@pytest.mark.parametrize("model", PEERS.values(), ids=lambda model: model.name)
def test_a_last_step_that_spoils_the_weights_is_named(benchmark, tmp_path, model):
    """The loss of the only step is finite. After it the weights are so large that no prediction is finite."""
    one_step = {"epochs": 1, "batch_size": 24, "learning_rate": 1e38}
    with pytest.raises(PipelineError, match=r"predictions of \d quer.* are not finite after epoch 1; .*learning_rate"):
        benchmark.train(experiment(model=model, training=one_step), results=tmp_path)


@pytest.mark.parametrize("model", PEERS.values(), ids=lambda model: model.name)
def test_weights_that_are_not_finite_are_named_in_the_next_epoch(benchmark, tmp_path, model):
    """The entropy of a probability that is NaN once ended with an error of torch, in UniVTG and CG-DETR."""
    two_steps = {"epochs": 3, "batch_size": 24, "learning_rate": 1e38, "evaluate_every": 3}
    with pytest.raises(PipelineError, match=r"not finite.* at epoch 2, step 1; qids of the batch"):
        benchmark.train(experiment(model=model, training=two_steps), results=tmp_path)


def test_a_step_that_is_refused_keeps_its_own_advice(benchmark, tmp_path):
    short = PEERS["umt"].model_copy(update={"positions": 5})
    with pytest.raises(PipelineError, match=r"has 12 clips, and `positions` is 5 at epoch 1.*→ raise `positions`"):
        benchmark.train(experiment(model=short), results=tmp_path)
