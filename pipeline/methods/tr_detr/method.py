"""TR-DETR as a method: which parts a step and a prediction are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pipeline.config import Training
from pipeline.methods.contract import Found, Inputs, Method
from pipeline.methods.tr_detr.criterion import losses_of
from pipeline.methods.tr_detr.network import AlignedOutputs, TrDetr
from pipeline.methods.tr_detr.settings import TrDetrSettings
from pipeline.models.batch import Batch
from pipeline.models.labels import Targets
from pipeline.models.losses import labels_of, layers_of
from pipeline.models.matching import costs
from pipeline.models.windows import scored_windows
from pipeline.records import Query


class TrDetrMethod(Method):
    """TR-DETR. Moments are matched only where the dataset has them; without, the decoder is never trained."""

    settings: TrDetrSettings

    def __init__(self, settings: TrDetrSettings, inputs: Inputs) -> None:
        super().__init__(settings, inputs)
        self.network = TrDetr(settings, inputs.video_dim, inputs.audio_dim, inputs.text_dim, inputs.clip_s)

    def targets(self, queries: Sequence[Query], n_clips: Sequence[int], training: Training) -> Targets:
        """Spans, clip scores, the relevance mask and pairs of clips, by the rules of the formulation."""
        formulation, n_windows = self.settings.formulation, training.max_windows
        return Targets(queries, n_clips, self.inputs.clip_s, max_windows=n_windows, formulation=formulation)

    def costs(self, outputs: AlignedOutputs, batch: Batch) -> tuple[Tensor, ...]:
        """One matching, of all decoder layers at once; none without moments."""
        if not self.inputs.moments:
            return ()
        return (costs(*layers_of(outputs), labels_of(batch).spans, self.settings.loss_weights),)

    def losses(self, outputs: AlignedOutputs, batch: Batch, matches: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """See `criterion.losses_of`."""
        return losses_of(outputs, batch, matches[0] if matches else None, self.settings)

    def found(self, outputs: AlignedOutputs, queries: Sequence[Query], n_clips: Sequence[int], dataset: str) -> Found:
        """All moment queries' windows, scored by softmax; clip scores through float16, as released."""
        windows = None
        if self.inputs.moments:
            windows = list(scored_windows(outputs.logits, outputs.spans, queries, dataset, self.inputs.clip_s))
        scores = outputs.saliency.detach().float().cpu().numpy().astype(np.float16)
        return Found(windows, [row[:n] for row, n in zip(scores, n_clips, strict=True)])
