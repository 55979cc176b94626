"""One training step: whole and as replayed halves, and which of its parts read the value of a tensor."""

from __future__ import annotations

import warnings
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tiny_benchmark import MODEL, query
from tiny_benchmark import PEERS as ALL_PEERS

from pipeline import config, methods
from pipeline.methods.cg_detr.labels import SourceTargets
from pipeline.methods.contract import Inputs
from pipeline.methods.settings import MomentQuerySettings
from pipeline.models.batch import Batch, tensors_of, with_tensors
from pipeline.models.labels import Targets
from pipeline.models.matching import NONE
from pipeline.training import replay
from pipeline.training.replay import CudaGraphs, Replays
from pipeline.training.runs import be_exact
from pipeline.training.step import Learner, Step

pytestmark = pytest.mark.usefixtures("torch_one_thread")
VIDEO, TEXT = 16, 8
TRAINING = config.Training(learning_rate=1e-3)
SHAPES = [((9, 6), (4, 3)), ((9, 9), (4, 4)), ((7, 5), (5, 2)), ((9, 4), (4, 1)), ((7, 7), (3, 5)), ((7,), (5,))]
"""Clips and words of each sample, batch by batch: three shapes, two of which come again."""


PEERS = {name: model for name, model in ALL_PEERS.items() if isinstance(model, MomentQuerySettings)}
"""Methods that learn from the common labels; those with labels of their own are tried in test_clip_methods.py."""


def learner(device="cpu", moments=True, model=MODEL, **training) -> Learner:
    torch.manual_seed(0)
    schedule = TRAINING.model_copy(update=training)
    method = methods.build(model, Inputs(VIDEO, 0, TEXT, 2.0, moments))
    method.network.to(device).train()
    return Learner(method, method.optimizer(schedule, device), schedule)


def made(n_clips, n_words, seed=0, device="cpu") -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n_clips, VIDEO + 2), (n_words, TEXT))
    masks = [(torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]).float() for sizes, _ in shapes]
    rows = [
        torch.randn(*mask.shape, dim, generator=generator) * mask[..., None]
        for mask, (_, dim) in zip(masks, shapes, strict=True)
    ]
    queries = [query(n, 1 + seed % 2, 2) for n in range(len(n_clips))]
    queries[0] = replace(queries[0], relevant_windows=((2.0, 4.0), (4.0, 6.0)))
    targets = SourceTargets(Targets(queries, n_clips, 2.0, max_windows=5), [query.vid for query in queries])
    labels = targets.draw(range(len(n_clips)), np.random.default_rng(seed))  # no method asks for more
    names = [str(n) for n in range(len(n_clips))]
    return Batch(rows[0], masks[0], rows[1], masks[1], names, names, [60.0] * len(names), n_clips, labels).to(device)


def walk(take_step, device="cpu") -> list[dict[str, float]]:
    """Return the losses of a step on every batch."""
    torch.manual_seed(1)
    losses = [take_step(made(*shape, seed=n, device=device)) for n, shape in enumerate(SHAPES)]
    return [{name: float(loss) for name, loss in row.items()} for row in losses]


class ByHeart:
    """A stand-in for CUDA graphs on a CPU. It repeats the work itself, on the tensors with which it was recorded."""

    def __init__(self) -> None:
        self.noted = 0

    def rehearse(self, work) -> None:
        work()

    def record(self, work):
        self.noted += 1
        return work


class Watched(ByHeart):
    """Records the addresses of the tensors that a replayed forward pass reads, by name and shape."""

    def __init__(self) -> None:
        super().__init__()
        self.read = defaultdict(set)

    def record(self, work):
        again, step = super().record(work), getattr(work, "__self__", None)
        if not isinstance(step, Step):
            return again

        def watched():
            for name, tensor in tensors_of(step.batch).items():
                self.read[name, tensor.shape].add(tensor.data_ptr())
            again()

        return watched


