"""Writes `pipeline/open_clip.csv` from the installed open_clip: `python -m pipeline.encoders.open_clip_table`.

The table lets a config be read, checked and planned where open_clip is not installed. A test compares it with the
installed open_clip. Every tower is built on the meta device, where a forward pass gives shapes and counts
multiply-adds, and computes no number.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import library_models
from pipeline.encoders.open_clip_towers import config_of, empty_image_tower, empty_text_tower
from pipeline.library_models import OpenClipModel

FLOPS_PER_MAC = 2
QUICK = "-quickgelu"
"""The end of the name of a model whose twin has the same tensors and the other activation."""


def models() -> list[str]:
    """Return the names of all models of open_clip that have an image tower and a text tower."""
    import open_clip

    return [name for name in open_clip.list_models() if {"vision_cfg", "text_cfg"} <= config_of(name).keys()]


def rows_of(model: str) -> list[OpenClipModel]:
    """Return the rows of one model: one for each preparation of pictures that its weights need."""
    config = config_of(model)
    image_dim, image_macs = image_facts(model)
    tokenizer = config["text_cfg"].get("hf_tokenizer_name") or ""
    is_foreign = "hf_model_name" in config["text_cfg"]
    text_dim, text_macs = (0, 0.0) if is_foreign else text_facts(model)
    return [
        OpenClipModel(
            model=model,
            pretrained=tuple(tags),
            image_dim=image_dim,
            text_dim=text_dim,
            context=config["text_cfg"].get("context_length", 77),
            tokenizer=tokenizer or ("transformers" if is_foreign else ""),
            size=config["vision_cfg"]["image_size"],
            image_macs=image_macs,
            text_macs=text_macs,
            **preprocessing,
        )
        for preprocessing, tags in preprocessings(model)
    ]


def preprocessings(model: str) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield each preparation of pictures that weights of a model need, with the tags of these weights.

    Weights that were trained with another activation than that of the model are left out, because they belong to its
    twin. A model without weights has the default.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    is_quick = config_of(model).get("quick_gelu", False)
    twin = model.removesuffix(QUICK) if model.endswith(QUICK) else model + QUICK
    has_twin = twin in open_clip.list_models()
    found: list[tuple[dict[str, Any], list[str]]] = []
    for tag in list_pretrained_tags_by_model(model):
        weights = get_pretrained_cfg(model, tag)
        if has_twin and bool(weights.get("quick_gelu", False)) != is_quick:
            continue
        wanted = _kept(merge_preprocess_dict(PreprocessCfg(), weights))
        same = next((tags for known, tags in found if known == wanted), None)
        if same is None:
            found.append((wanted, [tag]))
        else:
            same.append(tag)
    yield from found or [(_kept(asdict(PreprocessCfg())), [])]


def _kept(preprocessing: dict[str, Any]) -> dict[str, Any]:
    return {
        "mean": tuple(preprocessing["mean"]),
        "std": tuple(preprocessing["std"]),
        "interpolation": preprocessing["interpolation"],
        "resize": preprocessing["resize_mode"],
    }


def image_facts(model: str) -> tuple[int, float]:
    """Return the length of a picture's row, and the multiply-adds that it costs, in 10⁹."""
    import torch

    size = config_of(model)["vision_cfg"]["image_size"]
    tower = empty_image_tower(model).eval()
    return _forward(tower, torch.empty(1, 3, size, size, device="meta"))


def text_facts(model: str) -> tuple[int, float]:
    """Return the length of a token's row, and the multiply-adds that a query costs, in 10⁹."""
    import torch

    tower = empty_text_tower(model).eval()
    ids = torch.zeros(1, tower.context_length, dtype=torch.long, device="meta")
    _, macs = _forward(tower, ids)
    return tower.ln_final.normalized_shape[0], macs


def _forward(tower: Any, inputs: Any) -> tuple[int, float]:
    from torch.utils.flop_counter import FlopCounterMode

    tower.requires_grad_(False)  # the counter fails within no_grad
    with FlopCounterMode(display=False) as counter:
        found = tower(inputs)
    pooled = found[0] if isinstance(found, tuple) else found
    return int(pooled.shape[-1]), round(counter.get_total_flops() / FLOPS_PER_MAC / 1e9, 2)


def main() -> None:
    """Write the table."""
    with open(library_models.OPEN_CLIP, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(library_models.COLUMNS)
        for model in models():
            table.writerows(library_models.as_text(row) for row in rows_of(model))
    print(Path(library_models.OPEN_CLIP), file=sys.stderr)


if __name__ == "__main__":
    main()
