"""The names in the checkpoints and golden sets of UMT. With them its released files are read."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pipeline.methods.contract import Inputs
from pipeline.methods.release import Release
from pipeline.methods.settings import MethodSettings
from pipeline.methods.umt.golden import further, rows_of_set
from pipeline.methods.umt.settings import UmtSettings


def _attention(theirs: str, ours: str) -> dict[str, str]:
    parts = {"q": "query", "k": "key", "v": "value", "m": "out"}
    return {f"{theirs}.{name}.": f"{ours}.{part}." for name, part in parts.items()}


def _feed_forward(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.mapping.0.": f"{ours}.0.inner.", f"{theirs}.mapping.3.": f"{ours}.0.outer."}


def _modality(theirs: str, ours: str) -> dict[str, str]:
    return {
        f"{theirs}.mapping.linear.": f"{ours}.linear.",
        f"{theirs}.pos_enc.pe": f"{ours}.positions.table",
        **_attention(f"{theirs}.encoder.att", f"{ours}.layer.attention"),
        **_feed_forward(f"{theirs}.encoder.ffn", f"{ours}.layer.feedforward"),
        f"{theirs}.encoder.norm": f"{ours}.layer.norm",
    }


CROSSING = "cross_enc.encoder.encoder.0"
LAYER = "query_dec.decoder.*"

NAMES: dict[str, str] = {
    **_modality("video_enc", "video"),
    **_modality("audio_enc", "audio"),
    "cross_enc.pos_enc.pe": "crossing_positions.table",
    "cross_enc.encoder.token": "tokens",
    **{k: v for n in range(1, 5) for k, v in _attention(f"{CROSSING}.att{n}", f"crossing.attention{n}").items()},
    **{k: v for n in range(1, 3) for k, v in _feed_forward(f"{CROSSING}.ffn{n}", f"crossing.feedforward{n}").items()},
    f"{CROSSING}.norm": "crossing.norm",
    "cross_enc.norm.": "fused_norm.",
    "query_gen.mapping.linear.": "text_linear.",
    "query_gen.mapping.norm.": "text_norm.",
    **_attention("query_gen.encoder", "asking"),
    "query_dec.q_pos_enc.pe": "query_positions.table",
    "query_dec.k_pos_enc.pe": "key_positions.table",
    **{k: v for n in range(1, 3) for k, v in _attention(f"{LAYER}.att{n}", f"decoder.*.attention{n}").items()},
    **_feed_forward(f"{LAYER}.ffn", "decoder.*.feedforward"),
    f"{LAYER}.norm": "decoder.*.norm",
    "query_dec.norm.": "decoder_norm.",
    "pred_head.*.saliency_pred.linear.": "heads.saliency.",
    "pred_head.*.center_pred.linear.": "heads.centre.",
    "pred_head.*.window_pred.linear.": "heads.window.",
    "pred_head.*.offset_pred.linear.": "heads.offset.",
}
"""The table of tensors: released name (its beginning; * is a layer's or a head's number) → ours. What follows the
beginning is kept."""

LOSSES = {
    "saliency_loss": "saliency",
    "center_loss": "centre",
    "window_loss": "window",
    "offset_loss": "offset",
    "total": "total",
}
"""The table of losses: released name → ours."""

OUTPUTS = {"saliency_logits": "saliency", "center_logits": "centre", "window": "window", "offset": "offset"}
"""The table of outputs: name of a prediction in golden sets → the field of our outputs."""


def fitted(settings: MethodSettings, tensors: Mapping[str, Tensor]) -> UmtSettings:
    """Return the settings with the sizes that released weights have: Charades-STA and QVHighlights differ from TVSum.

    Raises KeyError or IndexError if the tensors are not those of UMT, and ValueError if no such network can exist.
    """
    layers = {name.split(".")[2] for name in tensors if name.startswith("query_dec.decoder.")}
    sizes = {
        "hidden_dim": tensors["query_gen.mapping.linear.weight"].shape[0],
        "positions": tensors["query_dec.q_pos_enc.pe"].shape[-2],
        "feedforward_dim": tensors["query_dec.decoder.0.ffn.mapping.0.weight"].shape[0],
        "decoder_layers": len(layers),
    }
    if "cross_enc.encoder.token" in tensors:
        sizes["bottleneck_tokens"] = tensors["cross_enc.encoder.token"].shape[0]
    return UmtSettings.model_validate(settings.model_dump() | sizes)


def inputs_of(tensors: Mapping[str, Tensor]) -> Inputs:
    """Return the widths of the features and the heads that fit released weights. Raises KeyError if no tensor shows
    them."""
    video, text = (tensors[f"{part}.mapping.linear.weight"].shape[1] for part in ("video_enc", "query_gen"))
    sound = tensors.get("audio_enc.mapping.linear.weight")
    moments, highlights = (any(f".{head}_pred." in name for name in tensors) for head in ("center", "saliency"))
    return Inputs(video, 0 if sound is None else sound.shape[1], text, 2.0, moments, highlights)


RELEASE = Release(
    title="UMT",
    tensors="state_dict",
    names=NAMES,
    unused_tensors=(),
    settings=UmtSettings,
    inputs_of=inputs_of,
    outputs=OUTPUTS,
    losses=LOSSES,
    fitted=fitted,
    cuts=False,
    rounding=1e-5,
    columns={},
    rows_of_set=rows_of_set,
    further=further,
)
