"""A network's predictions for the queries of one split."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline import methods
from pipeline.evaluation.truth import task_of
from pipeline.methods.contract import Found, Inputs, Method
from pipeline.methods.settings import MethodSettings
from pipeline.records import Prediction, Query
from pipeline.training.batches import collate
from pipeline.training.data import Data


def method_for(settings: MethodSettings, data: Data, dataset: str, device: str) -> Method:
    """A method with a freshly initialised network on `device`, for the widths and the grid of `data`."""
    widths = data.video_dim, data.audio_dim, data.text_dim
    task = task_of(dataset)
    method = methods.build(settings, Inputs(*widths, data.clip_s, task.moments, task.highlights))
    method.network.to(device)
    return method


@torch.inference_mode()
def predict(method: Method, data: Data, *, dataset: str, batch_size: int) -> list[Prediction]:
    """One prediction per query, in annotation order; the network is left in evaluation mode.

    batch_size: queries per batch. Where padding takes part in the outputs, as in some released systems, this number is
    part of the result.
    """
    method.network.eval()
    rows: list[Prediction] = []
    for start in range(0, len(data.queries), batch_size):
        batch = collate(data, range(start, min(start + batch_size, len(data.queries))))
        here = data.queries[start : start + batch_size]
        rows += predictions(method.found(method.outputs(batch), here, batch.n_clips, dataset), here)
    return rows


def predictions(found: Found, queries: Sequence[Query]) -> list[Prediction]:
    """What was found for `queries`, in the community's form."""
    return [
        Prediction(
            qid=query.qid,
            query=query.query,
            vid=query.vid,
            pred_relevant_windows=found.windows[index].tolist() if found.windows is not None else None,
            pred_saliency_scores=found.saliency[index].tolist(),
        )
        for index, query in enumerate(queries)
    ]
