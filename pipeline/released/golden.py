"""Compares our networks with golden sets: numbers that released systems computed once.

For each quantity the comparison gives the largest difference and the tolerance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import methods
from pipeline.config import Training
from pipeline.errors import PipelineError
from pipeline.methods.contract import Method
from pipeline.methods.release import (
    RELATIVE,
    Check,
    GoldenSet,
    Release,
    check_steps,
    close,
    incomparable,
    near,
    none_differ,
)
from pipeline.models.matching import NONE
from pipeline.nouns import counted
from pipeline.released.checkpoint import release_of
from pipeline.released.golden_compact import compact
from pipeline.released.golden_sets import plain, sharp
from pipeline.training.predict import predictions

ODD = (KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError, ArithmeticError, OSError)
"""The exceptions that reading and comparing raise if a set is incomplete, an array has another shape or dtype, or a
number is too large."""

_REMEDY = (
    "fetch the set again; the docstrings of pipeline/released/golden_sets.py and golden_compact.py say which files and"
    " keys a set has"
)


def verify(path: Path | str) -> list[Check]:
    """Compare our network with the golden set at `path`, or with all sets of a folder (see `read_sets`).

    Our network computes in float32 on the CPU, in evaluation mode. A check fails if a value is not finite or an array
    has another shape.
    Raises PipelineError if there is no set, or if a set cannot be compared at all.
    """
    sets = read_sets(path)
    found = [(golden, check) for golden in sets for check in _checks(golden, path)]
    if len(sets) == 1:
        return [check for _, check in found]
    return [check._replace(quantity=f"{golden.name}: {check.quantity}") for golden, check in found]


def _checks(golden: GoldenSet, path: Path | str) -> list[Check]:
    """Make all checks of a set. Raises PipelineError if one of them cannot be made."""
    made: list[Check] = []
    try:
        for check in _verify(golden, release_of(golden.settings.name)):
            made.append(check)  # noqa: PERF402 - the error below names the last quantity that was compared
    except PipelineError as error:  # what is wrong is right, but its remedy is for a checkpoint or a training
        remedy = f"a name, a shape or a number of the set is wrong: {_REMEDY}"
        raise PipelineError(f"{golden.name}: {error.what}", where=path, remedy=remedy) from error
    except ODD as error:
        raise PipelineError(
            f"{golden.name}: cannot be compared after `{made[-1].quantity if made else 'the weights'}` "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]})",
            where=path,
            remedy=f"an array or key of the set is missing, or has another shape: {_REMEDY}",
        ) from error
    return made


def _verify(golden: GoldenSet, release: Release) -> Iterator[Check]:
    method = methods.build(golden.settings, golden.inputs)
    network = method.network.eval()
    network.load_state_dict(release.renamed(golden.weights, network.state_dict()))
    if golden.n_parameters is not None:
        ours = sum(p.numel() for p in network.parameters()) + sum(
            golden.weights[name].numel() for name in release.unused_tensors
        )
        yield none_differ("number of parameters, the dead ones included", abs(ours - golden.n_parameters))
    with _recorded(network) as calls:
        outputs = method.outputs(golden.batch)
    for name, reference in golden.outputs.items():
        yield close(name, getattr(outputs, name), reference)
    yield from _check_losses(golden, release, method, outputs)
    yield from _check_gradients(golden, release, network)
    yield from release.further(golden, method, calls, outputs)
    if golden.arrays:
        yield from _check_inputs(golden)
        yield from _check_labels(golden, method)
        yield from release.intermediates(golden, calls, outputs)
        yield from _check_predictions(golden, method, outputs)
        yield from check_steps(method, golden, golden.expected["steps_eval_mode"])


def _check_losses(golden: GoldenSet, release: Release, method: Method, outputs: Any) -> Iterator[Check]:
    """Compare every loss, the matching, and the other numbers of the released log.

    The backward pass leaves gradients in the network, which `_check_gradients` reads.
    """
    matches = method.match(method.costs(outputs, golden.batch), golden.batch.labels)
    losses = method.losses(outputs, golden.batch, matches)
    losses["total"].backward()
    found = {name: float(loss.detach()) for name, loss in losses.items()}
    logged = release.logged(outputs, matches)
    layers = len(matches[0]) if matches else 0
    if len(golden.matches) not in ((1, layers) if layers else (0,)):
        yield incomparable(
            f"matching: the set has {counted(len(golden.matches), 'layer')}, and our network has {layers}"
        )
    for layer, pairs in enumerate(golden.matches[:layers]):
        name = f"matching{' of the earlier layer' if layer else ''}, samples that differ"
        ours = list(map(_as_pairs, matches[0][layer]))
        wrong = sum(a != b for a, b in zip(ours, pairs, strict=False)) + abs(len(ours) - len(pairs))
        yield none_differ(name, wrong)
    for name in dict.fromkeys([*found, *logged, *golden.losses]):
        both = (found | logged).get(name), golden.losses.get(name)
        if both[0] is None or both[1] is None:
            yield incomparable(f"loss {name}: only {'the set' if both[0] is None else 'ours'} has it")
        else:
            yield near(f"loss {name}", both[0], both[1])


def _check_gradients(golden: GoldenSet, release: Release, network: nn.Module) -> Iterator[Check]:
    """Compare the norm of the gradient of every tensor.

    The difference is divided by the tolerance, 1e-4 · norm + 2e-6, and the largest quotient is reported. Tensors that
    have a gradient on one side only are counted.
    """
    gradients = {name: p.grad for name, p in network.named_parameters()}
    shares, one_sided = [0.0], 0
    for released, reference in golden.gradient_norms.items():
        name = release.our_name(released)
        gradient = None if name is None else gradients.pop(name)
        one_sided += (gradient is None) != (reference is None)
        if gradient is not None and reference is not None:
            norm = float(gradient.norm())
            if not (norm < release.rounding and reference < release.rounding):
                shares.append(abs(norm - reference) / (1e-4 * abs(reference) + 2e-6))
    worst = float(np.max(shares))  # unlike Python's max, NumPy's returns NaN if one of the values is NaN
    yield Check("gradient norms, share of the tolerance 1e-4·norm + 2e-6", worst, 1.0)
    yield none_differ("tensors with a gradient on one side only", one_sided)
    yield none_differ("tensors without a gradient norm in the set", len(gradients))


def _check_inputs(golden: GoldenSet) -> Iterator[Check]:
    batch, arrays = golden.batch, golden.arrays
    video = torch.cat([arrays[name] for name in ("in_src_vid", "in_src_aud") if name in arrays], dim=-1)
    for name, ours, reference in (
        ("prepared video", batch.video, video),
        ("prepared text", batch.text, arrays["in_src_txt"]),
        ("video mask", batch.video_mask, arrays["in_src_vid_mask"]),
        ("text mask", batch.text_mask, arrays["in_src_txt_mask"]),
    ):
        if ours.shape != reference.shape:
            yield close(name, ours, reference)
            continue
        difference = float((ours - reference).abs().max())
        yield Check(name, difference, 1e-7)


def _check_labels(golden: GoldenSet, method: Method) -> Iterator[Check]:
    """Compare the labels that do not depend on random numbers. They are made from the annotation rows.

    Of the hard pairs only the scores are compared, because either clip may be chosen where scores are equal.
    """
    reference, windows = golden.batch.labels, golden.max_windows
    targets = method.targets(golden.queries, golden.batch.n_clips, Training(max_windows=windows))
    ours = targets.draw(range(len(golden.queries)), np.random.default_rng(0))
    yield close("labels: scores of all clips", ours.saliency, reference.saliency)
    yield none_differ("labels: clip mask", int((ours.clip_mask != reference.clip_mask).sum()))
    for side in ("saliency_pos", "saliency_neg"):
        found, wanted = (labels.saliency.gather(1, getattr(labels, side)[:, :1]) for labels in (ours, reference))
        yield close(f"labels: score of the hard pair, {side}", found, wanted)
    whole = [n for n, q in enumerate(golden.queries) if 0 < len(q.relevant_windows or ()) <= windows]
    if whole:
        spans = [[labels.spans[n, : labels.n_spans[n]] for n in whole] for labels in (ours, reference)]
        yield close("labels: spans", *map(torch.cat, spans))


def _check_predictions(golden: GoldenSet, method: Method, outputs: Any) -> Iterator[Check]:
    """Compare the rows of the prediction file.

    The files hold saliency rounded to float16. Two such numbers may lie apart by a step, half of one for each rounding,
    and by the tolerance of the scores themselves. The check is in units of that sum.
    """
    found = method.decode(outputs, golden.queries, golden.batch.n_clips, golden.dataset)
    ours = predictions(found, golden.queries, golden.dataset)
    rows = list(zip(ours, golden.expected["predictions"], strict=True))
    scores = [(np.array(a.pred_saliency_scores), np.array(b["pred_saliency_scores"])) for a, b in rows]
    noise = RELATIVE * np.max([np.abs(b).max() for _, b in scores])
    each = [(np.abs(a - b) / (np.spacing(np.abs(b).astype(np.float16)) + noise)).max() for a, b in scores]
    steps = float(np.max(each))
    yield Check("predictions: saliency, in float16 steps", steps, 1.0)
    if method.inputs.moments:
        windows = [(np.array(a.pred_relevant_windows), np.array(b["pred_relevant_windows"])) for a, b in rows]
        yield none_differ(
            "predictions: windows that differ", sum(int((a != b)[:, :2].any(1).sum()) for a, b in windows)
        )
        largest = float(np.max([np.abs(a - b)[:, 2].max() for a, b in windows]))
        yield Check("predictions: scores of windows", largest, 1.01e-4)


def read_sets(path: Path | str) -> list[GoldenSet]:
    """Read the golden set at `path` (a folder or a JSON file), or every compact set of a folder.

    Raises PipelineError if there is no set, or if a set lacks a file or a key.
    """
    path = Path(path)
    try:
        for name, form in (("released_expected.json", plain), ("expected.json", sharp)):
            if (path / name).is_file():
                return [form(path)]
        sets, cases = [], [path] if path.is_file() else sorted(path.glob("*.json"))
        for path in cases:  # an error names the file, not the folder
            sets.append(compact(path))
        if sets:
            return sets
    except (*ODD, EOFError, BadZipFile) as error:
        raise PipelineError(
            f"is incomplete ({type(error).__name__}: {' '.join(str(error).split())[:200]})",
            where=path,
            remedy=_REMEDY,
        ) from error
    raise PipelineError("there is no golden set here", where=path, remedy="name a set's folder or its JSON file")


@contextmanager
def _recorded(model: nn.Module) -> Iterator[dict[str, list[Any]]]:
    """Record what every named module returns during the block, call by call."""
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
    """Return the matching of one sample as two lists: the moment queries, and the windows that they were given."""
    queries = (matches != NONE).nonzero().flatten()
    return [queries.tolist(), matches[queries].tolist()]
