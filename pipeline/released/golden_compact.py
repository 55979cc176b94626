"""Reads compact golden sets: one JSON file with shapes, labels and the released system's numbers.

Weights and inputs are not stored. A generator makes them: NumPy's legacy normal numbers, with the CRC-32 of
`{case}/{name}` as seed. `_generated` holds the rules that turn these numbers into weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import datasets, files, methods
from pipeline.methods.contract import Inputs
from pipeline.methods.release import GoldenSet, Release, noise
from pipeline.models.batch import Labels, padded_spans
from pipeline.records import Query
from pipeline.released.checkpoint import release_of
from pipeline.released.golden_sets import MAX_WINDOWS, named_losses, named_outputs, spans_in_seconds
from pipeline.training.batches import collate
from pipeline.training.data import Data
from pipeline.training.packed import Packed

OF_EACH_SAMPLE = (
    *("text_lengths", "windows_seconds", "saliency", "clip_mask", "saliency_pos", "saliency_neg", "saliency_sums"),
    *("annotators", "annotations", "ratings", "durations_seconds", "vids", "real_negatives"),
)
"""The keys whose lists have an entry for each sample. No form has all of them."""


def compact(path: Path) -> GoldenSet:
    """Read one set and generate its weights and inputs.

    Raises KeyError, ValueError or TypeError if the set lacks a key, or if an array has another size.
    """
    told = files.read_json(path)
    release = release_of(_method_of(told), path)
    if release.rows_of_set:  # such sets lack the keys of what the method, or the dataset, does not have
        release = replace(release, outputs={k: v for k, v in release.outputs.items() if k in told["outputs"]})
        told = {"matcher": None, "global_weight": 0.0, "local_weight": 0.0} | told
    _refuse_other_counts(told)
    case, shapes, clip_s = told["case"], told["parameter_shapes"], float(told["clip_length_s"])
    text_dim = told.get("text_dim", 512)
    parts = [_rows(told, "video", told["clips"], told["video_dim"])]
    if told["audio_dim"]:
        parts.append(_rows(told, "audio", told["clips"], told["audio_dim"]))
    text = _rows(told, "text", told["tokens"], text_dim)
    queries, labels = (release.rows_of_set or _rows_of)(told)
    data = Data(
        queries=list(queries),
        video=_packed([list(rows) for rows in zip(*parts, strict=True)]),
        text=_packed([[rows] for rows in text]),
        video_of=torch.arange(len(queries)),
        video_blocks=1,
        video_dim=told["video_dim"],
        audio_dim=told["audio_dim"],
        text_dim=text_dim,
        clip_s=clip_s,
        skipped=[],
    )
    n = len(queries), told["clips"]
    sizes = {name: (len(queries), -1, columns) for name, columns in release.columns.items()}
    outputs = {
        name: _shaped(f"outputs.{name}", values, sizes.get(_without_layer(name), n))
        for name, values in told["outputs"].items()
        if _without_layer(name) in release.outputs
    }
    weights = {name: _generated(case, name, tuple(shape), release.unscaled) for name, shape in shapes.items()}
    named = release.settings_of_set(told["loss_weights"], told["global_weight"], told["local_weight"])
    if unweighted := [
        name for name in told["losses"] if name in release.losses and not _has_weight(release, name, told)
    ]:
        raise ValueError(f"`loss_weights` lacks {', '.join(unweighted)}")
    settings = type(named)(**release.settings_of(told.get("options", {})).changes() | named.changes())
    dataset = _dataset_of(told["dataset"])
    widths = told["video_dim"], told["audio_dim"], text_dim
    return GoldenSet(
        name=path.stem,
        dataset=dataset,
        inputs=Inputs(*widths, clip_s, bool(told["windows_seconds"]), datasets.get(dataset).highlights is not None),
        settings=release.fitted(settings, weights),
        max_windows=MAX_WINDOWS,
        weights=weights,
        n_parameters=int(told["n_parameters"]),
        batch=collate(data, range(len(queries)), release.labels_of_set(labels, told)),
        outputs=named_outputs(release, outputs, ""),
        losses=named_losses(release, told["losses"]),
        matches=tuple(_matchings(told)) if told["matcher"] else (),
        gradient_norms=_by_name(told["gradient_norms"], shapes),
        queries=tuple(queries),
        expected=told,
    )


def _dataset_of(name: str) -> str:
    """Return our name of a dataset. Released programs may have another name for it. Raises ValueError for a name that
    is not known."""
    found = next((ours for ours, about in datasets.DATASETS.items() if name in (ours, about.name_in_options)), None)
    if not name or found is None:
        raise ValueError(f"`dataset` {name!r} names no known dataset")
    return found


def _method_of(told: Mapping[str, Any]) -> str:
    """Return the method of a set.

    It is the value of `model` or `system`. Without these keys it is the method that the case is named after, or else
    the default method.
    """
    named = (name for name in methods.METHODS if str(told.get("case")).startswith(f"{name}_"))
    return told.get("model") or told.get("system") or next(named, methods.DEFAULT)


def _refuse_other_counts(told: Mapping[str, Any]) -> None:
    """Raise ValueError if lists that have an entry for each sample have different lengths, if a sample is longer than
    its array, and for a clip without a length."""
    n = len(told["video_lengths"])
    found = {name: len(told[name]) for name in OF_EACH_SAMPLE if isinstance(told.get(name), list)}
    for name, count in (found | {"batch": told.get("batch", n)}).items():
        if count != n:
            raise ValueError(f"`{name}` says {count} samples, and `video_lengths` has {n}")
    for name, most in (("video_lengths", told["clips"]), ("text_lengths", told["tokens"])):
        if not all(isinstance(length, int) and 0 < length <= most for length in told[name]):
            raise ValueError(f"`{name}` holds {told[name]}, and the lengths are from 1 to {most}")
    if not 0 < float(told["clip_length_s"]) < float("inf"):
        raise ValueError(f"`clip_length_s` is {told['clip_length_s']}")


def _has_weight(release: Release, loss: str, told: Mapping[str, Any]) -> bool:
    """Tell whether a set gives the weight of a loss. The total needs none, and some weights are listed separately."""
    ours = release.losses[loss]
    return ours == "total" or ours in release.weights_apart or loss in told["loss_weights"]


def _rows_of(told: Mapping[str, Any]) -> tuple[list[Query], Labels]:
    """Read queries and labels in the form that the sets of most systems have.

    The labels hold the pairs that the released system had drawn.
    """
    clip_s = float(told["clip_length_s"])
    windows = told["windows_seconds"] or [[] for _ in told["video_lengths"]]
    shape = len(told["video_lengths"]), told["clips"]
    per_clip = [_shaped(name, told[name], shape) for name in ("saliency", "clip_mask")]
    if not all(rows.isfinite().all() for rows in per_clip):
        raise ValueError("`saliency` or `clip_mask` holds a number that is not finite")
    labels = Labels(
        *padded_spans(spans_in_seconds(windows, told["video_lengths"], clip_s)),
        *per_clip,
        *(torch.tensor(told[name]) for name in ("saliency_pos", "saliency_neg")),
    )
    queries = [
        Query(qid=n, query="", vid=str(n), duration=length * clip_s) for n, length in enumerate(told["video_lengths"])
    ]
    return queries, labels


def _without_layer(name: str) -> str:
    """Return the name of an output without the prefix that marks an earlier layer."""
    return name.removeprefix("aux1_").removeprefix("aux0_")


def _matchings(told: Mapping[str, Any]) -> list[Any]:
    """Return the matchings of a set: that of the last layer, then those of earlier layers if the set has them.

    A set stores either one earlier matching (`matcher_aux0`) or a list of them (`aux_matchers`). Only the sets of the
    default method store none. Raises KeyError if another set stores none.
    """
    earlier = [told["matcher_aux0"]] if "matcher_aux0" in told else told.get("aux_matchers") or []
    if not earlier and _method_of(told) != methods.DEFAULT:
        raise KeyError("matcher_aux0 or aux_matchers")
    return [told["matcher"], *earlier]


def _by_name(norms: Mapping[str, float | None] | list[float | None], shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return gradient norms by name. Some sets list them without names, in the order of the shapes.

    Raises ValueError if there are more or fewer norms than shapes.
    """
    return norms if isinstance(norms, Mapping) else dict(zip(shapes, norms, strict=True))


