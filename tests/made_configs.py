"""The config of the repository, and a small one."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def shipped():
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def small(**experiment):
    return {
        "datasets": {"tvsum": {"annotations": {"train": "a", "val": "b"}}},
        "training": {"tvsum": {"epochs": 7}},
        "model": {"dropout": 0.2},
        "model_by_dataset": {"tvsum": {"loss_weights": {"saliency": 3}}},
        "experiments": {"one": {"dataset": "tvsum", "features": {"video": ["clip-vit-b32"]}, **experiment}},
    }
