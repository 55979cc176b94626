"""Golden sets on disk: what the released system computed once, with its weights and inputs beside the figures.

plain  a folder: released_expected.json, released_forward.npz (padded inputs), released_weights_fp16.npz. Checks the
       network, its losses and gradients. Its GRU, as initialised, forgets the moment: a wrong slice does not show.
sharp  a folder: expected.json, forward.npz (raw rows, inputs, intermediates), weights_fp16.npz. Checks besides how
       inputs and labels are made, what comes in between, the moment's slice, the prediction file and optimizer steps.

The third form, `compact`, checks what plain does without a weight file: `golden_compact.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import files
from pipeline.config import Features, LossWeights, Training
from pipeline.features.array_files import read_npz
from pipeline.features.store import Store
from pipeline.features.store_writer import StoreWriter
from pipeline.models.batch import Batch, Labels, padded_spans
from pipeline.provenance import Passport
from pipeline.records import Query, query_from_row
from pipeline.training.batches import collate
from pipeline.training.data import Data, Shelf, load
from pipeline.training.labels import spans_of

LOSSES = {
    "loss_span": "span",
    "loss_giou": "giou",
    "loss_label": "label",
    "loss_span_0": "aux_span",
    "loss_giou_0": "aux_giou",
    "loss_label_0": "aux_label",
    "loss_saliency": "saliency",
    "loss_global_vtc": "global_alignment",
    "loss_local_ctc": "local_alignment",
    "total": "total",
}
"""Released name of a loss → ours."""

PREDICTED = {
    "pred_logits": "logits",
    "pred_spans": "spans",
    "saliency_scores": "saliency",
    "aux0_pred_logits": "aux_logits",
    "aux0_pred_spans": "aux_spans",
}


@dataclass(frozen=True)
class GoldenSet:
    """One set: what goes in, and what must come out.

    weights, gradient_norms: by released name (norm None: the tensor takes no part). batch: with labels, as drawn.
    outputs: by field of `Outputs`. losses: by our names, with `class_error` and `class_error_0` beside. matches: per
    sample (queries, windows), for the last layer, then for the earlier one where it is known; none without moments.
    The rest only the sharp form has: queries, arrays by their names in forward.npz, everything of expected.json.
    """

    name: str
    dataset: str
    dims: tuple[int, int, int]
    clip_s: float
    training: Training
    weights: Mapping[str, Tensor]
    n_parameters: int | None
    batch: Batch
    labels: Labels
    outputs: Mapping[str, Tensor]
    losses: Mapping[str, float]
    matches: tuple[list[Any], ...]
    gradient_norms: Mapping[str, float | None]
    queries: tuple[Query, ...] = ()
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)

    @property
    def moments(self) -> bool:
        """Whether windows take part."""
        return bool(self.matches)


def plain(folder: Path) -> GoldenSet:
    """Read a plain set."""
    expected = files.read_json(folder / "released_expected.json")
    options = expected["opt"]
    arrays = _arrays(folder / "released_forward.npz")
    video = [arrays[name] for name in ("src_vid", "src_aud") if name in arrays]
    clip_s = float(expected["clip_length"])
    n_clips = [int(n) for n in arrays["src_vid_mask"].sum(1)]
    labels = Labels(
        *padded_spans(spans_in_seconds(expected["windows_seconds"], n_clips, clip_s)),
        arrays["saliency_all"],
        arrays["pos_mask"],
        arrays["saliency_pos"],
        arrays["saliency_neg"],
    )
    return GoldenSet(
        name=folder.name,
        dataset=_dataset(options),
        dims=_dims(video, arrays["src_txt"]),
        clip_s=clip_s,
        training=training_with(expected["weight_dict"], options["VTC_loss_coef"], options["CTC_loss_coef"]),
        weights=_arrays(folder / "released_weights_fp16.npz"),
        n_parameters=expected.get("n_parameters"),
        batch=_batch(torch.cat(video, -1), arrays["src_vid_mask"], arrays["src_txt"], arrays["src_txt_mask"], labels),
        labels=labels,
        outputs=named_outputs(arrays, "out_") | {"video": arrays["proj_vid"], "text": arrays["proj_txt"]},
        losses=named_losses(expected["losses"]),
        matches=(expected["matcher"],) if expected.get("matcher") else (),
        gradient_norms=expected["grad_norms"],
    )


def sharp(folder: Path) -> GoldenSet:
    """Read a sharp set; its batch is made from the raw rows by our own stores and loader."""
    expected = files.read_json(folder / "expected.json")
    options, arrays = expected["options"], _arrays(folder / "forward.npz")
    dataset = _dataset(options)
    queries = tuple(query_from_row(row, f"{folder}, meta {n}") for n, row in enumerate(expected["metas"]))
    weights = expected["weight_dict"], options["VTC_loss_coef"], options["CTC_loss_coef"]
    limits = {"max_clips": options["max_v_l"], "max_tokens": None if dataset == "tvsum" else options["max_q_l"]}
    training = training_with(*weights).model_copy(update=limits)
    counts = arrays["lab_span_counts"].tolist() if "lab_span_counts" in arrays else [0] * len(queries)
    labels = Labels(
        *padded_spans(arrays["lab_spans"].split(counts) if sum(counts) else [torch.zeros(0, 2)] * len(counts)),
        arrays["lab_saliency_all"],
        arrays["lab_pos_mask"],
        arrays["lab_saliency_pos"],
        arrays["lab_saliency_neg"],
    )
    data = _from_raw(arrays, queries, dataset, training)
    return GoldenSet(
        name=folder.name,
        dataset=dataset,
        dims=(data.video_dim, data.audio_dim, data.text_dim),
        clip_s=float(options["clip_length"]),
        training=training,
        weights=_arrays(folder / "weights_fp16.npz"),
        n_parameters=expected["n_parameters"],
        batch=collate(data, range(len(queries)), labels),
        labels=labels,
        outputs=named_outputs(arrays, "out_") | {"video": arrays["mid_proj_vid"], "text": arrays["mid_proj_txt"]},
        losses=named_losses(expected["losses"]),
        matches=(expected["matcher"], expected["matcher_aux0"]) if expected.get("matcher") else (),
        gradient_norms=expected["grad_norms"],
        queries=queries,
        arrays=arrays,
        expected=expected,
    )


def _from_raw(arrays: Mapping[str, Tensor], queries: tuple[Query, ...], dataset: str, training: Training) -> Data:
    """Raw rows as they would lie on disk, through stores and loader. A stream longer by two rows or more, which the
    loader refuses as belonging to another video, is cut here as the released loader cuts it."""
    streams = list(dict.fromkeys(name.split("_")[1] for name in arrays if name.startswith("raw_")))
    video, audio = [s for s in streams if s not in ("text", "pann")], [s for s in streams if s == "pann"]
    features = Features.model_construct(video=video, audio=audio, text="text")
    with tempfile.TemporaryDirectory() as folder:
        for stream in streams:
            rows = [arrays[f"raw_{stream}_{n}"].numpy() for n in range(len(queries))]
            grid = "tokens" if stream == "text" else "2s"
            passport = Passport(stream, 1, "golden", "released", grid, rows[0].shape[1], rows[0].dtype.name, "none")
            with StoreWriter(Path(folder) / f"{stream}.h5", passport) as store:
                for n, query in enumerate(queries):
                    if stream == "text":
                        store.add(str(query.qid), rows[n])
                    else:
                        store.add(query.vid, rows[n][: min(len(arrays[f"raw_{s}_{n}"]) for s in video + audio)])
        stores = {stream: Store([Path(folder) / f"{stream}.h5"]) for stream in streams}
        data = load(Shelf(stores, {}), features, queries, dataset=dataset, training=training)
        for store_ in stores.values():
            store_.close()
    return data


def _arrays(path: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in read_npz(path).items()}


def named_outputs(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Predictions by our names; the earlier layer's get the axis of layers."""
    found = {}
    for name, ours in PREDICTED.items():
        earlier = name.startswith("aux0_")
        tensor = arrays[name if earlier else prefix + name]
        found[ours] = tensor[None] if earlier else tensor
    return found