def _shaped(name: str, values: list[Any], shape: tuple[int, ...]) -> Tensor:
    """Return the values as float32 of this shape. Raises ValueError, naming the array, if their number is wrong."""
    try:
        return torch.tensor(values, dtype=torch.float32).view(shape)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"`{name}` does not fill an array of shape {shape} ({error})") from error


def _packed(samples: list[list[np.ndarray]]) -> Packed:
    """Pack samples. Each is a list of parts [rows, columns] that lie side by side and are normalised already."""
    rows = torch.from_numpy(np.concatenate([np.concatenate(parts, axis=1) for parts in samples]))
    lengths = [len(parts[0]) for parts in samples]
    return Packed(
        rows=rows,
        blocks=tuple(part.shape[1] for part in samples[0]),
        norms=torch.ones(len(rows), len(samples[0])),
        starts=torch.from_numpy(np.cumsum([0, *lengths[:-1]])),
        lengths=torch.tensor(lengths),
    )


def _rows(told: Mapping[str, Any], stream: str, length: int, dim: int) -> list[np.ndarray]:
    """Generate the feature rows of all samples: float32 [n, dim] each.

    The rows have norm 1, or the norm that the set names as `{stream}_scale`. Each sample is cut to its own length.
    """
    lengths = told["text_lengths" if stream == "text" else "video_lengths"]
    rows = noise(f"{told['case']}/{stream}", (len(lengths), length, dim))
    rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True) * told.get(f"{stream}_scale", 1.0)
    return [sample[:n].astype(np.float32) for sample, n in zip(rows, lengths, strict=True)]


def _generated(case: str, name: str, shape: tuple[int, ...], unscaled: str | None) -> Tensor:
    """Generate a weight, float32 of this shape. The first rule that applies to its name or shape is used."""
    drawn = noise(f"{case}/{name}", shape)
    if name.endswith("activation.weight"):
        value = 0.25 + 0.05 * drawn
    elif unscaled and unscaled in name:
        value = drawn
    elif len(shape) == 1:
        value = (1.0 if name.endswith(".weight") else 0.0) + 0.05 * drawn
    elif name.endswith(".pe"):
        value = drawn / 4
    elif name == "query_embed.weight":
        value = drawn
    elif shape[:2] == (1, 1):
        value = drawn * np.sqrt(2 / (shape[2] + 1))
    else:
        sharper = 4 if name.endswith(".q.weight") else 1
        value = sharper * drawn * np.sqrt(2 / (shape[0] + shape[1]))
    return torch.from_numpy(value.astype(np.float32))
