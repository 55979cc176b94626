"""Ours against golden figures of the released system: the largest difference of every quantity, and what is allowed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config import Model
from pipeline.errors import PipelineError
from pipeline.models.batch import Outputs
from pipeline.models.cooperation import best_moment
from pipeline.models.tr_detr import TrDetr
from pipeline.training.golden_compact import compact
from pipeline.training.golden_sets import GoldenSet, plain, sharp
from pipeline.training.labels import Targets
from pipeline.training.losses import compute_losses, layers_of
from pipeline.training.matching import NONE, match
from pipeline.training.postprocess import predictions_of
from pipeline.training.released_checkpoint import DEAD, our_name, rename

RELATIVE = 1e-5
"""Of the largest reference value (outputs), of the value (losses)."""


class Check(NamedTuple):
    """One quantity: its largest difference, in the unit of `tolerance`."""

    quantity: str
    difference: float
    tolerance: float
    ok: bool


def verify(path: Path | str) -> list[Check]:
    """Compare with the golden set at `path` (see `read_sets`).

    float32 on the CPU, evaluation mode. Raises PipelineError where there is no set.
    """
    sets = read_sets(path)
    found = [(golden, check) for golden in sets for check in _verify(golden)]
    if len(sets) == 1:
        return [check for _, check in found]
    return [check._replace(quantity=f"{golden.name}: {check.quantity}") for golden, check in found]


def _verify(golden: GoldenSet) -> Iterator[Check]:
    model = TrDetr(Model(), *golden.dims, golden.clip_s).eval()
    model.load_state_dict(rename(golden.weights, model.state_dict()))
    if golden.n_parameters is not None:
        ours = sum(p.numel() for p in model.parameters()) + sum(golden.weights[name].numel() for name in DEAD)
        yield _counted("number of parameters, the dead ones included", abs(ours - golden.n_parameters))
    with _recorded(model) as calls:
        outputs = model(golden.batch)
    for name, reference in golden.outputs.items():
        yield _close(name, getattr(outputs, name), reference)
    yield from _check_losses(golden, outputs)
    yield from _check_gradients(golden, model)
    if golden.queries:
        yield from _check_inputs(golden)
        yield from _check_labels(golden)
        yield from _check_intermediates(golden, calls, outputs)
        yield from _check_predictions(golden, outputs)
        yield from _check_steps(golden, model)


def _check_losses(golden: GoldenSet, outputs: Outputs) -> Iterator[Check]:
    """Every loss, the matching, and the released log's `class_error`. Leaves gradients in the model."""
    losses = compute_losses(outputs, golden.batch, golden.training, Model(), golden.moments)
    losses["total"].backward()
    found = {name: float(loss.detach()) for name, loss in losses.items()}
    if golden.moments:
        logits, spans = layers_of(outputs)
        matches = match(logits, spans, golden.labels, golden.training.loss_weights)
        for layer, suffix in enumerate(("", "_0")):
            found[f"class_error{suffix}"] = _class_error(logits[layer][matches[layer] != NONE])
        for layer, pairs in enumerate(golden.matches):
            wrong = sum(a != b for a, b in zip(map(_as_pairs, matches[layer]), pairs, strict=True))
            yield _counted(f"matching{' of the earlier layer' if layer else ''}, samples that differ", wrong)
    for name, reference in golden.losses.items():
        difference = abs(found[name] - reference)
        yield Check(f"loss {name}", difference, RELATIVE * abs(reference), difference <= RELATIVE * abs(reference))


def _check_gradients(golden: GoldenSet, model: nn.Module) -> Iterator[Check]:
    """|Δ| over (1e-4 · norm + 2e-6), the largest; and how many tensors take part on one side only."""
    gradients = {name: p.grad for name, p in model.named_parameters()}
    worst, apart = 0.0, 0
    for released, reference in golden.gradient_norms.items():
        name = our_name(released)
        gradient = None if name is None else gradients[name]
        apart += (gradient is None) != (reference is None)
        if gradient is not None and reference is not None:
            worst = max(worst, abs(float(gradient.norm()) - reference) / (1e-4 * reference + 2e-6))
    yield Check("gradient norms, share of the tolerance 1e-4·norm + 2e-6", worst, 1.0, worst <= 1)
    yield _counted("tensors with a gradient on one side only", apart)


def _check_inputs(golden: GoldenSet) -> Iterator[Check]:
    batch, arrays = golden.batch, golden.arrays
    video = torch.cat([arrays[name] for name in ("in_src_vid", "in_src_aud") if name in arrays], dim=-1)
    for name, ours, reference in (
        ("prepared video", batch.video, video),
        ("prepared text", batch.text, arrays["in_src_txt"]),
        ("video mask", batch.video_mask, arrays["in_src_vid_mask"]),
        ("text mask", batch.text_mask, arrays["in_src_txt_mask"]),
    ):
        difference = float((ours - reference).abs().max())
        yield Check(name, difference, 1e-7, difference <= 1e-7)


def _check_labels(golden: GoldenSet) -> Iterator[Check]:
    """Labels that no draw changes, from the annotation rows. Hard pairs by their scores: ties may fall either way."""
    reference, windows = golden.labels, golden.training.max_windows
    targets = Targets(golden.queries, golden.batch.n_clips, golden.clip_s, max_windows=windows)
    ours = targets.draw(range(len(golden.queries)), np.random.default_rng(0))
    yield _close("labels: scores of all clips", ours.saliency, reference.saliency)
    yield _counted("labels: clip mask", int((ours.clip_mask != reference.clip_mask).sum()))
    for side in ("saliency_pos", "saliency_neg"):
        found, wanted = (labels.saliency.gather(1, getattr(labels, side)[:, :1]) for labels in (ours, reference))
        yield _close(f"labels: score of the hard pair, {side}", found, wanted)
    whole = [n for n, q in enumerate(golden.queries) if 0 < len(q.relevant_windows or ()) <= windows]
    if whole:
        spans = [[labels.spans[n, : labels.n_spans[n]] for n in whole] for labels in (ours, reference)]
        yield _close("labels: spans", *map(torch.cat, spans))


