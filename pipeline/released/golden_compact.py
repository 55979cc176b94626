"""Compact golden sets: one JSON file of shapes, labels and figures; weights and inputs follow from a generator.

Generator: NumPy's legacy normal numbers, seeded with the CRC-32 of `{case}/{name}`; the rules stand at `_generated`.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline import files, methods
from pipeline.methods.contract import Inputs
from pipeline.methods.release import GoldenSet
from pipeline.models.batch import Labels, padded_spans
from pipeline.records import Query
from pipeline.released.checkpoint import release_of
from pipeline.released.golden_sets import MAX_WINDOWS, named_losses, named_outputs, spans_in_seconds
from pipeline.training.batches import collate
from pipeline.training.data import Data
from pipeline.training.packed import Packed


def compact(path: Path) -> GoldenSet:
    """Read one case and generate its weights and inputs."""
    told = files.read_json(path)
    release = release_of(told.get("model", methods.DEFAULT))
    case, shapes, clip_s = told["case"], told["parameter_shapes"], float(told["clip_length_s"])
    video = _rows(f"{case}/video", told["video_lengths"], told["clips"], told["video_dim"])
    parts = [video]
    if told["audio_dim"]:
        parts.append(_rows(f"{case}/audio", told["video_lengths"], told["clips"], told["audio_dim"]))
    text = _rows(f"{case}/text", told["text_lengths"], told["tokens"], 512)
    windows = told["windows_seconds"] or [[] for _ in told["video_lengths"]]
    labels = Labels(
        *padded_spans(spans_in_seconds(windows, told["video_lengths"], clip_s)),
        *(torch.tensor(told[name], dtype=torch.float32) for name in ("saliency", "clip_mask")),
        *(torch.tensor(told[name]) for name in ("saliency_pos", "saliency_neg")),
    )
    queries = [
        Query(qid=n, query="", vid=str(n), duration=length * clip_s) for n, length in enumerate(told["video_lengths"])
    ]
    data = Data(
        queries=queries,
        video=_packed([list(rows) for rows in zip(*parts, strict=True)]),
        text=_packed([[rows] for rows in text]),
        video_of=torch.arange(len(queries)),
        video_blocks=1,
        video_dim=told["video_dim"],
        audio_dim=told["audio_dim"],
        text_dim=512,
        clip_s=clip_s,
        left_out=[],
    )
    n = len(queries), told["clips"]
    sizes = {"pred_logits": (n[0], -1, 2), "pred_spans": (n[0], -1, 2), "saliency_scores": n}
    outputs = {
        name: _shaped(f"outputs.{name}", values, sizes[name.removeprefix("aux0_")])
        for name, values in told["outputs"].items()
    }
    return GoldenSet(
        name=path.stem,
        dataset=told["dataset"],
        inputs=Inputs(told["video_dim"], told["audio_dim"], 512, clip_s, bool(told["matcher"])),
        settings=release.settings_of_set(told["loss_weights"], told["global_weight"], told["local_weight"]),
        max_windows=MAX_WINDOWS,
        weights={name: _generated(case, name, tuple(shape)) for name, shape in shapes.items()},
        n_parameters=told["n_parameters"],
        batch=collate(data, range(len(queries)), labels),
        outputs=named_outputs(release, outputs, ""),
        losses=named_losses(release, told["losses"]),
        matches=(told["matcher"],) if told["matcher"] else (),
        gradient_norms=told["gradient_norms"],
    )


def _shaped(name: str, values: list[float], shape: tuple[int, ...]) -> Tensor:
    """Raises ValueError, naming the array, where it has another size."""
    try:
        return torch.tensor(values, dtype=torch.float32).view(shape)
    except RuntimeError as error:
        raise ValueError(f"`{name}` has {len(values)} numbers, which make no {shape}") from error


def _packed(samples: list[list[np.ndarray]]) -> Packed:
    """Samples, each a list of parts side by side that need no further norm."""
    rows = torch.from_numpy(np.concatenate([np.concatenate(parts, axis=1) for parts in samples]))
    lengths = [len(parts[0]) for parts in samples]
    return Packed(
        rows=rows,
        blocks=tuple(part.shape[1] for part in samples[0]),
        norms=torch.ones(len(rows), len(samples[0])),
        starts=torch.from_numpy(np.cumsum([0, *lengths[:-1]])),
        lengths=torch.tensor(lengths),
    )


def _rows(tag: str, lengths: list[int], length: int, dim: int) -> list[np.ndarray]:
    """Generated feature rows, normalised, each sample cut to its length."""
    rows = _random(tag, (len(lengths), length, dim))
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    return [sample[:n].astype(np.float32) for sample, n in zip(rows, lengths, strict=True)]


def _generated(case: str, name: str, shape: tuple[int, ...]) -> Tensor:
    """A weight of the compact form by its rules; the first that applies."""
    noise = _random(f"{case}/{name}", shape)
    if name.endswith("activation.weight"):
        value = 0.25 + 0.05 * noise
    elif len(shape) == 1:
        value = (1.0 if name.endswith(".weight") else 0.0) + 0.05 * noise
    elif name == "query_embed.weight":
        value = noise
    elif shape[:2] == (1, 1):
        value = noise * np.sqrt(2 / (shape[2] + 1))
    else:
        value = noise * np.sqrt(2 / (shape[0] + shape[1]))
    return torch.from_numpy(value.astype(np.float32))


def _random(tag: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.RandomState(zlib.crc32(tag.encode())).standard_normal(shape)
