"""The names in the checkpoints and golden sets of UniVTG. With them its released files are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pipeline.evaluation.top5 import top5_average_precision
from pipeline.methods.contract import Method
from pipeline.methods.moment_query_release import DEAD, PROJECTIONS, encoder_layers, inputs_of
from pipeline.methods.moment_query_release import OPTIONS as SHARED_OPTIONS
from pipeline.methods.release import (
    RELATIVE,
    Calls,
    Check,
    GoldenSet,
    Release,
    check_steps,
    close,
    none_differ,
)
from pipeline.methods.univtg.labels import ClipLabels, ClipTargets
from pipeline.methods.univtg.network import ClipOutputs
from pipeline.methods.univtg.settings import UniVtgSettings
from pipeline.records import Query

NAMES: dict[str, str] = {
    **encoder_layers("transformer.encoder", "encoder", activation=False),
    **PROJECTIONS,
    "token_type_embeddings.weight": "types",
    "span_embed.": "boundary.",
    "class_embed.": "foreground.",
    "weightedpool.weight": "pool",
}
"""The table of tensors: released name (its beginning; * is a layer's number) → ours. What follows the beginning is
kept."""

OPTIONS = {
    ours: SHARED_OPTIONS[ours] for ours in ("hidden_dim", "heads", "encoder_layers", "feedforward_dim", "input_dropout")
}
"""The table of options: our setting → the released option with its value."""

LOSSES = {
    "loss_b": "span",
    "loss_g": "giou",
    "loss_f": "foreground",
    "loss_s_inter": "inter",
    "loss_s_intra": "intra",
    "total": "total",
}
"""The table of losses: released name → ours."""

STEP = {"totals": 1e-5, "norms": 1e-4}
"""The share by which the totals and the gradient norms of optimizer steps may differ."""


def rows_of_set(told: Mapping[str, Any]) -> tuple[Sequence[Query], ClipLabels]:
    """Return queries as annotated, and their labels by our rules, with the positive clips that were drawn."""
    clip_s, lengths = float(told["clip_length_s"]), told["video_lengths"]
    queries = [_query(told, n, clip_s) for n in range(len(lengths))]
    labels = ClipTargets(queries, lengths, clip_s).draw(range(len(queries)), np.random.default_rng(0))
    return queries, replace(labels, positive=torch.tensor(told["saliency_pos"]).view(-1))


def _query(told: Mapping[str, Any], n: int, clip_s: float) -> Query:
    if told["windows_seconds"] is None:
        label = tuple(tuple(map(float, ratings)) for ratings in zip(*told["annotations"][n], strict=True))
        return Query(n, "", str(n), told["video_lengths"][n] * clip_s, label=label)
    windows = told["windows_seconds"][n]
    return Query(
        *(n, "", str(n), told["durations_seconds"][n]),
        relevant_windows=tuple(map(tuple, windows)),
        relevant_clip_ids=tuple(i for start, end in windows for i in range(int(start / clip_s), int(end / clip_s))),
        saliency_scores=tuple(map(tuple, told["ratings"][n])),
    )


def further(
    golden: GoldenSet,
    method: Method,
    calls: Calls,  # noqa: ARG001 - the set holds nothing in between
    outputs: ClipOutputs,
) -> Iterator[Check]:
    """Compare cosines of valid and of padded clips, labels, predictions (on TVSum: its metric), and optimizer steps."""
    told, mask, labels = golden.expected, golden.batch.video_mask > 0, golden.batch.labels
    yield none_differ("outputs that the set lacks", len(set(RELEASE.outputs.values()) - golden.outputs.keys()))
    reference = torch.tensor(told["outputs"]["saliency_scores"]).view(mask.shape)
    yield close("saliency of valid clips", outputs.saliency[mask], reference[mask])
    if not mask.all():
        yield close("saliency of padded clips", outputs.saliency[~mask], reference[~mask])
    yield none_differ("labels: foreground", int((labels.foreground != torch.tensor(told["clip_mask"])).sum()))
    yield close("labels: ratings", labels.ratings, torch.tensor(told["saliency"]))
    found = method.decode(outputs, golden.queries, golden.batch.n_clips, golden.dataset)
    if found.windows is None:
        rows = zip(found.saliency, golden.queries, told["top5_map"], strict=True)
        wrong = sum(
            round(float(top5_average_precision(ours.tolist(), query.label or ()).mean()), 5) != wanted
            for ours, query, wanted in rows
        )
        yield none_differ("top-5 mAP, samples that differ", wrong)
    else:
        yield from _check_predictions(found.windows, found.saliency, told["predictions"], reference.numpy())
    yield from check_steps(method, golden, told["steps_eval_mode"], **STEP)


def _check_predictions(
    windows: Sequence[np.ndarray], saliency: Sequence[np.ndarray], rows: Sequence[Mapping[str, Any]], cosine: np.ndarray
) -> Iterator[Check]:
    """Compare windows after the suppression to the last printed digit, and scores to one float16 step of the cosine.

    The tolerance of the scores is added to the step, because another processor may round the sum differently.
    """
    wanted = [np.array(row["pred_relevant_windows"]) for row in rows]
    yield none_differ(
        "windows, samples with another number", sum(map(lambda a, b: a.shape != b.shape, windows, wanted))
    )
    largest = float(np.max([np.abs(a - b).max() for a, b in zip(windows, wanted, strict=True)]))
    yield Check("windows: ends and scores", largest, 1.01e-4)
    noise = RELATIVE * max(np.abs(row["pred_saliency_scores"]).max() for row in rows)
    steps = [
        np.max(
            np.abs(ours - row["pred_saliency_scores"])
            / (np.spacing(np.abs(each[: len(ours)]).astype(np.float16)) + noise)
        )
        for ours, row, each in zip(saliency, rows, cosine, strict=True)
    ]
    largest = float(np.max(steps))
    yield Check("predictions: saliency, in float16 steps", largest, 1.0 + RELATIVE)


RELEASE = Release(
    title="UniVTG",
    tensors="model",
    names=NAMES,
    unused_tensors=DEAD,
    settings=UniVtgSettings,
    options=OPTIONS,
    inputs_of=inputs_of,
    cuts=False,
    outputs={"pred_logits": "foreground", "pred_spans": "offsets"},
    losses=LOSSES,
    columns={"pred_spans": 2},
    rows_of_set=rows_of_set,
    further=further,
)
