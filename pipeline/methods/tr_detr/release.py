"""What the authors of TR-DETR put out, and how it is read: the names in their checkpoints and golden sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.methods.contract import Inputs
from pipeline.methods.release import Check, GoldenSet, Release, close, counted
from pipeline.methods.tr_detr.cooperation import best_moment
from pipeline.methods.tr_detr.network import AlignedOutputs
from pipeline.methods.tr_detr.settings import LossWeights, TrDetrSettings
from pipeline.models.losses import layers_of
from pipeline.models.matching import NONE

NAMES: dict[str, str] = {
    "transformer.t2v_encoder.layers.*.self_attn.in_proj_": "t2v.layers.*.attention.in_",
    "transformer.t2v_encoder.layers.*.self_attn.out_proj.": "t2v.layers.*.attention.out.",
    "transformer.t2v_encoder.layers.*.linear1.": "t2v.layers.*.feedforward.inner.",
    "transformer.t2v_encoder.layers.*.linear2.": "t2v.layers.*.feedforward.outer.",
    "transformer.t2v_encoder.layers.*.activation.": "t2v.layers.*.feedforward.activation.",
    "transformer.t2v_encoder.layers.*.norm": "t2v.layers.*.norm",
    "transformer.encoder.layers.*.self_attn.in_proj_": "encoder.layers.*.attention.in_",
    "transformer.encoder.layers.*.self_attn.out_proj.": "encoder.layers.*.attention.out.",
    "transformer.encoder.layers.*.linear1.": "encoder.layers.*.feedforward.inner.",
    "transformer.encoder.layers.*.linear2.": "encoder.layers.*.feedforward.outer.",
    "transformer.encoder.layers.*.activation.": "encoder.layers.*.feedforward.activation.",
    "transformer.encoder.layers.*.norm": "encoder.layers.*.norm",
    "transformer.decoder.layers.*.sa_qcontent_proj.": "decoder.layers.*.self_query.",
    "transformer.decoder.layers.*.sa_qpos_proj.": "decoder.layers.*.self_query_place.",
    "transformer.decoder.layers.*.sa_kcontent_proj.": "decoder.layers.*.self_key.",
    "transformer.decoder.layers.*.sa_kpos_proj.": "decoder.layers.*.self_key_place.",
    "transformer.decoder.layers.*.sa_v_proj.": "decoder.layers.*.self_value.",
    "transformer.decoder.layers.*.self_attn.out_proj.": "decoder.layers.*.self_out.",
    "transformer.decoder.layers.*.ca_qcontent_proj.": "decoder.layers.*.cross_query.",
    "transformer.decoder.layers.*.ca_qpos_sine_proj.": "decoder.layers.*.cross_query_place.",
    "transformer.decoder.layers.*.ca_kcontent_proj.": "decoder.layers.*.cross_key.",
    "transformer.decoder.layers.*.ca_kpos_proj.": "decoder.layers.*.cross_key_place.",
    "transformer.decoder.layers.*.ca_v_proj.": "decoder.layers.*.cross_value.",
    "transformer.decoder.layers.*.cross_attn.out_proj.": "decoder.layers.*.cross_out.",
    "transformer.decoder.layers.*.linear1.": "decoder.layers.*.feedforward.inner.",
    "transformer.decoder.layers.*.linear2.": "decoder.layers.*.feedforward.outer.",
    "transformer.decoder.layers.*.activation.": "decoder.layers.*.feedforward.activation.",
    "transformer.decoder.layers.*.norm": "decoder.layers.*.norm",
    "transformer.decoder.layers.0.ca_qpos_proj.": "decoder.content_place.",
    "transformer.decoder.norm.": "decoder.norm.",
    "transformer.decoder.query_scale.": "decoder.scale.",
    "transformer.decoder.ref_point_head.": "decoder.place.",
    "transformer.decoder.ref_anchor_head.": "decoder.width.",
    "transformer.decoder.bbox_embed.": "decoder.move.",
    "query_embed.weight": "decoder.anchors",
    "class_embed.": "moments.label.",
    "span_embed.": "moments.span.",
    "input_txt_proj.*.LayerNorm.": "text_projection.norms.*.",
    "input_txt_proj.*.net.1.": "text_projection.linears.*.",
    "input_vid_proj.*.LayerNorm.": "video_projection.norms.*.",
    "input_vid_proj.*.net.1.": "video_projection.linears.*.",
    "saliency_proj1.": "score.linear.",
    "fuser.cq_attention.w4C": "refinement.clip_weight",
    "fuser.cq_attention.w4Q": "refinement.word_weight",
    "fuser.cq_attention.w4mlu": "refinement.product_weight",
    "fuser.cq_concat.weighted_pool.weight": "refinement.pool_weight",
    "fuser.cq_attention.cqa_linear.conv1d.": "refinement.mix.",
    "fuser.cq_concat.conv1d.conv1d.": "refinement.fuse.",
    "gru_extractor.gru.": "mr2hd.gru.",
}
"""Released name (its beginning; * is a layer's number) → ours. What follows the beginning is kept."""

DEAD = (
    "txt_position_embed.position_embeddings.weight",
    "txt_position_embed.LayerNorm.weight",
    "txt_position_embed.LayerNorm.bias",
)
"""Released tensors that no output depends on (8,704 numbers). Ours has none: they are dropped by name."""


OPTIONS = {
    "hidden_dim": "hidden_dim",
    "nheads": "heads",
    "num_queries": "queries",
    "enc_layers": "encoder_layers",
    "dec_layers": "decoder_layers",
    "dim_feedforward": "feedforward_dim",
    "dropout": "dropout",
    "input_dropout": "input_dropout",
}
"""Released option → our setting. `enc_layers` also counts the t2v layers."""

LOSSES = {
    "loss_span": "span",
    "loss_giou": "giou",
    "loss_label": "label",
    "loss_span_0": "aux_span",
    "loss_giou_0": "aux_giou",
    "loss_label_0": "aux_label",
    "loss_saliency": "saliency",
    "loss_global_vtc": "global_alignment",
    "loss_local_ctc": "local_alignment",
    "total": "total",
}
"""Released name of a loss → ours."""

OUTPUTS = {
    "pred_logits": "logits",
    "pred_spans": "spans",
    "saliency_scores": "saliency",
    "aux0_pred_logits": "aux_logits",
    "aux0_pred_spans": "aux_spans",
}
"""Released name of a prediction → the field of our outputs. The earlier layer's get the axis of layers."""


def settings_of(options: Mapping[str, Any]) -> TrDetrSettings:
    """The settings that released options name. Raises ValueError where they name a network that cannot be."""
    chosen = {ours: options[theirs] for theirs, ours in OPTIONS.items() if theirs in options}
    if "encoder_layers" in chosen:
        chosen["t2v_layers"] = chosen["encoder_layers"]
    return TrDetrSettings(**chosen)


def inputs_of(tensors: Mapping[str, Tensor]) -> Inputs:
    """The widths that released weights fit; video and audio count as one. Raises KeyError where they say none."""
    video, text = (len(tensors[f"input_{side}_proj.0.LayerNorm.weight"]) for side in ("vid", "txt"))
    return Inputs(video - 2, 0, text, clip_s=2.0, moments=True)


def settings_of_set(weights: Mapping[str, float], global_weight: float, local_weight: float) -> TrDetrSettings:
    """The settings that a golden set was made with: its loss weights, by released names."""
    named = {LOSSES[name]: value for name, value in weights.items() if not name.endswith("_0")}
    return TrDetrSettings(
        loss_weights=LossWeights(**named, global_alignment=global_weight, local_alignment=local_weight)
    )


def logged(outputs: AlignedOutputs, matches: tuple[Tensor, ...]) -> dict[str, float]:
    """Figures of the released log that are no losses: per cent of the matched queries that look like background."""
    if not matches:
        return {}
    logits, _ = layers_of(outputs)
    each = [logits[layer][matches[0][layer] != NONE] for layer in range(len(logits))]
    errors = [100 * float((matched[:, 0] < matched[:, 1]).float().mean()) for matched in each]
    return {f"class_error{suffix}": error for suffix, error in zip(("", "_0"), errors, strict=False)}


def intermediates(golden: GoldenSet, calls: Mapping[str, list[Any]], outputs: AlignedOutputs) -> Iterator[Check]:
    """What comes in between, of a set that holds it: states of the layers, and MR2HD's moment."""
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
        yield counted(f"MR2HD's {name}, samples that differ", differ)


RELEASE = Release(
    title="TR-DETR",
    tensors="model",
    names=NAMES,
    dead=DEAD,
    settings_of=settings_of,
    inputs_of=inputs_of,
    outputs=OUTPUTS,
    losses=LOSSES,
    settings_of_set=settings_of_set,
    logged=logged,
    intermediates=intermediates,
)
