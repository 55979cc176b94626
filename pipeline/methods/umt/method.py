"""UMT as a method: its labels, its losses, its optimizer, and how windows are made from the scores of clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR

from pipeline.config import Training
from pipeline.methods.contract import Decoded, Inputs, Method
from pipeline.methods.umt.criterion import losses_of
from pipeline.methods.umt.labels import PeakTargets
from pipeline.methods.umt.network import PeakOutputs, Umt
from pipeline.methods.umt.settings import UmtSettings
from pipeline.models.batch import Batch
from pipeline.models.optimizers import adam
from pipeline.records import Query

KEPT = 100
"""The largest number of windows of one query (the released value)."""

DECAY = 0.5
"""The width of the soft suppression: with a larger number an overlap lowers the score of a window less (the released
value)."""


class UmtMethod(Method):
    """UMT. Its optimizer is part of the method: Adam, whose weight decay is a part of the gradient. No gradient is
    clipped."""

    settings: UmtSettings

    def __init__(self, settings: UmtSettings, inputs: Inputs) -> None:
        super().__init__(settings, inputs)
        self.network = Umt(settings, inputs)

    def targets(
        self,
        queries: Sequence[Query],
        n_clips: Sequence[int],
        training: Training,  # noqa: ARG002 - every window counts
    ) -> PeakTargets:
        """Return the highlight scores of clips, and the labels of the centres of windows."""
        return PeakTargets(queries, n_clips, self.inputs.clip_s)

    def losses(
        self,
        outputs: PeakOutputs,
        batch: Batch,
        matches: tuple[Tensor, ...],  # noqa: ARG002 - there are none
    ) -> dict[str, Tensor]:
        """Return the losses of `criterion.losses_of`."""
        return losses_of(outputs, batch, self.settings.loss_weights)

    def decode(
        self,
        outputs: PeakOutputs,
        queries: Sequence[Query],  # noqa: ARG002 - their durations do not matter
        n_clips: Sequence[int],
        dataset: str,  # noqa: ARG002 - what the dataset has is known from `inputs`
    ) -> Decoded:
        """Return the windows of the most probable centres. A clip score is the probability of a highlight, or, if
        nobody rated clips, that of a centre.

        Windows are clamped to the padded length. On Charades-STA the scores of windows that overlap better ones are
        lowered, as in the released evaluation.
        """
        chances = outputs.scored.detach().sigmoid().cpu().numpy()
        saliency = [row[:n] for row, n in zip(chances, n_clips, strict=True)]
        windows = self.windows_at_peaks(outputs, n_clips)
        if windows is not None and not self.inputs.highlights:
            windows = [softly_suppressed(rows) for rows in windows]
        return Decoded(windows, saliency)

    def windows_at_peaks(self, outputs: PeakOutputs, n_clips: Sequence[int]) -> list[np.ndarray] | None:
        """Return the windows of each query before any is suppressed, or None where the dataset has no moments."""
        if outputs.centre is None or outputs.window is None or outputs.offset is None:
            return None
        centre, width, offset = (
            x.detach().cpu().numpy() for x in (outputs.centre.sigmoid(), outputs.window, outputs.offset)
        )
        return [
            peak_windows(centre[row, :n], width[row], offset[row], self.inputs.clip_s) for row, n in enumerate(n_clips)
        ]

    def optimizer(self, training: Training, device: str) -> Optimizer:
        """Return the optimizer: Adam with an L2 term in the gradient."""
        return adam(self.network, training.learning_rate, training.weight_decay, device)

    def schedule(
        self,
        optimizer: Optimizer,
        training: Training,  # noqa: ARG002 - nothing drops
    ) -> ConstantLR:
        """Return a schedule that keeps the learning rate constant."""
        return ConstantLR(optimizer, factor=1.0, total_iters=1)

    def gradient_clip(self, training: Training) -> None:  # noqa: ARG002 - whatever it says
        """Return None, because no gradient is clipped."""
        return


def peak_windows(centre: np.ndarray, width: np.ndarray, offset: np.ndarray, clip_s: float) -> np.ndarray:
    """Return the windows [k, 3] of the most probable centres in seconds, the best first, as float32. Nothing is
    rounded.

    centre: [ℓ], the probabilities of the valid clips. width, offset: [L], in clips. Negative values count as 0, so that
    every window is at least a clip long.
    """
    best = np.argsort(-centre, kind="stable")[:KEPT]
    middle = best.astype(np.float32) + offset[best].clip(min=0)
    half = width[best].clip(min=0) / np.float32(2)
    last, unit = np.float32(len(width) - 1), np.float32(clip_s)
    start, end = ((middle + side * half).clip(0, last) * unit for side in (-1, 1))
    return np.stack((start, end + unit, centre[best]), axis=1).astype(np.float32)


def softly_suppressed(windows: np.ndarray) -> np.ndarray:
    """Return windows [k, 3] after soft suppression, in the order in which they are picked. The best window is picked
    again and again, and each time the scores of the others are lowered by their overlap with it."""
    left = windows.astype(np.float64)
    picked = []
    while len(left):
        best = int(left[:, 2].argmax())
        one, left = left[best], np.delete(left, best, axis=0)
        picked.append(one)
        shared = (np.minimum(left[:, 1], one[1]) - np.maximum(left[:, 0], one[0])).clip(min=0)
        union = (left[:, 1] - left[:, 0]) + (one[1] - one[0]) - shared
        left[:, 2] *= np.exp(-((shared / union) ** 2) / DECAY)
    return np.array(picked)
