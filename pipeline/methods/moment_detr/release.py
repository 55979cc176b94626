"""What the authors of Moment-DETR put out, and how it is read: the names in their checkpoints and golden sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.methods.moment_detr.settings import MomentDetrSettings
from pipeline.methods.moment_query_release import (
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
from pipeline.methods.release import Release
from pipeline.methods.settings import MomentLossWeights

NAMES: dict[str, str] = {
    **encoder_layers("transformer.encoder", "encoder", activation=False),
    "transformer.decoder.layers.*.self_attn.in_proj_": "decoder.layers.*.self_attention.in_",
    "transformer.decoder.layers.*.self_attn.out_proj.": "decoder.layers.*.self_attention.out.",
    "transformer.decoder.layers.*.multihead_attn.in_proj_": "decoder.layers.*.cross_attention.in_",
    "transformer.decoder.layers.*.multihead_attn.out_proj.": "decoder.layers.*.cross_attention.out.",
    "transformer.decoder.layers.*.linear1.": "decoder.layers.*.feedforward.inner.",
    "transformer.decoder.layers.*.linear2.": "decoder.layers.*.feedforward.outer.",
    "transformer.decoder.layers.*.norm": "decoder.layers.*.norm",
    "transformer.decoder.norm.": "decoder.norm.",
    "query_embed.weight": "decoder.places",
    **HEADS,
    **PROJECTIONS,
    "saliency_proj.": "score.",
}
"""Released name (its beginning; * is a layer's number) → ours. What follows the beginning is kept."""


def settings_of(options: Mapping[str, Any]) -> MomentDetrSettings:
    """The settings that released options name. Raises ValueError where they name a network that cannot be."""
    return MomentDetrSettings(**options_of(options, t2v=False))


def settings_of_set(weights: Mapping[str, float], *_: float) -> MomentDetrSettings:
    """The settings that a golden set was made with: its loss weights, by released names."""
    return MomentDetrSettings(loss_weights=MomentLossWeights(**weights_of(weights)))


RELEASE = Release(
    title="Moment-DETR",
    tensors="model",
    names=NAMES,
    dead=DEAD,
    settings_of=settings_of,
    inputs_of=inputs_of,
    outputs=OUTPUTS,
    losses=LOSSES,
    settings_of_set=settings_of_set,
    logged=logged,
)
