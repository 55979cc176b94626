"""Checks of what only UMT's golden sets contain: labels, intermediate values, and each sample alone.

The form is described in the README of the sets. The optimizer is Adam. Its steps are computed on the batch of the set,
in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.evaluation.top5 import top5_average_precision
from pipeline.methods.release import Calls, Check, GoldenSet, check_steps, close, near, noise, none_differ
from pipeline.methods.umt.labels import PeakLabels, PeakTargets
from pipeline.methods.umt.method import UmtMethod
from pipeline.methods.umt.network import PeakOutputs, Umt
from pipeline.models.batch import Batch
from pipeline.records import Query

STEP = {"totals": 1e-3, "norms": 5e-3}
"""The share by which totals and gradient norms of optimizer steps may differ."""

WINDOW = 1e-4
"""The amount by which ends (in seconds) and scores of windows may differ."""

PICKS = 10
"""The number of picks of the soft suppression that a set holds."""

PROBED: dict[str, Callable[[Calls], Tensor]] = {
    "video_encoded": lambda calls: calls["video"][0],
    "audio_encoded": lambda calls: calls["audio"][0],
    "video_crossed": lambda calls: calls["crossing"][0][0],
    "audio_crossed": lambda calls: calls["crossing"][0][1],
    "fused": lambda calls: calls["fused_norm"][0],
    "text_mapped": lambda calls: calls["text_norm"][0],
    "clip_queries": lambda calls: calls["asking"][0],
}
"""The table of intermediate tensors: released name → ours. Tensors of the decoder's layers are found by their
numbers."""


def rows_of_set(told: Mapping[str, Any]) -> tuple[Sequence[Query], PeakLabels]:
    """Return queries as annotated, and their labels by our rules."""
    clip_s, lengths = float(told["clip_length_s"]), told["video_lengths"]
    queries = [_query(told, n, clip_s) for n in range(len(lengths))]
    return queries, PeakTargets(queries, lengths, clip_s).draw(range(len(queries)), np.random.default_rng(0))


def _query(told: Mapping[str, Any], n: int, clip_s: float) -> Query:
    query = Query(qid=n, query="", vid=str(n), duration=told["video_lengths"][n] * clip_s)
    if told["windows_seconds"] is None:
        return replace(query, label=tuple(tuple(map(float, ratings)) for ratings in told["annotators"][n]))
    query = replace(query, relevant_windows=tuple(map(tuple, told["windows_seconds"][n])))
    if told["saliency_sums"] is None:
        return query
    rated = {clip: int(total) for clip, total in enumerate(told["saliency_sums"][n]) if total}
    thirds = tuple((min(4, total), min(4, max(0, total - 4)), max(0, total - 8)) for total in rated.values())
    return replace(query, relevant_clip_ids=tuple(rated), saliency_scores=thirds)


def further(golden: GoldenSet, method: UmtMethod, calls: Calls, outputs: PeakOutputs) -> Iterator[Check]:
    """Compare everything that the sets of the other methods do not have. The last check changes the weights."""
    told, network = golden.expected, method.network
    assert isinstance(network, Umt)  # noqa: S101 - for the type checker
    yield none_differ("outputs that one side lacks", len(golden.outputs.keys() ^ network.heads.keys()))
    yield from _check_labels(golden.batch.labels, told.get("targets"), method.inputs.moments)
    yield from _check_between(calls, told, method.settings.decoder_layers)
    yield from _check_without_text_mask(golden, method, network)
    if method.inputs.moments:
        found = method.windows_at_peaks(outputs, golden.batch.n_clips) or ()
        yield _windows("windows of the batch", found, told["batch_windows"])
    yield from _check_alone(golden, method)
    yield from _check_steps(golden, method)


def _check_labels(labels: PeakLabels, told: Mapping[str, Any] | None, moments: bool) -> Iterator[Check]:
    if not moments:
        return
    if told is None:
        raise KeyError("targets")
    heat = torch.zeros_like(labels.heat)
    for sample, clip, value in told["center"]:
        heat[sample, clip] = value
    marks = torch.zeros(3, *heat.shape)
    for sample, clip, width, offset in told["window_offset"]:
        marks[:, sample, clip] = torch.tensor([width, offset, 1.0])
    yield close("labels: heat", labels.heat, heat)
    yield none_differ("labels: clips of heat", int(((labels.heat > 0) != (heat > 0)).sum()))
    yield close("labels: widths", labels.window, marks[0])
    yield Check("labels: offsets", float((labels.offset - marks[1]).abs().max()), 1e-6)
    yield none_differ("labels: centre clips", int((labels.centres != marks[2]).sum()))
    yield none_differ("labels: windows", int(labels.n_windows) - told["n_windows"])


def _check_between(calls: Calls, told: Mapping[str, Any], n_layers: int) -> Iterator[Check]:
    """Compare intermediate values by their products with one random direction, at some clips, or at the first and the
    last word of every sample."""
    probe = torch.from_numpy((noise(f"{told['case']}/probe", (256,)) / 16).astype(np.float32))
    layers = {name: name.removeprefix("decoder_") for name in told["probes"] if name.startswith("decoder_")}
    wanted = {*PROBED, *(f"decoder_{layer}" for layer in range(n_layers))}
    yield none_differ("probes that one side lacks", len(wanted ^ told["probes"].keys()))
    for name, values in told["probes"].items():
        found = calls[f"decoder.{layers[name]}"][0] if name in layers else PROBED[name](calls)
        if name == "text_mapped":
            places = [(sample, word) for sample in range(len(found)) for word in (0, found.shape[1] - 1)]
        else:
            places = told["probe_clips"]
        samples, clips = zip(*places, strict=True)
        yield close(name, found[list(samples), list(clips)] @ probe, torch.tensor(values))


def _check_without_text_mask(golden: GoldenSet, method: UmtMethod, network: Umt) -> Iterator[Check]:
    """Compare the losses without a mask of padded words. The published weights were trained in this way."""
    network.text_mask = False
    try:
        with torch.no_grad():
            losses = method.losses(method.outputs(golden.batch), golden.batch, ())
    finally:
        network.text_mask = method.settings.text_mask
    told = golden.expected["losses_without_text_mask"]
    yield none_differ(
        "losses that one side lacks without a text mask", len(told.keys() ^ golden.expected["losses"].keys())
    )
    for released, value in told.items():
        name = {"center_loss": "centre"}.get(released, released.removesuffix("_loss"))
        yield near(f"loss {name} without a text mask", float(losses[name]), value)


def _check_alone(golden: GoldenSet, method: UmtMethod) -> Iterator[Check]:
    """Compare each sample without padding, which is how the released evaluation runs."""
    wanted_keys = {
        "saliency": method.inputs.highlights,
        "windows": method.inputs.moments,
        "suppressed": method.inputs.moments and not method.inputs.highlights,
        "top5_map": not method.inputs.moments,
    }
    yield none_differ("samples alone that one side lacks", abs(len(golden.expected["alone"]) - len(golden.queries)))
    for n, told in enumerate(golden.expected["alone"]):
        lacks = {key for key, wanted in wanted_keys.items() if wanted != (told.get(key) is not None)}
        yield none_differ(f"sample {n} alone: keys that one side lacks", len(lacks))
        batch, query = alone(golden.batch, n), golden.queries[n : n + 1]
        with torch.no_grad():
            outputs = method.outputs(batch)
        plain = method.decode(outputs, query, batch.n_clips, golden.dataset)
        peaks = method.windows_at_peaks(outputs, batch.n_clips)
        if method.inputs.highlights:
            yield close(
                f"sample {n} alone: saliency", torch.from_numpy(plain.saliency[0]), torch.tensor(told["saliency"])
            )
        if peaks is not None:
            yield _windows(f"sample {n} alone: windows", peaks, [told["windows"]])
        if "suppressed" in told:
            picked = plain.windows or ()
            wanted = told["suppressed"]
            yield none_differ(f"sample {n} alone: number of picks", len(wanted) - min(PICKS, len(picked[0])))
            yield _windows(f"sample {n} alone: suppressed windows", [picked[0][: len(wanted)]], [wanted])
        if "top5_map" in told:
            value = float(top5_average_precision(plain.saliency[0].tolist(), query[0].label or ()).mean())
            yield none_differ(f"sample {n} alone: top-5 mAP", int(round(value, 5) != told["top5_map"]))


def alone(batch: Batch, n: int) -> Batch:
    """Return one sample of a batch, without padding and without labels."""
    clips, words = batch.n_clips[n], int(batch.text_mask[n].sum())
    return Batch(
        video=batch.video[n : n + 1, :clips],
        video_mask=batch.video_mask[n : n + 1, :clips],
        text=batch.text[n : n + 1, :words],
        text_mask=batch.text_mask[n : n + 1, :words],
        qids=batch.qids[n : n + 1],
        vids=batch.vids[n : n + 1],
        durations_s=batch.durations_s[n : n + 1],
        n_clips=[clips],
    )


def _windows(name: str, ours: Sequence[np.ndarray], wanted: Sequence[Any]) -> Check:
    """Compare the windows of some samples, in their order, by the largest difference of an end or a score."""
    pairs = [(found, np.array(rows)) for found, rows in zip(ours, wanted, strict=True)]
    if any(found.shape != rows.shape for found, rows in pairs):
        return none_differ(f"{name}, samples with another number", sum(a.shape != b.shape for a, b in pairs))
    largest = float(np.max([np.abs(found - rows).max() for found, rows in pairs]))
    return Check(name, largest, WINDOW)


def _check_steps(golden: GoldenSet, method: UmtMethod) -> Iterator[Check]:
    """Compare three steps, the total after them, and a row of positions that no clip reads. Only the weight decay
    changes this row."""
    told, unread = golden.expected["adam_steps"], golden.expected["unused_position"]
    table = method.network.query_positions.table  # type: ignore[union-attr]
    norms = [float(table[unread["row"]].detach().norm())]  # type: ignore[index]
    rows = [
        {"step": n, "total": total, "grad_norm_before_clip": norm} for n, (total, norm) in enumerate(told[:-1], start=1)
    ]
    steps = {"lr": golden.expected["adam_learning_rate"], "weight_decay": 1e-4, "clip": None, "trajectory": rows}
    yield from check_steps(method, golden, steps, **STEP)
    with torch.no_grad():
        total = float(method.losses(method.outputs(golden.batch), golden.batch, ())["total"])
    yield near("total after the steps", total, told[-1][0], STEP["totals"])
    norms.append(float(table[unread["row"]].detach().norm()))  # type: ignore[index]
    for when, norm in zip(("before", "after"), norms, strict=True):
        yield near(f"unread position {when} the steps: norm", norm, unread[f"norm_{when}"], 1e-6)
