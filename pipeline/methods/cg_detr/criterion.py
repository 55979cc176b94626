"""What CG-DETR minimises besides the moments' losses: saliency, alignment, distillation, orthogonality.

Axes: B samples, L clips, N words, D dummies, d width. Released, entropies act on probabilities: their logarithms end at
-100, and where a float32 sigmoid is 0 or 1 there is no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.methods.cg_detr.labels import SourceLabels
from pipeline.methods.cg_detr.network import CorrelatedOutputs, needed
from pipeline.models.losses import RANKS, hinge, rank_terms


def saliency_loss(
    outputs: CorrelatedOutputs, labels: SourceLabels, video_mask: Tensor, margin: float, attention_weight: float
) -> Tensor:
    """Scores of clips, and with a weight the words' share of their attention, which ought to rank them too: a scalar.

    Only samples whose next one is of another source (R) have a wrong query. Released oddities: where there are some,
    the others' rank loss counts only if there are two others or more, and of the attention not at all.
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
    never = F.binary_cross_entropy(wrong, torch.zeros_like(wrong), reduction="none")
    part = part + _mean((never * video_mask).sum(1), among)
    return loss + attention_weight * (part + F.binary_cross_entropy(share, labels.saliency.clamp(max=1)))


def _ranks(scores: Tensor, wrong: Tensor, labels: SourceLabels, video_mask: Tensor) -> Tensor:
    """Ranks of a sample's clips among themselves and among those under the wrong query, mean over R."""
    targets = torch.cat((labels.saliency, torch.zeros_like(labels.saliency)), dim=1)
    terms = rank_terms(torch.cat((scores, wrong), dim=1), targets, torch.cat((video_mask, video_mask), dim=1))
    return _mean(terms.sum(0), labels.other_source) / (RANKS + 1)


def _own_ranks(scores: Tensor, labels: SourceLabels, video_mask: Tensor) -> Tensor:
    """Ranks of a sample's clips among themselves, mean over those outside R."""
    terms = rank_terms(scores, labels.saliency, video_mask)
    return _mean(terms.sum(0), 1 - labels.other_source) / (RANKS + 1)


def _mean(values: Tensor, among: Tensor) -> Tensor:
    """Mean of values [B] over the samples that are among; 0 where none is."""
    return (values * among).sum() / among.sum().clamp(min=1)


def alignment(outputs: CorrelatedOutputs, relevant: Tensor, video_mask: Tensor) -> Tensor:
    """Moments against sentences: each moment's own sentence, away from the dummies', and clips like their moment.

    relevant, video_mask [B, L]. As released, the dummies' target is the first column that is not the sample's own.
    """
    sentence, rest, moment, other = (
        F.normalize(needed(x), dim=-1)
        for x in (outputs.sentence, outputs.dummy_sentence, outputs.moment, outputs.other_moment)
    )
    place = torch.arange(len(sentence), device=sentence.device)
    to_sentences = torch.cat((moment @ sentence.T, other @ sentence.T), dim=1)
    to_dummies = torch.cat((moment @ rest.T, other @ rest.T), dim=1)
    alike = torch.einsum("bld,bd->bl", needed(outputs.chosen_clips), needed(outputs.moment)).sigmoid()
    clips = F.binary_cross_entropy(alike, relevant.float(), reduction="none") * video_mask
    return F.cross_entropy(to_sentences, place) + F.cross_entropy(to_dummies, (place == 0).long()) + clips.mean()


def distillation(outputs: CorrelatedOutputs, relevant: Tensor) -> Tensor:
    """The attention of relevant clips ought to be how they resemble dummies and words; padded words count, as released.

    relevant [B, L]. Only the attention gets a gradient.
    """
    alike = needed(outputs.relevant_clips) @ needed(outputs.words).transpose(1, 2)
    wanted = alike.detach().log_softmax(-1)
    apart = (wanted.exp() * (wanted - (outputs.attention + 1e-6).log())).mean(-1)
    return (apart * relevant).sum() / relevant.sum().clamp(min=1)


def orthogonality(dummies: Tensor, prompts: Tensor) -> Tensor:
    """How alike different dummies of a sample are, and different prompts. dummies [B, D, d], prompts [P, d]."""
    return _likeness(dummies) + _likeness(prompts[None])


def _likeness(rows: Tensor) -> Tensor:
    unit = F.normalize(rows, dim=-1)
    alike = (unit @ unit.detach().transpose(1, 2)).abs()
    return (alike * (1 - torch.eye(rows.shape[1], device=rows.device))).mean()
