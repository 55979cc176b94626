"""Optimizers that methods share."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.optim import AdamW


def adamw(network: nn.Module, learning_rate: float, weight_decay: float, device: str) -> AdamW:
    """AdamW over all parameters (released: norms and biases decay too). On a GPU everything it changes lies there."""
    if device == "cpu":
        return AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    # Not every step of ours is recorded, which torch takes for a slip.
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
    rate = torch.tensor(learning_rate, device=device)
    return AdamW(network.parameters(), lr=rate, weight_decay=weight_decay, fused=True, capturable=True)
