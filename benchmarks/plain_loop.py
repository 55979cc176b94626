"""The training step as this field usually writes it. `training.py` compares our step with it.

A sample is read from its file, normalised and labelled each time it is used. A loader makes batches. The modules are
torch's own: attention in single products, `nn.Dropout`, `nn.PReLU`, `nn.GRU`. There is a loop over samples for the
moment, a loop over levels for the ranking loss, and a matching per sample. Every layer computes all padding, and AdamW
is not fused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import matched_losses
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from pipeline.methods.tr_detr import cooperation, refinement
from pipeline.methods.tr_detr.settings import LossWeights
from pipeline.models import attention, decoder, elementwise, encoder, losses, packing, projection
from pipeline.models.batch import Batch, Labels, padded_spans
from pipeline.models.labels import query_labels
from pipeline.models.losses import PADDED_SCORE, RANK_TEMPERATURE, RANKS
from pipeline.models.matching import NONE, giou
from pipeline.records import Query


def write_files(folder: Path, query: Query, families: Sequence[np.ndarray], words: np.ndarray) -> None:
    """Write one file for each video and family, and one for each query."""
    for number, rows in enumerate(families):
        np.savez(folder / f"{query.vid}_{number}.npz", features=rows)
    np.savez(folder / f"qid{query.qid}.npz", token=words)


class Files(Dataset):
    """Samples as read from their files."""

    def __init__(self, folder: Path, queries: Sequence[Query], *, apart: bool, clip_s: float = 2.0) -> None:
        """Remember the files. apart: whether families and words are normalised alone (QVHighlights), or the whole row
        (TVSum)."""
        self.folder, self.queries, self.apart, self.clip_s = folder, queries, apart, clip_s

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, index: int) -> dict:
        query = self.queries[index]
        families = []
        for number in range(2):
            rows = np.load(self.folder / f"{query.vid}_{number}.npz")["features"].astype(np.float32)
            families.append(unit(rows) if self.apart else rows)
        video = np.concatenate(families, axis=1)
        video = video if self.apart else unit(video)
        words = np.load(self.folder / f"qid{query.qid}.npz")["token"].astype(np.float32)
        starts = torch.arange(len(video)) / len(video)
        endpoints = torch.stack((starts, starts + 1 / len(video)), dim=1)
        labels = query_labels(query, len(video), self.clip_s)
        pairs = [*labels.fixed, *([np.array(draw_pair(labels))] if labels.drawn else [])]
        return {
            "query": query,
            "video": torch.cat((torch.from_numpy(video), endpoints), dim=1),
            "words": torch.from_numpy(unit(words) if self.apart else words),
            "labels": labels,
            "pairs": torch.tensor(np.stack(pairs)),
        }


def draw_pair(labels: object) -> list[int]:
    """Return a random clip inside the windows and one outside."""
    return [np.random.choice(labels.inside), np.random.choice(labels.outside)]


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1."""
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-5)


def loader(files: Files, batch_size: int) -> DataLoader:
    """Return a loader that works in this process, so that its CPU seconds are counted."""
    return DataLoader(files, batch_size, shuffle=True, collate_fn=collate)


def collate(samples: list[dict]) -> Batch:
    """Pad and stack."""
    video, words = ([sample[name] for sample in samples] for name in ("video", "words"))
    video_mask, text_mask = (pad_sequence([torch.ones(len(x)) for x in rows], True) for rows in (video, words))
    per_clip = [
        pad_sequence([torch.from_numpy(getattr(s["labels"], name)) for s in samples], True)
        for name in ("saliency", "clip_mask")
    ]
    pairs = torch.stack([sample["pairs"] for sample in samples])
    spans = padded_spans([torch.from_numpy(sample["labels"].spans) for sample in samples])
    queries = [sample["query"] for sample in samples]
    return Batch(
        video=pad_sequence(video, True),
        video_mask=video_mask,
        text=pad_sequence(words, True),
        text_mask=text_mask,
        qids=[query.qid for query in queries],
        vids=[query.vid for query in queries],
        durations_s=[query.duration for query in queries],
        n_clips=[len(x) for x in video],
        labels=Labels(*spans, *per_clip, pairs[..., 0].contiguous(), pairs[..., 1].contiguous()),
    )


