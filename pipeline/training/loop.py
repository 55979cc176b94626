"""The training loop trains one run, from its seed to its card.

Random streams (order of the queries, label draws, dropout) begin anew every epoch from (seed, epoch). So a run that
continues after a kill, at any epoch, draws the same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from pipeline import config, datasets, records, work_record
from pipeline.errors import PipelineError
from pipeline.evaluation import by_qid, evaluate_on
from pipeline.evaluation.truth import Truth
from pipeline.methods.contract import Method
from pipeline.nouns import counted
from pipeline.records import Prediction, Query
from pipeline.training import checkpoint, curves
from pipeline.training.batches import collate
from pipeline.training.checkpoint import Progress
from pipeline.training.cut import cut_query
from pipeline.training.data import Data
from pipeline.training.packed import SHOWN
from pipeline.training.pool import Tell
from pipeline.training.predict import method_for, predict
from pipeline.training.replay import CudaGraphs, Replays
from pipeline.training.step import Learner, TakeStep

SAVE_EVERY_S = 30.0
"""Largest number of seconds of work that a kill may cost. States are written at ends of epochs. This number changes no
result."""

CHECK_EVERY = 32
"""Number of steps between two checks that losses are finite. A check waits for the GPU."""

LOOK = "look at the features of those queries, or lower `learning_rate`"
"""The advice for numbers that are not finite."""

ORDER, LABELS, DROPOUT = range(3)
"""Names of the random streams of a run."""


@dataclass(frozen=True)
class Run:
    """One training. made_from: digest of everything that decides its result. folder: the folder of its files."""

    name: str
    dataset: str
    seed: int
    settings: config.SweepPoint
    made_from: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Kept:
    """The results of a step that are kept: the qids of its batch, and its losses, which stay on the device."""

    qids: Sequence[int | str]
    losses: dict[str, Tensor]


def train(run: Run, data: Data, watched: Data, card: dict[str, Any], *, device: str, tell: Tell) -> None:
    """Train on `data`, evaluate on `watched`, and write weights, log and card into the run's folder.

    A run that was killed continues. data, watched: on `device`. card: the content of the card, to which the course of
    the run is added. tell: a function that is called after every epoch. Raises PipelineError, which names epoch, step
    and qids, when a loss is not finite, and before the first epoch for a query of `watched` that cannot be ground
    truth.
    """
    training = run.settings.training
    truth = by_qid(run.dataset, map(records.to_row, watched.queries))
    torch.manual_seed(run.seed)
    method = method_for(run.settings.model, data, run.dataset, device)
    optimizer = method.optimizer(training, device)
    schedule = method.schedule(optimizer, training)
    parts: dict[str, checkpoint.Stateful] = {"model": method.network, "optimizer": optimizer, "schedule": schedule}
    learner = Learner(method, optimizer, training)
    take_step = learner.step if device == "cpu" else Replays(learner, CudaGraphs()).step
    targets = method.targets(_as_seen(data), data.n_clips, training)
    progress = checkpoint.load_state(run.folder, run.made_from, parts, device)
    for row in progress.log:
        tell(run.name, row)
    begun = saved = time.monotonic()
    with curves.drawn(run.folder, progress.log) as draw:
        while not _is_over(progress, training):
            progress.epoch += 1
            row = {"epoch": progress.epoch, **one_epoch(run, method, take_step, data, targets, progress.epoch)}
            work_record.note("epoch", run=run.folder, epoch=progress.epoch)
            row["learning_rate"] = learning_rate(schedule)
            schedule.step()
            if progress.epoch % training.evaluate_every == 0 or progress.epoch == training.epochs:
                metrics = _metrics(run, method, watched, truth, progress.epoch)
                progress.judge(metrics[datasets.get(run.dataset).selected_by], method.network)
                row |= metrics
            progress.log.append(row)
            tell(run.name, row)
            draw(row)
            now = time.monotonic()
            progress.seconds.append(now - begun)
            begun = now
            if now - saved >= SAVE_EVERY_S:
                checkpoint.save_state(run.folder, run.made_from, parts, progress, device)
                saved = now
    checkpoint.finish(run.folder, method.network, progress, card | _summary(run, progress, data, watched))


def learning_rate(schedule: LRScheduler) -> float:
    """Return the learning rate after its drops, as configured. On a GPU it is stored in float32, with seven exact
    digits."""
    rate = schedule.get_last_lr()[0]
    return float(f"{rate.item():.7g}") if isinstance(rate, Tensor) else rate


def _is_over(progress: Progress, training: config.Training) -> bool:
    patience = training.stop_after_evaluations_without_gain
    return progress.epoch >= training.epochs or (patience is not None and progress.without_gain >= patience)


def one_epoch(run: Run, method: Method, take_step: TakeStep, data: Data, targets: Any, epoch: int) -> dict[str, float]:
    """Train one epoch in random order, and keep the last short batch. Returns the losses, each the mean over the
    batches."""
    order = _stream(run.seed, epoch, ORDER).permutation(len(data.queries))
    draws = _stream(run.seed, epoch, LABELS)
    torch.manual_seed(int(_stream(run.seed, epoch, DROPOUT).integers(2**63)))
    method.network.train()
    steps: list[Kept] = []
    for start in range(0, len(order), run.settings.training.batch_size):
        index = order[start : start + run.settings.training.batch_size].tolist()
        batch = collate(data, index, targets.draw(index, draws).to(data.video.rows.device))
        try:
            steps.append(Kept(batch.qids, take_step(batch)))
        except PipelineError as error:
            must_be_finite(run, epoch, steps)
            raise _stopped(run, epoch, len(steps), batch.qids, error.what, error.remedy) from error
        if len(steps) % CHECK_EVERY == 0:
            must_be_finite(run, epoch, steps)
    must_be_finite(run, epoch, steps)
    means = torch.stack([torch.stack(list(step.losses.values())) for step in steps]).mean(0)
    return {name: round(value, 6) for name, value in zip(steps[0].losses, means.tolist(), strict=True)}


def must_be_finite(run: Run, epoch: int, steps: Sequence[Kept]) -> None:
    """Check the steps since the last check, with one transfer from the GPU. Name the first whose loss is not finite."""
    since = max(len(steps) - 1, 0) // CHECK_EVERY * CHECK_EVERY
    if not steps or bool(torch.stack([step.losses["total"] for step in steps[since:]]).isfinite().all()):
        return
    number, step = next((n, s) for n, s in enumerate(steps) if n >= since and not bool(s.losses["total"].isfinite()))
    values = ", ".join(f"{name} {float(loss):g}" for name, loss in step.losses.items())
    raise _stopped(run, epoch, number, step.qids, f"the loss is not finite ({values})")


def _stopped(
    run: Run, epoch: int, n_before: int, qids: Sequence[int | str], what: str, remedy: str | None = None
) -> PipelineError:
    return PipelineError(
        f"{what} at epoch {epoch}, step {n_before + 1}; qids of the batch: {', '.join(map(str, qids))}",
        where=f"run {run.name} ({run.folder})",
        remedy=remedy or LOOK,
    )


def _metrics(run: Run, method: Method, watched: Data, truth: Truth, epoch: int) -> dict[str, float]:
    """Return the headline numbers of the watched split, with official names and rounding.

    truth: the ground truth of its queries. epoch: the epoch that ended. Raises PipelineError, which names epoch and
    qids, if a prediction is not finite: the last step of an epoch may have made the weights so.
    """
    predictions = predict(method, watched, dataset=run.dataset, batch_size=run.settings.training.evaluation_batch_size)
    lost = [row.qid for row in predictions if not _is_finite(row)]
    if lost:
        raise PipelineError(
            f"predictions of {counted(len(lost), 'query')} of {counted(len(predictions), 'query')} are not finite after"
            f" epoch {epoch}; the first are qid {', '.join(map(str, lost[:SHOWN]))}",
            where=f"run {run.name} ({run.folder})",
            remedy=LOOK,
        )
    result = evaluate_on(run.dataset, list(map(records.to_row, predictions)), truth)
    return {name: value for name, value in result.metrics["brief"].items() if value is not None}


def _is_finite(row: Prediction) -> bool:
    """Tell whether all windows and scores of a prediction are finite."""
    windows = (value for window in row.pred_relevant_windows or () for value in window)
    return all(map(math.isfinite, (*windows, *(row.pred_saliency_scores or ()))))


def _as_seen(data: Data) -> list[Query]:
    """Return the queries. Those of videos that `max_clips` shortened have their moments as far as these clips go."""
    pairs = zip(data.queries, data.n_clips, strict=True)
    return [cut_query(query, n, data.clip_s) if query.vid in data.cut else query for query, n in pairs]


def _summary(run: Run, progress: Progress, data: Data, watched: Data) -> dict[str, Any]:
    """Return the part of a card that describes the course of the run."""
    metric = datasets.get(run.dataset).selected_by
    return {
        "made_from": run.made_from,
        "metric": metric,
        "n_train": len(data.queries),
        "n_watched": len(watched.queries),
        "selected": {"epoch": progress.best_epoch, "value": progress.best},
        "last": {"epoch": progress.epoch, "value": progress.log[-1].get(metric) if progress.log else None},
    }


def _stream(seed: int, epoch: int, stream: int) -> np.random.Generator:
    return np.random.default_rng((seed, epoch, stream))
