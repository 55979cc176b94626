"""A network's predictions for the queries of one split."""

from __future__ import annotations

import torch
from torch import nn

from pipeline import config
from pipeline.models.tr_detr import TrDetr
from pipeline.records import Prediction
from pipeline.training.batches import collate
from pipeline.training.data import Data
from pipeline.training.postprocess import predictions_of

MODELS = {"tr_detr": TrDetr}
"""By their names in the config."""


def network(settings: config.Model, data: Data) -> nn.Module:
    """A freshly initialised network for the widths and the grid of `data`."""
    return MODELS[settings.name](settings, data.video_dim, data.audio_dim, data.text_dim, data.clip_s)


@torch.inference_mode()
def predict(model: nn.Module, data: Data, *, dataset: str, batch_size: int) -> list[Prediction]:
    """One prediction per query, in annotation order; the network is left in evaluation mode.

    batch_size: queries per batch. In the released formulation a sample's outputs depend on the batch it is padded
    with, so that this number is part of the result (released: 100).
    """
    model.eval()
    rows: list[Prediction] = []
    for start in range(0, len(data.queries), batch_size):
        batch = collate(data, range(start, min(start + batch_size, len(data.queries))))
        here = data.queries[start : start + batch_size]
        rows += predictions_of(model(batch), here, batch.n_clips, dataset=dataset, clip_s=data.clip_s, cut=data.cut)
    return rows
