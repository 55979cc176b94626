"""Optimizers that methods share are made here."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.optim import AdamW


def adamw(network: nn.Module, learning_rate: float, weight_decay: float, device: str) -> AdamW:
    """Return AdamW over all parameters. Norms and biases decay too, as released. On a GPU its whole state lies
    there."""
    if device == "cpu":
        return AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    # Some steps are not recorded as a CUDA graph, on purpose; torch would warn that this is a mistake.
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
    rate = torch.tensor(learning_rate, device=device)
    return AdamW(network.parameters(), lr=rate, weight_decay=weight_decay, fused=True, capturable=True)