class Incapable(ByHeart):
    """A GPU, or a version of torch, that cannot record, and then cannot end the recording."""

    def record(self, work):
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", [MODEL, *PEERS.values()], ids=lambda model: model.name)
def test_replayed_steps_have_the_losses_and_weights_of_ordinary_ones(moments, precision, model):
    plain, recorded = (learner(moments=moments, precision=precision, model=model) for _ in range(2))
    recorder = ByHeart()
    assert walk(Replays(recorded, recorder).step) == walk(plain.step)
    for name, weights in plain.method.network.state_dict().items():
        assert torch.equal(weights, recorded.method.network.state_dict()[name]), name
    assert recorder.noted == 2 * 2  # two halves of the shapes that come again


def test_a_replay_reads_tensors_that_stay_where_they_are():
    recorder = Watched()
    replays = Replays(learner(), recorder)
    walk(replays.step), walk(replays.step)
    before = dict(recorder.read)
    recorder.read.clear()
    walk(replays.step)
    assert recorder.read == before != {}
    assert all(len(places) == 1 for places in before.values())  # recordings of other shapes share them, too


def test_when_all_recordings_are_made_other_shapes_have_ordinary_steps(monkeypatch):
    monkeypatch.setattr(replay, "SHAPES_KEPT", 1)
    recorded, plain, recorder = learner(), learner(), ByHeart()
    assert walk(Replays(recorded, recorder).step) == walk(plain.step)
    assert recorder.noted == 2


def test_where_recording_fails_it_is_said_once_and_steps_go_on(capsys):
    plain, recorded = learner(), learner()
    assert walk(Replays(recorded, Incapable()).step) == walk(plain.step)
    assert capsys.readouterr().err.count("cannot be recorded as CUDA graphs (operation not permitted") == 1


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize(
    "model",
    [MODEL, MODEL.model_copy(update={"formulation": "paper"}), *PEERS.values()],
    ids=lambda model: f"{model.name}-{model.formulation}",
)
def test_nothing_but_the_matching_looks_at_a_value(moments, model, monkeypatch):
    """Take the branches of a GPU with meta tensors. They have no values, so code that reads one fails. On a GPU, such
    code would wait."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta
    with torch.device("meta"):
        method = methods.build(model, Inputs(VIDEO, 0, TEXT, 2.0, moments))
        network = method.network.train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    batch = with_tensors(made(*SHAPES[0]), lambda _, tensor: tensor.to("meta"))
    step = Step(Learner(method, optimizer, TRAINING), batch)
    step.forward()
    if moments:
        with pytest.raises(NotImplementedError):
            step.match(batch.labels)
        step.matches = tuple(torch.full(each.shape[:-1], NONE, device="meta") for each in step.costs)
    step.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
    assert step.losses()["total"].is_meta


@pytest.fixture
def as_in_production(monkeypatch):
    """Make a GPU compute as it does in training."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    be_exact("cuda")
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = True


def test_on_a_gpu_the_gru_is_not_rounded_and_sums_keep_their_order(as_in_production):
    assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", [MODEL, *PEERS.values()], ids=lambda model: model.name)
def test_on_a_gpu_replayed_steps_have_the_losses_and_weights_of_ordinary_ones_to_the_bit(
    moments, precision, model, as_in_production, capsys
):
    plain, recorded = (learner("cuda", moments, model, precision=precision) for _ in range(2))
    replays = Replays(recorded, CudaGraphs())
    assert walk(replays.step, "cuda") == walk(plain.step, "cuda")
    assert "cannot be recorded" not in capsys.readouterr().err and replays.n_recorded == 2
    for name, weights in plain.method.network.state_dict().items():
        assert torch.equal(recorded.method.network.state_dict()[name], weights), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("moments", "waits"), [(True, 1), (False, 0)])
def test_on_a_gpu_a_step_waits_only_to_match(moments, waits):
    for take_step in (learner("cuda", moments).step, Replays(learner("cuda", moments), CudaGraphs()).step):
        batch = made(*SHAPES[1], device="cuda")
        take_step(batch), take_step(batch)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                take_step(batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        assert len([w for w in caught if "called a synchronizing" in str(w.message)]) == waits
