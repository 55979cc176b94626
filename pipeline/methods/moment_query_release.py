"""The part that is common to the releases that descend from Moment-DETR: names of tensors, options, outputs and losses.

A table of tensors maps the beginning of a released name (* is a layer's number) to the beginning of our name. The rest
of the name is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

from pipeline.methods.contract import Inputs
from pipeline.methods.release import Release
from pipeline.methods.settings import MOMENT_LOSSES, MethodSettings
from pipeline.models.batch import Outputs
from pipeline.models.losses import layers_of
from pipeline.models.matching import NONE

PROJECTIONS: dict[str, str] = {
    "input_txt_proj.*.LayerNorm.": "text_projection.norms.*.",
    "input_txt_proj.*.net.1.": "text_projection.linears.*.",
    "input_vid_proj.*.LayerNorm.": "video_projection.norms.*.",
    "input_vid_proj.*.net.1.": "video_projection.linears.*.",
}

HEADS: dict[str, str] = {
    "class_embed.": "moments.label.",
    "span_embed.": "moments.span.",
}

DAB_LAYERS: dict[str, str] = {
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
    "transformer.decoder.layers.*.norm": "decoder.layers.*.norm",
    "transformer.decoder.layers.0.ca_qpos_proj.": "decoder.content_place.",
    "transformer.decoder.norm.": "decoder.norm.",
    "transformer.decoder.query_scale.": "decoder.scale.",
    "transformer.decoder.ref_point_head.": "decoder.place.",
    "transformer.decoder.ref_anchor_head.": "decoder.width.",
}

DAB_DECODER: dict[str, str] = {
    **DAB_LAYERS,
    "transformer.decoder.layers.*.activation.": "decoder.layers.*.feedforward.activation.",
    "transformer.decoder.bbox_embed.": "decoder.move.",
    "query_embed.weight": "decoder.anchors",
}


def encoder_layers(released: str, ours: str, *, activation: bool = True) -> dict[str, str]:
    """Return the table of one stack of encoder layers. activation: whether the activation has a learned slope."""
    layer, own = f"{released}.layers.*", f"{ours}.layers.*"
    learned = {f"{layer}.activation.": f"{own}.feedforward.activation."} if activation else {}
    return learned | {
        f"{layer}.self_attn.in_proj_": f"{own}.attention.in_",
        f"{layer}.self_attn.out_proj.": f"{own}.attention.out.",
        f"{layer}.linear1.": f"{own}.feedforward.inner.",
        f"{layer}.linear2.": f"{own}.feedforward.outer.",
        f"{layer}.norm": f"{own}.norm",
    }


DEAD = (
    "txt_position_embed.position_embeddings.weight",
    "txt_position_embed.LayerNorm.weight",
    "txt_position_embed.LayerNorm.bias",
)
"""The released tensors that no output depends on: 8,704 numbers at a width of 256. Our networks do not have them, so
these names are left out."""

OPTIONS = {
    "hidden_dim": "hidden_dim",
    "heads": "nheads",
    "queries": "num_queries",
    "encoder_layers": "enc_layers",
    "decoder_layers": "dec_layers",
    "feedforward_dim": "dim_feedforward",
    "dropout": "dropout",
    "input_dropout": "input_dropout",
}
"""The table of options: our setting → the released option with its value."""

MUST_BE_OFF = ("use_txt_pos",)
"""The released switches that our networks lack. This one adds the text's own content as its position."""

T2V_LAYERS = {"t2v_layers": "enc_layers"}
"""An addition to the table, for systems whose option counts the layers before the encoder together with those of the
encoder."""

LOSSES = {
    **{f"loss_{name}": name for name in MOMENT_LOSSES},
    **{f"loss_{name}_{layer}": f"aux_{name}" for layer in (0, 1) for name in MOMENT_LOSSES},
    "loss_saliency": "saliency",
    "total": "total",
}
"""The table of losses: released name → ours. The losses of the earlier decoder layers have numbers in their names, and
are added to one."""

OUTPUTS = {
    "pred_logits": "logits",
    "pred_spans": "spans",
    "saliency_scores": "saliency",
    "aux0_pred_logits": "aux_logits",
    "aux0_pred_spans": "aux_spans",
}
"""The table of outputs: released name → the field of our outputs. Predictions of earlier layers get the axis of layers.
"""


def inputs_of(tensors: Mapping[str, Tensor]) -> Inputs:
    """Return the widths of the features that fit released weights; video and audio count as one. Raises KeyError if no
    tensor shows them."""
    video, text = (len(tensors[f"input_{side}_proj.0.LayerNorm.weight"]) for side in ("vid", "txt"))
    return Inputs(video - 2, 0, text, clip_s=2.0, moments=True)


def logged(outputs: Outputs, matches: tuple[Tensor, ...]) -> dict[str, float]:
    """Return the figure of the released log that is no loss: the percentage of matched moment queries that are
    classified as background."""
    if not matches:
        return {}
    logits, _ = layers_of(outputs)
    each = [logits[layer][matches[0][layer] != NONE] for layer in range(len(logits))]
    errors = [100 * float((matched[:, 0] < matched[:, 1]).float().mean()) for matched in each]
    return {f"class_error{suffix}": error for suffix, error in zip(("", "_0", "_1"), errors, strict=False)}


def moment_query_release(
    title: str,
    settings: type[MethodSettings],
    names: Mapping[str, str],
    *,
    unused_tensors: tuple[str, ...] = (),
    options: Mapping[str, str] = MappingProxyType({}),
    outputs: Mapping[str, str] = MappingProxyType({}),
    losses: Mapping[str, str] = MappingProxyType({}),
    **own: Any,
) -> Release:
    """Return the `Release` of a method with moment queries. The arguments are added to the tables that all these
    methods share.

    own: further fields of `Release` that only this method needs.
    """
    return Release(
        title=title,
        tensors="model",
        names={**names, **PROJECTIONS},
        unused_tensors=DEAD + unused_tensors,
        settings=settings,
        options=OPTIONS | dict(options),
        must_be_off=MUST_BE_OFF,
        options_scale=True,
        inputs_of=inputs_of,
        outputs=OUTPUTS | dict(outputs),
        losses=LOSSES | dict(losses),
        logged=logged,
        **own,
    )
