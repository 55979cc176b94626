"""Reads golden sets: numbers that a released system computed once, with the weights and inputs that it used.

A set has one of three forms.

plain    is a folder with released_expected.json, released_forward.npz (padded inputs) and released_weights_fp16.npz. It
         checks the network, its losses and gradients. With the initial weights of its GRU the output hardly depends on
         the moment, so it cannot show that a wrong part of the video was taken.
sharp    is a folder with expected.json, forward.npz (raw rows, inputs, intermediate results) and weights_fp16.npz. It
         also checks how inputs and labels are made, intermediate results, which part of the video the moment takes, the
         prediction file, and steps of the optimizer.
compact  is one JSON file without weights. It checks the same as plain (`golden_compact.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import datasets, files, methods
from pipeline.config import Features, Training
from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.exchange.array_files import read_npz
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.methods.contract import Inputs
from pipeline.methods.release import GoldenSet, Release
from pipeline.methods.settings import Normalisation
from pipeline.models.batch import Batch, Labels, padded_spans
from pipeline.models.labels import spans_of
from pipeline.records import Query, query_from_row
from pipeline.released.checkpoint import release_of
from pipeline.training.batches import collate
from pipeline.training.data import Data, OpenFeatures, load

MAX_WINDOWS = Training().max_windows


def plain(folder: Path) -> GoldenSet:
    """Read a set of the form `plain`. folder: the folder of the set."""
    expected = files.read_json(folder / "released_expected.json")
    release = release_of(expected.get("model", methods.DEFAULT), folder)
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
        inputs=Inputs(*_dims(video, arrays["src_txt"]), clip_s, bool(expected.get("matcher"))),
        settings=release.settings_of_set(expected["weight_dict"], options["VTC_loss_coef"], options["CTC_loss_coef"]),
        max_windows=MAX_WINDOWS,
        weights=_arrays(folder / "released_weights_fp16.npz"),
        n_parameters=expected.get("n_parameters"),
        batch=_batch(torch.cat(video, -1), arrays["src_vid_mask"], arrays["src_txt"], arrays["src_txt_mask"], labels),
        outputs=named_outputs(release, arrays, "out_") | {"video": arrays["proj_vid"], "text": arrays["proj_txt"]},
        losses=named_losses(release, expected["losses"]),
        matches=(expected["matcher"],) if expected.get("matcher") else (),
        gradient_norms=expected["grad_norms"],
    )


def sharp(folder: Path) -> GoldenSet:
    """Read a set of the form `sharp`. Our own stores and loader make its batch from the raw rows."""
    expected = files.read_json(folder / "expected.json")
    release = release_of(expected.get("model", methods.DEFAULT), folder)
    options, arrays = expected["options"], _arrays(folder / "forward.npz")
    dataset = _dataset(options)
    queries = tuple(query_from_row(row, f"{folder}, meta {n}") for n, row in enumerate(expected["metas"]))
    weights = expected["weight_dict"], options["VTC_loss_coef"], options["CTC_loss_coef"]
    max_tokens = options["max_q_l"] if datasets.get(dataset).options_cut_text else None
    training = Training(max_clips=options["max_v_l"], max_tokens=max_tokens)
    counts = arrays["lab_span_counts"].tolist() if "lab_span_counts" in arrays else [0] * len(queries)
    labels = Labels(
        *padded_spans(arrays["lab_spans"].split(counts) if sum(counts) else [torch.zeros(0, 2)] * len(counts)),
        arrays["lab_saliency_all"],
        arrays["lab_pos_mask"],
        arrays["lab_saliency_pos"],
        arrays["lab_saliency_neg"],
    )
    settings = release.settings_of_set(*weights)
    data = _from_raw(arrays, queries, settings.normalisation(dataset), training)
    return GoldenSet(
        name=folder.name,
        dataset=dataset,
        inputs=Inputs(
            *(data.video_dim, data.audio_dim, data.text_dim),
            clip_s=float(options["clip_length"]),
            moments=bool(expected.get("matcher")),
        ),
        settings=settings,
        max_windows=training.max_windows,
        weights=_arrays(folder / "weights_fp16.npz"),
        n_parameters=expected["n_parameters"],
        batch=collate(data, range(len(queries)), labels),
        outputs=named_outputs(release, arrays, "out_")
        | {"video": arrays["mid_proj_vid"], "text": arrays["mid_proj_txt"]},
        losses=named_losses(release, expected["losses"]),
        matches=(expected["matcher"], expected["matcher_aux0"]) if expected.get("matcher") else (),
        gradient_norms=expected["grad_norms"],
        queries=queries,
        arrays=arrays,
        expected=expected,
    )


def _from_raw(
    arrays: Mapping[str, Tensor], queries: tuple[Query, ...], normalisation: Normalisation, training: Training
) -> Data:
    """Write the raw rows into stores and load them as a training does.

    Our loader refuses families of one video whose lengths differ by two rows or more, and the released loader cuts
    them. So the rows are cut to the shortest family here.
    """
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
        data = load(OpenFeatures(stores, {}), features, queries, training=training, normalisation=normalisation)
        for store_ in stores.values():
            store_.close()
    return data


def _arrays(path: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in read_npz(path).items()}


def named_outputs(release: Release, arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the set's outputs under the names of the fields of our outputs.

    Outputs of earlier layers are stacked, in the order of the layers, along a new first axis.
    """
    found = {}
    for name, ours in release.outputs.items():
        if name.startswith("aux0_"):
            layers = (f"aux{layer}_{name.removeprefix('aux0_')}" for layer in range(len(arrays)))
            found[ours] = torch.stack([arrays[layer] for layer in layers if layer in arrays])
        else:
            found[ours] = arrays[prefix + name]
    return found


def named_losses(release: Release, told: Mapping[str, float]) -> dict[str, float]:
    """Return the set's losses under our names. Losses that have one name here are added up."""
    found: dict[str, float] = {}
    for name, value in told.items():
        ours = release.losses.get(name, name)
        found[ours] = found.get(ours, 0.0) + value
    return found


def spans_in_seconds(windows: list[Any], n_clips: list[int], clip_s: float) -> tuple[Tensor, ...]:
    """Turn windows in seconds into spans, for each sample: float32 [windows, 2].

    windows: for each sample a list of [start, end]. n_clips: number of clips of each sample. clip_s: length of a clip
    in seconds.
    """
    return tuple(
        torch.from_numpy(spans_of(each, n * clip_s)) if each else torch.zeros(0, 2)
        for each, n in zip(windows, n_clips, strict=True)
    )


def _dataset(options: Mapping[str, Any]) -> str:
    name = options["dset_name"]
    found = next((known.name for known in datasets.DATASETS.values() if known.name_in_options == name), None)
    if found is None:
        known_names = ", ".join(known.name_in_options for known in datasets.DATASETS.values() if known.name_in_options)
        raise PipelineError(
            f"`dset_name` {name!r} names no known dataset",
            where="options of the set",
            remedy=f"known are {known_names}",
        )
    return found


def _dims(video: list[Tensor], text: Tensor) -> tuple[int, int, int]:
    widths = [part.shape[-1] - 2 for part in video]
    return widths[0], (widths[1] if len(widths) > 1 else 0), text.shape[-1]


def _batch(video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, labels: Labels) -> Batch:
    names = [str(n) for n in range(len(video))]
    n_clips = [int(n) for n in video_mask.sum(1)]
    return Batch(video, video_mask, text, text_mask, names, names, [0.0] * len(names), n_clips, labels)
