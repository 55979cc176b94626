"""Dropout and PReLU, which are written out for speed on a CPU, have the values, gradients and probabilities of
torch's."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from pipeline.methods.tr_detr.cooperation import MomentSimilarity, PrintedMomentSimilarity
from pipeline.models.attention import attend
from pipeline.models.elementwise import Dropout, PReLU, drop
from pipeline.models.gru import last_state

pytestmark = pytest.mark.usefixtures("torch_one_thread")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def with_gradients(output: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), inputs)]


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_rate_is_met_and_the_mean_kept(rate):
    x = torch.ones(1_000_003)
    dropped = drop(x, rate)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=2e-3)
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / (1 - rate))]
    assert float(dropped.mean()) == pytest.approx(1, abs=4e-3)


def test_neighbours_are_dropped_independently():
    dropped = (drop(torch.ones(1 << 20), 0.5) == 0).float()
    for distance in (1, 2, 3, 4, 5, 8):  # four values share 64 random bits
        both = float((dropped[distance:] * dropped[:-distance]).mean())
        assert both == pytest.approx(0.25, abs=3e-3)


def test_masks_hang_on_the_seed_alone():
    first, second = drop(torch.ones(1000), 0.3), drop(torch.ones(1000), 0.3)
    torch.manual_seed(0)
    assert torch.equal(drop(torch.ones(1000), 0.3), first)
    assert not torch.equal(first, second)


def test_nothing_is_dropped_outside_training_or_at_rate_zero():
    x = torch.randn(7, 5)
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(drop(x, 0.0), x)


@pytest.mark.parametrize("slope", [0.25, -0.5])
def test_prelu_has_the_values_and_gradients_of_torch(slope):
    ours, theirs = PReLU(init=slope), nn.PReLU(init=slope)
    x = torch.randn(3, 11, 8, requires_grad=True)
    wanted = with_gradients(theirs(x), [x, theirs.weight])
    for a, b in zip(with_gradients(ours(x), [x, ours.weight]), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_rows", [9, 4, 0])
def test_a_gru_in_training_has_the_last_state_and_gradients_of_torch(n_rows):
    gru = nn.GRU(6, 6, batch_first=True)
    values = torch.randn(3, 9, 6, requires_grad=True)
    rows = values * (torch.arange(9) < n_rows)[:, None]
    leaves = [values, *gru.parameters()]
    theirs = with_gradients(gru(rows)[1][0], leaves)
    rows = values * (torch.arange(9) < n_rows)[:, None]
    for a, b in zip(with_gradients(last_state(gru, rows), leaves), theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_attention_that_drops_is_on_average_attention():
    query, key, value = torch.randn(3, 2, 4, 8).unbind(0)
    keep = torch.tensor([[True, True, True, False], [True] * 4])[:, None, None]
    mean = torch.stack([attend(query, key, value, heads=2, keep=keep, dropout=0.2) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, attend(query, key, value, heads=2, keep=keep), rtol=0, atol=0.08)


def test_attention_that_drops_never_looks_at_a_masked_key():
    query, key, value = torch.randn(3, 2, 4, 8).unbind(0)
    keep = torch.tensor([[True, True, True, False], [True] * 4])[:, None, None]
    changed = value.clone()
    changed[0, 3] = 1e6
    results = []
    for content in (value, changed):
        torch.manual_seed(1)
        results.append(attend(query, key, content, heads=2, keep=keep, dropout=0.2))
    assert torch.equal(*results)


def test_under_autocast_the_gru_stays_in_float32():
    gru = nn.GRU(6, 6, batch_first=True)
    rows = torch.randn(3, 9, 6, requires_grad=True)
    leaves = [rows, *gru.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        state = last_state(gru, rows)
    assert state.dtype == torch.float32
    for a, b in zip(with_gradients(state, leaves), with_gradients(gru(rows)[1][0], leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("kind", [MomentSimilarity, PrintedMomentSimilarity])
def test_elsewhere_than_on_a_cpu_the_gru_runs_in_float32_and_outside_autocast(kind, monkeypatch):
    """Take the branches of a GPU with meta tensors. There, too, a GRU is refused if its rows and weights differ in
    type."""
    entered = []
    monkeypatch.setattr(torch, "autocast", lambda device, enabled: entered.append((device, enabled)) or nullcontext())
    with torch.device("meta"):
        similarity = kind(6, 2.0).train()
        logits, spans, video, counted = (torch.rand(3, *shape) for shape in ((4, 2), (4, 2), (9, 6), (9,)))
        assert similarity(logits, spans, video.bfloat16(), counted).shape == (3, 9)
    assert entered == [("meta", False)]
