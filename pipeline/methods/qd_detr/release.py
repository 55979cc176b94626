"""The names in the checkpoints and golden sets of QD-DETR. With them its released files are read."""

from __future__ import annotations

from pipeline.methods.moment_query_release import DAB_DECODER, HEADS, T2V_LAYERS, encoder_layers, moment_query_release
from pipeline.methods.qd_detr.settings import QdDetrSettings

NAMES: dict[str, str] = {
    **encoder_layers("transformer.t2v_encoder", "t2v"),
    **encoder_layers("transformer.encoder", "encoder"),
    **DAB_DECODER,
    **HEADS,
    "saliency_proj1.": "score.clip.",
    "saliency_proj2.": "score.judge.",
    "global_rep_token": "global_row",
    "global_rep_pos": "global_place",
}
"""The table of tensors: released name (its beginning; * is a layer's number) → ours. What follows the beginning is
kept."""


RELEASE = moment_query_release(
    "QD-DETR", QdDetrSettings, NAMES, options=T2V_LAYERS, outputs={"saliency_scores_neg": "negative_saliency"}
)