@contextmanager
def plain_parts() -> Iterator[None]:
    """Replace the parts of the network and of its losses by torch's own parts inside the block."""
    with ExitStack() as stack:
        for module in (projection, attention, decoder, encoder, refinement):
            if hasattr(module, "Dropout"):
                stack.enter_context(patch.object(module, "Dropout", nn.Dropout))
            if hasattr(module, "attend"):
                stack.enter_context(patch.object(module, "attend", attend))
        stack.enter_context(patch.object(attention, "PReLU", nn.PReLU))
        stack.enter_context(patch.object(elementwise, "drop", functional.dropout))
        stack.enter_context(patch.object(cooperation.ScoreHead, "forward", score))
        stack.enter_context(patch.object(cooperation.MomentSimilarity, "forward", moment_similarity))
        stack.enter_context(patch.object(packing, "WORTHWHILE", 1.0))  # no padding is spared
        stack.enter_context(patch.object(losses, "rank_contrastive", rank_contrastive))
        stack.enter_context(patch.object(matched_losses, "match", match))
        yield


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, heads: int, keep: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Compute attention by two batched products, with a softmax and a dropout between them."""
    n, q, k = len(query), query.shape[1], key.shape[1]
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1) for x in (query, key, value))
    weights = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2)).view(n, heads, q, k)
    if keep is not None:
        weights = weights.masked_fill(~keep, float("-inf"))
    weights = functional.dropout(weights.softmax(-1), dropout)
    return torch.bmm(weights.flatten(0, 1), value).view(n, heads, q, -1).transpose(1, 2).flatten(2)


def score(self: cooperation.ScoreHead, clips: Tensor) -> Tensor:
    """Apply the linear layer, then sum its features."""
    return self.linear(clips).sum(-1) / clips.shape[-1] ** 0.5


def moment_similarity(
    self: cooperation.MomentSimilarity, logits: Tensor, spans: Tensor, video: Tensor, counted: Tensor
) -> Tensor:
    """Compute the similarity to the moment for one sample after the other."""
    rows = []
    for n in range(len(video)):
        start, end = cooperation.best_moment(
            logits[n : n + 1], spans[n : n + 1], counted.sum(1)[n : n + 1], self.clip_s
        )
        taken = video[n][start.item() : end.item() + 1]
        rows.append(torch.cat((taken, video.new_zeros(len(video[n]) - len(taken), video.shape[-1]))))
    _, state = self.gru(torch.stack(rows))
    return (video * state[0][:, None]).sum(-1)


def rank_contrastive(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Compute the loss for one level after the other."""
    total = scores.new_zeros(())
    for level in range(1, RANKS + 1):
        positive = (targets >= level).float()
        if not positive.any():
            continue
        logits = (scores * mask + (1 - mask) * PADDED_SCORE) / RANK_TEMPERATURE
        logits = logits - logits.max(1, keepdim=True)[0]
        log_share = logits - torch.log(logits.exp().sum(1, keepdim=True) + 1e-6)
        total = total - ((positive * log_share * mask).sum(1) / (positive.sum(1) + 1e-6)).mean()
    return total / (RANKS + 1)


@torch.no_grad()
def match(logits: Tensor, spans: Tensor, labels: Labels, weights: LossWeights) -> Tensor:
    """Sample by sample."""
    matches = torch.full(logits.shape[:-1], NONE)
    for layer in range(len(logits)):
        for sample, count in enumerate(labels.n_spans):
            wanted, found = labels.spans[sample, :count], spans[layer, sample]
            cost = weights.span * torch.cdist(found, wanted, p=1) - weights.giou * giou(found[:, None], wanted)
            cost = cost - weights.label * logits[layer, sample].softmax(-1)[:, :1]
            queries, chosen = linear_sum_assignment(cost.cpu())
            matches[layer, sample, queries] = torch.from_numpy(chosen)
    return matches.to(logits.device)