def _check_intermediates(golden: GoldenSet, calls: Mapping[str, list[Any]], outputs: Outputs) -> Iterator[Check]:
    found = {
        "mid_refined": calls["refinement"][0],
        "mid_t2v": calls["t2v"][0],
        "mid_encoder1": calls["encoder"][0],
        "mid_encoder2": calls["encoder"][1],
        "mid_first_saliency": calls["score"][0],
        "mid_hs": calls["decoder"][0][0],
        "mid_references": calls["decoder"][0][1],
        "mid_gru_state": calls["mr2hd.gru"][0][1][0],
    }
    for name, ours in found.items():
        yield _close(name.removeprefix("mid_"), ours, golden.arrays[name])
    start, end = best_moment(
        outputs.logits, outputs.spans, torch.ones_like(golden.batch.video_mask).sum(1), golden.clip_s
    )
    top = outputs.logits.softmax(-1)[..., 0].argmax(1)
    for name, choice in (("top", top), ("start", start), ("end", end)):
        differ = int((choice != torch.tensor(golden.expected["mr2hd"][name])).sum())
        yield _counted(f"MR2HD's {name}, samples that differ", differ)


def _check_predictions(golden: GoldenSet, outputs: Outputs) -> Iterator[Check]:
    """The prediction file. A float16 step finer than the tolerance of the scores themselves counts as that."""
    ours = predictions_of(outputs, golden.queries, golden.batch.n_clips, dataset=golden.dataset, clip_s=golden.clip_s)
    rows = list(zip(ours, golden.expected["predictions"], strict=True))
    scores = [(np.array(a.pred_saliency_scores), np.array(b["pred_saliency_scores"])) for a, b in rows]
    noise = RELATIVE * max(float(np.abs(b).max()) for _, b in scores)
    steps = max(float((np.abs(a - b) / np.spacing(np.abs(b).astype(np.float16)).clip(noise)).max()) for a, b in scores)
    yield Check("predictions: saliency, in float16 steps", steps, 1.0, steps <= 1)
    if golden.moments:
        windows = [(np.array(a.pred_relevant_windows), np.array(b["pred_relevant_windows"])) for a, b in rows]
        yield _counted("predictions: windows that differ", sum(int((a != b)[:, :2].any(1).sum()) for a, b in windows))
        apart = max(float(np.abs(a - b)[:, 2].max()) for a, b in windows)
        yield Check("predictions: scores of windows", apart, 1.01e-4, apart <= 1.01e-4)


def _check_steps(golden: GoldenSet, model: TrDetr) -> Iterator[Check]:
    """Optimiser steps on the same batch, in evaluation mode. Moves the model's weights."""
    told = golden.expected["steps_eval_mode"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=told["lr"], weight_decay=told["weight_decay"])
    for row in told["trajectory"]:
        losses = compute_losses(model(golden.batch), golden.batch, golden.training, Model(), golden.moments)
        optimizer.zero_grad()
        losses["total"].backward()
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), told["clip"]))
        optimizer.step()
        total, reference = abs(float(losses["total"].detach()) - row["total"]), row["grad_norm_before_clip"]
        step = f"step {row['step']}"
        yield Check(f"{step}: total", total, 1e-4 * row["total"], total <= 1e-4 * row["total"])
        apart = abs(norm - reference)
        yield Check(f"{step}: gradient norm", apart, 1e-3 * reference, apart <= 1e-3 * reference)


def read_sets(path: Path | str) -> list[GoldenSet]:
    """The set at `path` (a folder or a JSON file), or every compact set of a folder that holds nothing else.

    Raises PipelineError where no set of the three forms lies there, or one lacks a file or a key.
    """
    path = Path(path)
    try:
        if (path / "released_expected.json").is_file():
            return [plain(path)]
        if (path / "expected.json").is_file():
            return [sharp(path)]
        cases = [path] if path.is_file() else sorted(path.glob("*.json"))
        if cases:
            return [compact(each) for each in cases]
    except (KeyError, OSError, ValueError, TypeError) as error:
        raise PipelineError(
            f"is not whole ({type(error).__name__}: {error})", where=path, remedy="compare it with the three forms"
        ) from error
    raise PipelineError("no golden set lies here", where=path, remedy="name a set's folder or its JSON file")


@contextmanager
def _recorded(model: nn.Module) -> Iterator[dict[str, list[Any]]]:
    """What every named module returned during the block, call by call."""
    calls: dict[str, list[Any]] = defaultdict(list)

    def keep(name: str) -> Any:
        return lambda _module, _inputs, result: calls[name].append(result)

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _as_pairs(matches: Tensor) -> list[list[int]]:
    """One sample's [queries, windows]."""
    queries = (matches != NONE).nonzero().flatten()
    return [queries.tolist(), matches[queries].tolist()]


def _class_error(matched: Tensor) -> float:
    """Per cent of matched queries (logits [K, 2]) whose background logit is the larger."""
    return 100 * float((matched[:, 0] < matched[:, 1]).float().mean())


def _close(name: str, ours: Tensor, reference: Tensor) -> Check:
    difference = float((ours.detach() - reference).abs().max())
    tolerance = RELATIVE * float(reference.abs().max())
    return Check(name, difference, tolerance, difference <= tolerance)


def _counted(name: str, wrong: int) -> Check:
    return Check(name, float(wrong), 0.0, wrong == 0)
