"""Weights under released names, turned into ours: one table of names.

QD-DETR's and Moment-DETR's files share most of these names; a table beside this one would open them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from pipeline.errors import PipelineError

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


def our_name(released: str) -> str | None:
    """Our name of a released tensor; None for the dead ones. Raises PipelineError for a name not in the table."""
    if released in DEAD:
        return None
    for theirs, ours in NAMES.items():
        pattern = re.escape(theirs).replace(r"\*", r"(\d+)")
        if match := re.match(pattern, released):
            return ours.replace("*", match[1] if match.lastindex else "*") + released[match.end() :]
    raise PipelineError(
        f"holds a tensor `{released}` that TR-DETR does not have",
        where="checkpoint",
        remedy="name a checkpoint of the released TR-DETR",
    )


def rename(released: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released tensors under our names, in our shapes (kernel-1 convolutions lose their last axis), float32.

    expected: our state, for its names and shapes. Raises PipelineError naming what is missing, unknown or of
    another size.
    """
    renamed = {ours: tensor for name, tensor in released.items() if (ours := our_name(name)) is not None}
    if missing := sorted(expected.keys() - renamed.keys()):
        raise _odd(f"lacks {len(missing)} tensors, the first is `{missing[0]}`")
    if surplus := sorted(renamed.keys() - expected.keys()):
        raise _odd(f"holds {len(surplus)} tensors that are switched off here, the first is `{surplus[0]}`")
    for name, tensor in renamed.items():
        if tensor.numel() != expected[name].numel():
            raise _odd(f"`{name}` has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}")
    return {name: renamed[name].float().reshape(tensor.shape) for name, tensor in expected.items()}


def _odd(what: str) -> PipelineError:
    return PipelineError(
        what, where="checkpoint", remedy="name a checkpoint made with the same features and modules as `model:` says"
    )
