"""UniVTG as a method: its labels, its losses, its warm-up, and how windows are made from clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pipeline.config import Training
from pipeline.methods.contract import Decoded, Inputs, Method
from pipeline.methods.univtg.criterion import losses_of
from pipeline.methods.univtg.labels import ClipTargets
from pipeline.methods.univtg.network import ClipOutputs, UniVtg, times
from pipeline.methods.univtg.settings import UniVtgSettings
from pipeline.models.batch import Batch
from pipeline.records import Query

CONSIDERED, KEPT = 1000, 10
"""The number of windows that enter the suppression, and the number that is kept (the released values)."""


class UniVtgMethod(Method):
    """UniVTG. Without moments the boundary head is never trained, and clip scores are the foreground probabilities."""

    settings: UniVtgSettings

    def __init__(self, settings: UniVtgSettings, inputs: Inputs) -> None:
        super().__init__(settings, inputs)
        self.network = UniVtg(settings, inputs)

    def targets(
        self,
        queries: Sequence[Query],
        n_clips: Sequence[int],
        training: Training,  # noqa: ARG002 - every window counts
    ) -> ClipTargets:
        """Return the foreground, the window and the rating of every clip, and a positive clip."""
        return ClipTargets(queries, n_clips, self.inputs.clip_s)

    def losses(
        self,
        outputs: ClipOutputs,
        batch: Batch,
        matches: tuple[Tensor, ...],  # noqa: ARG002 - there are none
    ) -> dict[str, Tensor]:
        """Return the losses of `criterion.losses_of`."""
        return losses_of(outputs, batch, self.settings, clip_s=self.inputs.clip_s, moments=self.inputs.moments)

    def decode(
        self,
        outputs: ClipOutputs,
        queries: Sequence[Query],
        n_clips: Sequence[int],
        dataset: str,  # noqa: ARG002 - one rule for all
    ) -> Decoded:
        """Return the window of every clip, scored by its foreground probability. At most ten windows of a query are
        kept.

        As in the released system, padded clips give windows of score 0, which fill up the list for short videos. With
        moments the score of a clip is the sum of its cosine (rounded to float16) and its foreground probability.
        """
        foreground = outputs.foreground.detach().cpu().numpy()
        if not self.inputs.moments:
            return Decoded(None, [row[:n] for row, n in zip(foreground, n_clips, strict=True)])
        at = times(torch.tensor(n_clips), foreground.shape[1], self.inputs.clip_s)[..., None]
        ends = (at + outputs.offsets.detach().cpu()).numpy()
        scores = outputs.saliency.detach().cpu().numpy().astype(np.float16).astype(np.float32) + foreground
        windows = [
            ranked(ends[n], np.where(np.arange(foreground.shape[1]) < n_clips[n], foreground[n], 0), query.duration)
            for n, query in enumerate(queries)
        ]
        kept = [suppressed(rows[:CONSIDERED], self.settings.overlap, KEPT) for rows in windows]
        return Decoded(kept, [row[:n] for row, n in zip(scores, n_clips, strict=True)])

    def schedule(self, optimizer: Optimizer, training: Training) -> LambdaLR:
        """Return a schedule in which the learning rate rises over the first epochs, and is divided by ten after every
        `drop_learning_rate_after` epochs."""
        rise, drop = self.settings.warmup_epochs, training.drop_learning_rate_after
        return LambdaLR(optimizer, lambda epoch: min(1.0, (epoch + 1) / rise) * 0.1 ** (epoch // drop))


def ranked(ends: np.ndarray, scores: np.ndarray, duration_s: float) -> np.ndarray:
    """Return windows [L, 3] in seconds within the video, rounded to four decimals. The best is first, and ties keep the
    order of the clips.

    ends: [L, 2] float32, as fractions of the video. scores: [L].
    """
    bounds = (ends * np.float32(duration_s)).clip(0, np.float32(duration_s))
    order = np.argsort(-scores, kind="stable")
    return np.round(np.concatenate((bounds, scores[:, None]), axis=1)[order].astype(np.float64), 4)


def suppressed(windows: np.ndarray, overlap: float, n_kept: int) -> np.ndarray:
    """Return the best windows [k, 3]. A window is dropped if its IoU with a better one is above `overlap`; the union is
    that of the smallest interval around both.

    windows: the best one first.
    """
    kept: list[np.ndarray] = []
    left = windows
    while len(left) and len(kept) < n_kept:
        best, left = left[0], left[1:]
        kept.append(best)
        shared = (np.minimum(left[:, 1], best[1]) - np.maximum(left[:, 0], best[0])).clip(min=0)
        hull = np.maximum(left[:, 1], best[1]) - np.minimum(left[:, 0], best[0])
        left = left[shared <= overlap * hull]
    return np.array(kept)
