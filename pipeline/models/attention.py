"""Attention on torch's fused kernel, and the sine positions that it uses.

Axes: B samples, H heads, Q queries, K keys, d width. Masks named `keep` are boolean and broadcast to [B, H, Q, K];
every query keeps at least one key.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.elementwise import Dropout, PReLU, drop
from pipeline.models.packing import Packing


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    keep: Tensor | None = None,
    dropout: float = 0.0,
    plain: bool = False,
) -> Tensor:
    """Compute scaled dot-product attention over `heads`. Dropout acts on the weights, after the softmax.

    plain: the computation is written out, and scores are scaled after the product. A released system whose attention is
    sharp needs the same rounding.

    query [B, Q, H·e], key [B, K, H·e], value [B, K, H·v] (e and v may differ). Returns [B, Q, H·v].
    """
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    if dropout or plain:
        mixed = _written_out(query, key, value, keep, dropout, scaled_last=plain)
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keep)
    return mixed.transpose(1, 2).flatten(2)


def _written_out(
    query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None, rate: float, *, scaled_last: bool
) -> Tensor:
    """Compute attention without the fused kernel: [B, H, Q or K, e] to [B, H, Q, v].

    torch's fused kernels for a CPU have no dropout. The one for a GPU that accepts masks adds gradients up in any
    order, so its results could not be repeated.
    """
    scale = query.shape[-1] ** -0.5
    scores = query @ key.transpose(-2, -1) * scale if scaled_last else (query * scale) @ key.transpose(-2, -1)
    if keep is not None:
        scores = scores + scores.new_zeros(keep.shape).masked_fill_(~keep, -torch.inf)
    weights = scores.softmax(-1)
    return (drop(weights, rate) if rate else weights) @ value


class MultiHeadAttention(nn.Module):
    """Standard multi-head attention with one stacked matrix [3d, d] for query, key and value."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out = zero_bias(nn.Linear(dim, dim))
        nn.init.xavier_uniform_(self.in_weight)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None, packing: Packing | None = None
    ) -> Tensor:
        """Return [B, Q, d]. query: [B, Q, d]. key, value: [B, K, d].

        With a packing, all three are its rows [1, R, d], and rows attend only to rows of their own sample.
        """
        weights, biases = self.in_weight.chunk(3), self.in_bias.chunk(3)
        query, key, value = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        dropout = self.dropout if self.training else 0.0
        if packing is None:
            return self.out(attend(query, key, value, heads=self.heads, keep=keep, dropout=dropout))
        query, key, value = (packing.pad(x) for x in (query, key, value))
        return self.out(packing.pack(attend(query, key, value, heads=self.heads, keep=keep, dropout=dropout)))


class FeedForward(nn.Module):
    """Two linear layers with an activation (by default PReLU with one slope) and dropout between them."""

    def __init__(self, dim: int, inner_dim: int, dropout: float, activation: type[nn.Module] = PReLU) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, inner_dim)
        self.activation = activation()
        self.dropout = Dropout(dropout)
        self.outer = nn.Linear(inner_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., d] to [..., d]."""
        return self.outer(self.dropout(self.activation(self.inner(x))))


class Mlp(nn.Module):
    """Linear layers of the given widths, with ReLU between them and none after the last."""

    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(dims))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., dims[0]] to [..., dims[-1]]."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


def clip_positions(mask: Tensor, dim: int) -> Tensor:
    """Return sine positions of valid clips. They count from 1 and are stretched so that every full video spans (0, 2π].

    mask: [B, L] float, 1 = valid. Returns [B, L, dim]; all padded clips are at 2π.
    """
    count = mask.cumsum(1)
    return sine(2 * math.pi * count / (count[:, -1:] + 1e-6), dim)


def sine(angle: Tensor, dim: int) -> Tensor:
    """Return the sine at even and the cosine at odd features of `angle` over wavelengths up to 10000: [...] to [...,
    dim]."""
    feature = torch.arange(dim, device=angle.device, dtype=torch.float32)
    angles = angle[..., None] / 10000 ** (2 * torch.div(feature, 2, rounding_mode="floor") / dim)
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1).flatten(-2)


def zero_bias(linear: nn.Linear) -> nn.Linear:
    """Set the bias of a layer to zero, and return the layer."""
    nn.init.zeros_(linear.bias)
    return linear


def xavier(module: nn.Module) -> None:
    """Initialise every matrix of a module Xavier-uniform, as the released transformer does. Vectors are not changed."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