def named_losses(told: Mapping[str, float]) -> dict[str, float]:
    """Losses by our names."""
    return {LOSSES.get(name, name): value for name, value in told.items()}


def spans_in_seconds(windows: list[Any], n_clips: list[int], clip_s: float) -> tuple[Tensor, ...]:
    """Windows in seconds as spans, per sample."""
    return tuple(
        torch.from_numpy(spans_of(each, n * clip_s)) if each else torch.zeros(0, 2)
        for each, n in zip(windows, n_clips, strict=True)
    )


def training_with(weights: Mapping[str, float], global_weight: float, local_weight: float) -> Training:
    """Training settings with the weights a set was made with."""
    named = {LOSSES[name]: value for name, value in weights.items() if not name.endswith("_0")}
    return Training(loss_weights=LossWeights(**named, global_alignment=global_weight, local_alignment=local_weight))


def _dataset(options: Mapping[str, Any]) -> str:
    return "tvsum" if options["dset_name"] == "tvsum" else "qvhighlights"


def _dims(video: list[Tensor], text: Tensor) -> tuple[int, int, int]:
    widths = [part.shape[-1] - 2 for part in video]
    return widths[0], (widths[1] if len(widths) > 1 else 0), text.shape[-1]


def _batch(video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, labels: Labels) -> Batch:
    names = [str(n) for n in range(len(video))]
    n_clips = [int(n) for n in video_mask.sum(1)]
    return Batch(video, video_mask, text, text_mask, names, names, [0.0] * len(names), n_clips, labels)
