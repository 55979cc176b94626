"""Makes the optimizers that methods share."""

from __future__ import annotations

import warnings
from typing import TypeVar

import torch
from torch import nn
from torch.optim import Adam, AdamW

A = TypeVar("A", Adam, AdamW)


def adamw(network: nn.Module, learning_rate: float, weight_decay: float, device: str) -> AdamW:
    """Return AdamW over all parameters. As released, norms and biases decay, too. On a GPU its whole state is kept
    there."""
    return _fused(AdamW, network, learning_rate, weight_decay, device)


def adam(network: nn.Module, learning_rate: float, weight_decay: float, device: str) -> Adam:
    """Return Adam over all parameters. The decay is added to the gradients before they are averaged (L2)."""
    return _fused(Adam, network, learning_rate, weight_decay, device)


def _fused(kind: type[A], network: nn.Module, learning_rate: float, weight_decay: float, device: str) -> A:
    if device == "cpu":
        return kind(network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    # Some steps are deliberately not recorded as a CUDA graph. torch would warn about each of them.
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
    rate = torch.tensor(learning_rate, device=device)
    return kind(network.parameters(), lr=rate, weight_decay=weight_decay, fused=True, capturable=True)
