"""The names in the checkpoints and golden sets of CG-DETR. With them its released files are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pipeline.methods.cg_detr import criterion
from pipeline.methods.cg_detr.labels import SourceLabels
from pipeline.methods.cg_detr.network import CorrelatedOutputs
from pipeline.methods.cg_detr.settings import CgDetrSettings
from pipeline.methods.contract import Method
from pipeline.methods.moment_query_release import DAB_DECODER, HEADS, encoder_layers, moment_query_release
from pipeline.methods.release import Calls, Check, GoldenSet, close, none_differ
from pipeline.models.batch import Labels
from pipeline.models.losses import needed

NAMES: dict[str, str] = {
    **encoder_layers("transformer.mcls_encoder", "moment_encoder"),
    "transformer.t2v_encoder.layers.*.self_attn.out_proj.": "t2v.layers.*.out.",
    "transformer.t2v_encoder.layers.*.linear1.": "t2v.layers.*.feedforward.inner.",
    "transformer.t2v_encoder.layers.*.linear2.": "t2v.layers.*.feedforward.outer.",
    "transformer.t2v_encoder.layers.*.activation.": "t2v.layers.*.feedforward.activation.",
    "transformer.t2v_encoder.layers.*.norm": "t2v.layers.*.norm",
    **encoder_layers("transformer.encoder", "encoder"),
    **DAB_DECODER,
    **HEADS,
    **encoder_layers("txtproj_encoder", "dummy_encoder"),
    **encoder_layers("scls_encoder", "sentence_encoder"),
    "saliency_proj1.": "score.clip.",
    "saliency_proj2.": "score.judge.",
    "token_type_embeddings.weight": "types",
    "global_rep_token": "prompts",
    "global_rep_pos": "token_place",
    "moment_rep_token": "moment_row",
    "moment_rep_pos": "moment_place",
    "dummy_rep_token": "dummy_rows",
    "dummy_rep_pos": "dummy_places",
    "sent_rep_token": "sentence_row",
    "sent_rep_pos": "sentence_place",
}
"""The table of tensors: released name (its beginning; * is a layer's number) → ours. What follows the beginning is
kept."""

UNUSED_TEXT_LAYER = tuple(
    f"txt_proj_linear.{part}.{kind}" for part in ("LayerNorm", "net.1") for kind in ("weight", "bias")
)
"""The tensors of a text layer that no output depends on: 132,352 further numbers."""

OWN_LOSSES = {
    "loss_ms_align": "alignment",
    "loss_distill": "distillation",
    "loss_orthogonal_dummy": "orthogonality",
}

OWN_OPTIONS = {
    "dummies": "num_dummies",
    "prompts": "total_prompts",
    "prompts_picked": "num_prompts",
    "dummy_layers": "dummy_layers",
    "t2v_layers": "t2v_layers",
}


def labels_of_set(labels: Labels, told: Mapping[str, Any]) -> SourceLabels:
    """Return the labels of a golden set, which names the videos."""
    return SourceLabels.of(labels, told["vids"])


def correlation(golden: GoldenSet, method: Method, calls: Calls, outputs: CorrelatedOutputs) -> Iterator[Check]:  # noqa: ARG001
    """Compare which samples have a wrong query, the outputs with it, and which prompts are chosen."""
    told, labels = golden.expected, golden.batch.labels
    among = labels.other_source > 0
    yield none_differ(
        "samples that have a wrong query", int((among.long() != torch.tensor(told["real_negatives"])).sum())
    )
    for name, ours in (
        ("saliency_scores_neg", needed(outputs.negative_saliency)[among]),
        ("t2vattnvalues_neg", needed(outputs.negative_share)[among]),
        ("t2vattnvalues", outputs.share),
    ):
        yield close(name, ours, torch.tensor(told["outputs"][name]).reshape(ours.shape))
    for name, picked in (("prompts", outputs.picked), ("prompts_neg", needed(outputs.negative_picked)[among])):
        found = [set(row.nonzero().flatten().tolist()) for row in picked]
        yield none_differ(
            f"{name}, samples that differ", sum(a != set(b) for a, b in zip(found, told[name], strict=True))
        )
    margin = method.settings.saliency_margin
    alone = criterion.saliency_loss(outputs, labels, golden.batch.video_mask, margin, 0.0)
    wanted = torch.tensor(told["extra"]["loss_saliency_without_attention_part"])
    yield close("saliency loss without the attention's part", alone, wanted)


RELEASE = moment_query_release(
    "CG-DETR",
    CgDetrSettings,
    NAMES,
    unused_tensors=UNUSED_TEXT_LAYER,
    options=OWN_OPTIONS,
    losses=OWN_LOSSES,
    further=correlation,
    labels_of_set=labels_of_set,
    unscaled="_rep_",
)
