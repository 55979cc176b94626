"""The losses of CG-DETR beside those of moments: saliency, alignment, distillation and orthogonality.

Axes: B samples, L clips, N words, D dummies, d width. As in the released system, entropies are computed from
probabilities. Their logarithms are cut at -100, and a float32 sigmoid of exactly 0 or 1 gives no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.cg_detr.labels import SourceLabels
from pipeline.methods.cg_detr.network import CorrelatedOutputs
from pipeline.models.losses import RANKS, entropy_of, hinge, needed, rank_terms


def saliency_loss(
    outputs: CorrelatedOutputs, labels: SourceLabels, video_mask: Tensor, margin: float, attention_weight: float
) -> Tensor:
    """Return the saliency loss, a scalar. If `attention_weight` is not 0, the words' share of the attention learns to
    rank the clips, too.

    A sample whose next sample has another source is in R, and only samples in R have a wrong query. Two bugs of the
    released system are reproduced. If some samples are in R, the rank loss of the others counts only if there are at
    least two of them. The rank loss of their attention does not count at all.
    """
    among = labels.other_source
    n_others, nobody = (1 - among).sum(), (among.sum() == 0).float()
    scores, wrong = outputs.saliency, needed(outputs.negative_saliency)
    loss = hinge(scores, labels, margin) + _ranks(scores, wrong, labels, video_mask)
    loss = loss + _own_ranks(scores, labels, video_mask) * torch.maximum(nobody, (n_others >= 2).float())
    loss = loss + _mean((F.softplus(wrong) * video_mask).sum(1), among)
    if not attention_weight:
        return loss
    share, wrong = outputs.share, needed(outputs.negative_share)
    part = hinge(share, labels, margin) + _ranks(share, wrong, labels, video_mask)
    part = part + _own_ranks(share, labels, video_mask) * nobody
    never = entropy_of(wrong, torch.zeros_like(wrong))
    part = part + _mean((never * video_mask).sum(1), among)
    return loss + attention_weight * (part + entropy_of(share, labels.saliency.clamp(max=1), mean=True))


def _ranks(scores: Tensor, wrong: Tensor, labels: SourceLabels, video_mask: Tensor) -> Tensor:
    """Return the rank loss of a sample's clips among themselves and among those under the wrong query, a mean over
    R."""
    targets = torch.cat((labels.saliency, torch.zeros_like(labels.saliency)), dim=1)
    terms = rank_terms(torch.cat((scores, wrong), dim=1), targets, torch.cat((video_mask, video_mask), dim=1))
    return _mean(terms.sum(0), labels.other_source) / (RANKS + 1)


def _own_ranks(scores: Tensor, labels: SourceLabels, video_mask: Tensor) -> Tensor:
    """Return the rank loss of a sample's clips among themselves, a mean over the samples outside R."""
    terms = rank_terms(scores, labels.saliency, video_mask)
    return _mean(terms.sum(0), 1 - labels.other_source) / (RANKS + 1)


def _mean(values: Tensor, among: Tensor) -> Tensor:
    """Return the mean of values [B] over the samples of `among`, and 0 where there is none."""
    return (values * among).sum() / among.sum().clamp(min=1)


def alignment(outputs: CorrelatedOutputs, relevant: Tensor, video_mask: Tensor) -> Tensor:
    """Return the alignment loss, a scalar. It pulls a moment to its own sentence and away from the dummies, and clips
    to their moment.

    relevant, video_mask: [B, L]. A bug of the released system is reproduced: the target of the dummies is the first
    column that is not the sample's own, although all columns but its own were meant.
    """
    sentence, rest, moment, other = (
        F.normalize(needed(x), dim=-1)
        for x in (outputs.sentence, outputs.dummy_sentence, outputs.moment, outputs.other_moment)
    )
    place = torch.arange(len(sentence), device=sentence.device)
    to_sentences = torch.cat((moment @ sentence.T, other @ sentence.T), dim=1)
    to_dummies = torch.cat((moment @ rest.T, other @ rest.T), dim=1)
    alike = torch.einsum("bld,bd->bl", needed(outputs.chosen_clips), needed(outputs.moment)).sigmoid()
    clips = entropy_of(alike, relevant.float()) * video_mask
    return F.cross_entropy(to_sentences, place) + F.cross_entropy(to_dummies, (place == 0).long()) + clips.mean()


def distillation(outputs: CorrelatedOutputs, relevant: Tensor) -> Tensor:
    """Return the distillation loss, a scalar: the attention of relevant clips learns how the clips resemble dummies and
    words.

    relevant: [B, L]. Padded words are included, as in the released system. Only the attention gets a gradient.
    """
    alike = needed(outputs.relevant_clips) @ needed(outputs.words).transpose(1, 2)
    wanted = alike.detach().log_softmax(-1)
    apart = (wanted.exp() * (wanted - (outputs.attention + 1e-6).log())).mean(-1)
    return (apart * relevant).sum() / relevant.sum().clamp(min=1)


def orthogonality(dummies: Tensor, prompts: Tensor) -> Tensor:
    """Return the similarity of different dummies of a sample plus that of different prompts, a scalar. dummies: [B, D,
    d]. prompts: [P, d]."""
    return _likeness(dummies) + _likeness(prompts[None])


def _likeness(rows: Tensor) -> Tensor:
    unit = F.normalize(rows, dim=-1)
    alike = (unit @ unit.detach().transpose(1, 2)).abs()
    return (alike * (1 - torch.eye(rows.shape[1], device=rows.device))).mean()
