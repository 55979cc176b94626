"""What the authors of QD-DETR put out, and how it is read: the names in their checkpoints and golden sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.methods.moment_query_release import (
    DAB_DECODER,
    DEAD,
    HEADS,
    LOSSES,
    OUTPUTS,
    PROJECTIONS,
    encoder_layers,
    inputs_of,
    logged,
    options_of,
    weights_of,
)
from pipeline.methods.qd_detr.settings import QdDetrSettings
from pipeline.methods.release import Release
from pipeline.methods.settings import MomentLossWeights

NAMES: dict[str, str] = {
    **encoder_layers("transformer.t2v_encoder", "t2v"),
    **encoder_layers("transformer.encoder", "encoder"),
    **DAB_DECODER,
    **HEADS,
    **PROJECTIONS,
    "saliency_proj1.": "score.clip.",
    "saliency_proj2.": "score.judge.",
    "global_rep_token": "global_row",
    "global_rep_pos": "global_place",
}
"""Released name (its beginning; * is a layer's number) → ours. What follows the beginning is kept."""


def settings_of(options: Mapping[str, Any]) -> QdDetrSettings:
    """The settings that released options name. Raises ValueError where they name a network that cannot be."""
    return QdDetrSettings(**options_of(options, t2v=True))


def settings_of_set(weights: Mapping[str, float], *_: float) -> QdDetrSettings:
    """The settings that a golden set was made with: its loss weights, by released names."""
    return QdDetrSettings(loss_weights=MomentLossWeights(**weights_of(weights)))


RELEASE = Release(
    title="QD-DETR",
    tensors="model",
    names=NAMES,
    dead=DEAD,
    settings_of=settings_of,
    inputs_of=inputs_of,
    outputs=OUTPUTS | {"saliency_scores_neg": "negative_saliency"},
    losses=LOSSES,
    settings_of_set=settings_of_set,
    logged=logged,
)
