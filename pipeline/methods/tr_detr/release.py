"""The names in the checkpoints and golden sets of TR-DETR. With them its released files are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pipeline.methods.moment_query_release import DAB_DECODER, HEADS, T2V_LAYERS, encoder_layers, moment_query_release
from pipeline.methods.release import Check, GoldenSet, close, none_differ
from pipeline.methods.tr_detr.cooperation import best_moment
from pipeline.methods.tr_detr.network import AlignedOutputs
from pipeline.methods.tr_detr.settings import TrDetrSettings

NAMES: dict[str, str] = {
    **encoder_layers("transformer.t2v_encoder", "t2v"),
    **encoder_layers("transformer.encoder", "encoder"),
    **DAB_DECODER,
    **HEADS,
    "saliency_proj1.": "score.linear.",
    "fuser.cq_attention.w4C": "refinement.clip_weight",
    "fuser.cq_attention.w4Q": "refinement.word_weight",
    "fuser.cq_attention.w4mlu": "refinement.product_weight",
    "fuser.cq_concat.weighted_pool.weight": "refinement.pool_weight",
    "fuser.cq_attention.cqa_linear.conv1d.": "refinement.mix.",
    "fuser.cq_concat.conv1d.conv1d.": "refinement.fuse.",
    "gru_extractor.gru.": "mr2hd.gru.",
}
"""The table of tensors: released name (its beginning; * is a layer's number) → ours. What follows the beginning is
kept."""


def intermediates(golden: GoldenSet, calls: Mapping[str, list[Any]], outputs: AlignedOutputs) -> Iterator[Check]:
    """Compare the intermediate values of a set that holds them: the states of the layers, and the moment of MR2HD."""
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
        yield close(name.removeprefix("mid_"), ours, golden.arrays[name])
    n_clips = torch.ones_like(golden.batch.video_mask).sum(1)
    start, end = best_moment(outputs.logits, outputs.spans, n_clips, golden.inputs.clip_s)
    top = outputs.logits.softmax(-1)[..., 0].argmax(1)
    for name, choice in (("top", top), ("start", start), ("end", end)):
        differ = int((choice != torch.tensor(golden.expected["mr2hd"][name])).sum())
        yield none_differ(f"MR2HD's {name}, samples that differ", differ)


RELEASE = moment_query_release(
    "TR-DETR",
    TrDetrSettings,
    NAMES,
    options=T2V_LAYERS,
    losses={"loss_global_vtc": "global_alignment", "loss_local_ctc": "local_alignment"},
    weights_apart=("global_alignment", "local_alignment"),
    intermediates=intermediates,
)
