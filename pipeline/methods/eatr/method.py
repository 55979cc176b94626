"""EaTR as a method: moments are matched as in other methods, and the events of the slots are matched with those of the
video."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.methods.contract import Inputs
from pipeline.methods.eatr.network import Eatr, EventOutputs
from pipeline.methods.eatr.settings import EatrSettings
from pipeline.methods.moment_queries import PairedClipsMethod
from pipeline.models.batch import Batch
from pipeline.models.losses import span_losses
from pipeline.models.matching import solve, span_costs


class EatrMethod(PairedClipsMethod):
    """EaTR, which learns clip scores only from the drawn pairs of clips. It learns events only if the dataset has
    moments."""

    settings: EatrSettings

    def __init__(self, settings: EatrSettings, inputs: Inputs) -> None:
        super().__init__(settings, inputs)
        self.network = Eatr(settings, inputs.video_columns, inputs.text_dim)

    def costs(self, outputs: EventOutputs, batch: Batch) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Return the costs of two matchings: that of moments, over all decoder layers, and that of events.

        A target that is no event has an infinite cost.
        """
        moments = super().costs(outputs, batch)
        if not moments:
            return ()
        weights, (events, is_event) = self.settings.loss_weights, outputs.wanted_events()
        costs = span_costs(outputs.event_spans, events, weights.event_span, weights.event_giou)
        return (*moments, costs.masked_fill(is_event[:, None] == 0, torch.inf))

    def match(self, costs: tuple[Tensor, ...], labels: Any) -> tuple[Tensor, ...]:
        """Solve both matchings. Moments are matched as in other methods. The events of a sample come first in its row,
        and only they are matched."""
        if not costs:
            return ()
        *moments, events = costs
        n_events = (~events.isposinf().all(1)).sum(1).tolist()
        return (*super().match(tuple(moments), labels), solve(events, n_events))

    def terms(self, outputs: EventOutputs, batch: Batch, matches: tuple[Tensor, ...]) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the losses, unweighted. With moments they include event_span and event_giou."""
        losses = super().terms(outputs, batch, matches)
        if matches:
            weights, (events, _) = self.settings.loss_weights, outputs.wanted_events()
            found, matched = outputs.event_spans[None], matches[1][None]
            each = span_losses(found, events, matched, weights.event_span, weights.event_giou)
            losses |= {f"event_{name}": loss.sum() for name, loss in each.items()}
        return losses
