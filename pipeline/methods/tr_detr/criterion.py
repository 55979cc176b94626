"""The losses of TR-DETR, unweighted, and their weighted total, as released and as printed.

They are equations (4), (5) and (17) of the paper. In the printed form the losses of moments and highlights are
QD-DETR's: cross-entropy in place of the focal loss, and clip scores with a wrong query.
"""

from __future__ import annotations

from torch import Tensor

from pipeline.methods.tr_detr.alignment import (
    global_alignment,
    global_alignment_as_printed,
    local_alignment,
    local_alignment_as_printed,
)
from pipeline.methods.tr_detr.network import AlignedOutputs
from pipeline.methods.tr_detr.settings import TrDetrSettings
from pipeline.models.batch import Batch
from pipeline.models.losses import (
    cross_entropy,
    focal_loss,
    labels_of,
    moment_losses,
    saliency_loss,
    with_total,
)
from pipeline.models.masking import masked_mean


def losses_of(
    outputs: AlignedOutputs, batch: Batch, matches: Tensor | None, settings: TrDetrSettings
) -> dict[str, Tensor]:
    """Return every loss whose weight is not 0, and `total`. No value of a tensor is read on the host, so the host does
    not wait for a GPU.

    matches: [layers, B, Q], of `losses.layers_of`; None without moments. The keys are unweighted scalars: those of
    `moment_losses` (only with moments), saliency, global_alignment and local_alignment (only with
    `settings.alignment`), and total, which is weighted by `settings.loss_weights`. Raises ValueError if the batch has
    no labels.
    """
    labels, weights, printed = labels_of(batch), settings.loss_weights, settings.formulation == "paper"
    losses: dict[str, Tensor] = {}
    if matches is not None:
        losses = moment_losses(outputs, labels, matches, weights, cross_entropy if printed else focal_loss)
    if weights.saliency:
        losses["saliency"] = saliency_loss(outputs, labels, batch.video_mask, settings.saliency_margin)
    if settings.alignment and weights.global_alignment:
        losses["global_alignment"] = _global_loss(outputs, batch, printed)
    if settings.alignment and weights.local_alignment:
        aligned = local_alignment_as_printed if printed else local_alignment
        masks = batch.video_mask, batch.text_mask, labels.clip_mask
        losses["local_alignment"] = aligned(outputs.video, outputs.text, *masks)
    return with_total(losses, weights, outputs.saliency)


def _global_loss(outputs: AlignedOutputs, batch: Batch, printed: bool) -> Tensor:
    """Return the global alignment loss. In the released form the means run over padded rows, too."""
    if not printed:
        return global_alignment(outputs.video.mean(1), outputs.text.mean(1))
    return global_alignment_as_printed(
        masked_mean(outputs.video, batch.video_mask), masked_mean(outputs.text, batch.text_mask)
    )
