"""Packages that no command may import before it has work that needs them."""

from __future__ import annotations

HEAVY = (
    "torch",
    "torchvision",
    "open_clip",
    "pytorchvideo",
    "scipy",
    "av",
    "decord",
    "matplotlib",
    "pandas",
    "gensim",
    "librosa",
)
