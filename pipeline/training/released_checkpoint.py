"""Released checkpoints into ours: one table of names, and a reader that executes nothing.

A released file is a pickled dict: `model` (tensors under released names), `epoch` (from 0), `opt` (an
argparse.Namespace), optimizer and schedule, which are not taken over. QD-DETR's and Moment-DETR's files share most
names; a table beside this one would open them.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import files
from pipeline.config import Model
from pipeline.encoders.state import is_whole, refuse_bomb
from pipeline.errors import PipelineError
from pipeline.models.tr_detr import TrDetr

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
"""Released option → `config.Model`. `enc_layers` also counts the t2v layers."""


@dataclass(frozen=True)
class Released:
    """What a released checkpoint held.

    weights: by our names, float32. model: the network they fit. input_dim, text_dim: widths of video input (endpoint
    columns and audio included) and words. epoch: from 1, as the log counts. options: plain values only. dropped:
    tensors that no output depends on.
    """

    weights: dict[str, Tensor]
    model: Model
    input_dim: int
    text_dim: int
    epoch: int | None
    options: dict[str, Any]
    dropped: tuple[str, ...]


def import_checkpoint(source: Path | str, target: Path | str) -> Released:
    """Turn a released checkpoint into a safetensors file under our names; its metadata keep epoch and options.

    Raises PipelineError as `read_released` does, and where `target` cannot be written.
    """
    from safetensors.torch import save_file

    released = read_released(source)
    told = {
        "origin": "released",
        "epoch": str(released.epoch),
        "model": released.model.model_dump_json(),
        "options": json.dumps(released.options, sort_keys=True),
    }
    with files.atomic_path(target) as path:
        save_file({name: tensor.contiguous() for name, tensor in released.weights.items()}, path, metadata=told)
    return released


def read_released(path: Path | str) -> Released:
    """Read a released checkpoint without executing anything in it.

    Only tensors, plain values and one class, argparse.Namespace, are let in. Raises PipelineError for a file that
    holds anything else, cannot be read, or is not TR-DETR (naming the first tensor that is missing, unknown, of
    another size, or not finite).
    """
    held = _load(Path(path))
    tensors = held.get("model")
    if not isinstance(tensors, dict) or not all(isinstance(n, str) and _is_weight(t) for n, t in tensors.items()):
        raise _odd("holds no finite floating-point tensors under `model`", path)
    options = _plain_options(held.get("opt"), path)
    settings = _model_settings(options, path)
    try:
        input_dim, text_dim = (len(tensors[f"input_{side}_proj.0.LayerNorm.weight"]) for side in ("vid", "txt"))
    except (KeyError, TypeError) as error:
        raise _odd("lacks the input projections of video and text", path) from error
    with torch.device("meta"):
        expected = TrDetr(settings, input_dim - 2, 0, text_dim, clip_s=2.0).state_dict()
    epoch = held.get("epoch")
    return Released(
        weights=rename(tensors, expected, where=path),
        model=settings,
        input_dim=input_dim,
        text_dim=text_dim,
        epoch=epoch + 1 if isinstance(epoch, int) else None,
        options=options,
        dropped=tuple(name for name in DEAD if name in tensors),
    )


def our_name(released: str, where: object = "checkpoint") -> str | None:
    """Our name of a released tensor; None for the dead ones. Raises PipelineError for a name not in the table."""
    if released in DEAD:
        return None
    for theirs, ours in NAMES.items():
        pattern = re.escape(theirs).replace(r"\*", r"(\d+)")
        if match := re.match(pattern, released):
            return ours.replace("*", match[1] if match.lastindex else "*") + released[match.end() :]
    raise _odd(f"holds a tensor `{released}` that TR-DETR does not have", where)


def rename(
    released: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: object = "checkpoint"
) -> dict[str, Tensor]:
    """Released tensors under our names, in our shapes (kernel-1 convolutions lose their last axis), float32.

    expected: our state, for its names and shapes. Raises PipelineError naming what is missing, unknown or of
    another size.
    """
    renamed = {ours: tensor for name, tensor in released.items() if (ours := our_name(name, where)) is not None}
    if missing := sorted(expected.keys() - renamed.keys()):
        raise _odd(f"lacks {len(missing)} tensors, the first is `{missing[0]}`", where)
    if surplus := sorted(renamed.keys() - expected.keys()):
        raise _odd(f"holds {len(surplus)} tensors too many, the first is `{surplus[0]}`", where)
    for name, tensor in renamed.items():
        if tensor.numel() != expected[name].numel():
            raise _odd(f"`{name}` has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}", where)
    return {name: renamed[name].float().reshape(tensor.shape) for name, tensor in expected.items()}


def _load(path: Path) -> dict[str, Any]:
    try:
        refuse_bomb(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PipelineError(f"cannot be read ({error.strerror})", where=path, remedy="name a checkpoint") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PipelineError(
            f"holds more than tensors and plain values, or is damaged; nothing in it was executed ({reason})",
            where=path,
            remedy="fetch the checkpoint again from its authors and compare the digest",
        ) from error
    if not isinstance(held, dict):
        raise _odd(f"holds a {type(held).__name__}, not a dict with `model`", path)
    return held


def _is_weight(tensor: object) -> bool:
    return (
        isinstance(tensor, Tensor) and is_whole(tensor) and tensor.is_floating_point() and bool(tensor.isfinite().all())
    )


def _plain_options(options: object, path: object) -> dict[str, Any]:
    """The options object as a dict of JSON values; a device becomes its name."""
    if options is None:
        return {}
    found = vars(options) if isinstance(options, argparse.Namespace) else options
    if not isinstance(found, dict):
        raise _odd(f"`opt` is a {type(found).__name__}", path)
    named = {str(key): str(value) if isinstance(value, torch.device) else value for key, value in found.items()}
    try:
        return dict(json.loads(json.dumps(named)))
    except (TypeError, ValueError) as error:
        raise _odd(f"`opt` holds more than plain values ({error})", path) from error


def _model_settings(options: Mapping[str, Any], path: object) -> Model:
    chosen = {ours: options[theirs] for theirs, ours in OPTIONS.items() if theirs in options}
    if "encoder_layers" in chosen:
        chosen["t2v_layers"] = chosen["encoder_layers"]
    try:
        return Model(**chosen)
    except ValueError as error:
        raise _odd(f"`opt` names a network that cannot be ({str(error).splitlines()[0]})", path) from error


def _odd(what: str, where: object) -> PipelineError:
    return PipelineError(what, where=where, remedy="name a checkpoint of the released TR-DETR, all its modules on")
