"""The names in the checkpoints and golden sets of EaTR. With them its released files are read."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pipeline.methods.contract import Method
from pipeline.methods.eatr.network import EventOutputs
from pipeline.methods.eatr.settings import EatrSettings
from pipeline.methods.moment_query_release import DAB_LAYERS, encoder_layers, moment_query_release
from pipeline.methods.release import Calls, Check, GoldenSet, close, incomparable, none_differ
from pipeline.models.matching import NONE

NAMES: dict[str, str] = {
    **encoder_layers("transformer.encoder", "encoder", activation=False),
    **DAB_LAYERS,
    "transformer.decoder.layers.0.gate_cross_attn.in_proj_": "decoder.fusion.words.in_",
    "transformer.decoder.layers.0.gate_cross_attn.out_proj.": "decoder.fusion.words.out.",
    "transformer.decoder.layers.0.gate_self_attn.in_proj_": "decoder.fusion.queries.in_",
    "transformer.decoder.layers.0.gate_self_attn.out_proj.": "decoder.fusion.queries.out.",
    "transformer.decoder.layers.0.gate_norm.": "decoder.fusion.norm.",
    "transformer.decoder.layers.0.gate_linear.": "decoder.fusion.linear.",
    "transformer.decoder.slot_atten.slots": "slots.table",
    "transformer.decoder.slot_atten.norm_inputs.": "slots.norm_clips.",
    "transformer.decoder.slot_atten.norm_slots.": "slots.norm_slots.",
    "transformer.decoder.slot_atten.norm_mlp.": "slots.norm_inner.",
    "transformer.decoder.slot_atten.norm_out.": "slots.norm_out.",
    "transformer.decoder.slot_atten.project_q.": "slots.query.",
    "transformer.decoder.slot_atten.project_k.": "slots.key.",
    "transformer.decoder.slot_atten.project_v.": "slots.value.",
    "transformer.decoder.slot_atten.mlp.": "slots.mlp.",
    "transformer.decoder.event_norm.": "event_norm.",
    "transformer.decoder.event_span_embed.": "event_span.",
    "transformer.decoder.moment_span_embed.": "moments.span.",
    "event_span_embed.": "event_span.",
    "moment_span_embed.": "moments.span.",
    "class_embed.": "moments.label.",
    "saliency_proj.": "score.",
}
"""The table of tensors: released name (its beginning; * is a layer's number) → ours. A checkpoint contains the span
heads twice."""


def events(golden: GoldenSet, method: Method, calls: Calls, outputs: EventOutputs) -> Iterator[Check]:  # noqa: ARG001
    """Compare the events of the video, and the matching of slots and events."""
    all_spans, is_event = outputs.wanted_events()
    n_found, wanted = is_event.sum(1).long().tolist(), golden.expected["pseudo_events"]
    if n_found != [len(each) for each in wanted]:
        yield incomparable("pseudo events: another number of them")
        return
    found = [spans[:n] for spans, n in zip(all_spans, n_found, strict=True)]
    yield close("pseudo events", torch.cat(found), torch.tensor([span for each in wanted for span in each]))
    matched = method.match(method.costs(outputs, golden.batch), golden.batch.labels)[1]
    pairs = [[(row != NONE).nonzero().flatten().tolist(), row[row != NONE].tolist()] for row in matched]
    differ = sum(ours != theirs for ours, theirs in zip(pairs, golden.expected["event_matcher"], strict=True))
    yield none_differ("matching of events, samples that differ", differ)


RELEASE = moment_query_release(
    "EaTR",
    EatrSettings,
    NAMES,
    outputs={"pred_event_spans": "event_spans"},
    columns={"pred_logits": 2, "pred_spans": 2, "pred_event_spans": 2},
    losses={"loss_event_span": "event_span", "loss_event_giou": "event_giou"},
    further=events,
)
