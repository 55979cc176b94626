"""Predicts windows and clip scores for the queries of one split."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

import torch

from pipeline import datasets, methods
from pipeline.methods.contract import Decoded, Inputs, Method
from pipeline.methods.settings import MethodSettings
from pipeline.records import Prediction, Query
from pipeline.training.batches import collate
from pipeline.training.cut import clip_scores
from pipeline.training.data import Data


def method_for(settings: MethodSettings, data: Data, dataset: str, device: str) -> Method:
    """Return a method with a newly initialised network on `device`, for the widths and the grid of `data`."""
    method = methods.build(settings, inputs_for((data.video_dim, data.audio_dim, data.text_dim), data.clip_s, dataset))
    method.network.to(device)
    return method


def inputs_for(widths: tuple[int, int, int], clip_s: float, dataset: str) -> Inputs:
    """Return the sizes and labels for which a network of this dataset is built. widths: those of video, audio and
    text."""
    about = datasets.get(dataset)
    return Inputs(*widths, clip_s, about.moments, about.highlights is not None)


@torch.inference_mode()
def predict(method: Method, data: Data, *, dataset: str, batch_size: int) -> list[Prediction]:
    """Return one prediction per query, in annotation order. The network is left in evaluation mode.

    batch_size: queries per batch. In some released systems padding takes part in the outputs, and then this number is
    part of the result.
    """
    method.network.eval()
    rows: list[Prediction] = []
    for start in range(0, len(data.queries), batch_size):
        batch = collate(data, range(start, min(start + batch_size, len(data.queries))))
        here = data.queries[start : start + batch_size]
        found = method.decode(method.outputs(batch), [*_as_seen(data, here, batch.n_clips)], batch.n_clips, dataset)
        rows += predictions(found, here, dataset, data.cut)
    return rows


def _as_seen(data: Data, queries: Sequence[Query], n_clips: Sequence[int]) -> Iterator[Query]:
    """Return the queries as if each video ended where `max_clips` cut it, because spans are fractions of the clips
    seen."""
    for query, n in zip(queries, n_clips, strict=True):
        yield replace(query, duration=n * data.clip_s) if query.vid in data.cut else query


def predictions(
    found: Decoded, queries: Sequence[Query], dataset: str, cut: Container[str] = frozenset()
) -> list[Prediction]:
    """Return the predictions for `queries` in the community's form. cut: vids that `max_clips` shortened."""
    clips = [scores.tolist() for scores in found.saliency]
    if rated := datasets.get(dataset).highlights:
        pairs = zip(clips, queries, strict=True)
        clips = [clip_scores(row, query, rated.clip_s, is_cut=query.vid in cut) for row, query in pairs]
    return [
        Prediction(
            qid=query.qid,
            query=query.query,
            vid=query.vid,
            pred_relevant_windows=found.windows[index].tolist() if found.windows is not None else None,
            pred_saliency_scores=clips[index],
        )
        for index, query in enumerate(queries)
    ]
