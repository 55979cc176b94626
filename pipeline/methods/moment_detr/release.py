"""The names in the checkpoints and golden sets of Moment-DETR. With them its released files are read."""

from __future__ import annotations

from pipeline.methods.moment_detr.settings import MomentDetrSettings
from pipeline.methods.moment_query_release import HEADS, encoder_layers, moment_query_release

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
    "saliency_proj.": "score.",
}
"""The table of tensors: released name (its beginning; * is a layer's number) → ours. What follows the beginning is
kept."""


RELEASE = moment_query_release("Moment-DETR", MomentDetrSettings, NAMES)
