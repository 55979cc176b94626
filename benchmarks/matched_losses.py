"""The losses of TR-DETR with the matching before them, as one function to be timed. In a training job the two are
separate parts (`pipeline/training/step.py`)."""

from __future__ import annotations

from torch import Tensor

from pipeline.methods.tr_detr.criterion import losses_of
from pipeline.methods.tr_detr.network import AlignedOutputs
from pipeline.methods.tr_detr.settings import TrDetrSettings
from pipeline.models.batch import Batch
from pipeline.models.losses import labels_of, layers_of
from pipeline.models.matching import match


def compute_losses(outputs: AlignedOutputs, batch: Batch, settings: TrDetrSettings, moments: bool) -> dict[str, Tensor]:
    """Match, where there are `moments`, and take every loss."""
    matches = match(*layers_of(outputs), labels_of(batch), settings.loss_weights) if moments else None
    return losses_of(outputs, batch, matches, settings)
