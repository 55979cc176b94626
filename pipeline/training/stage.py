"""The train and predict stages: what they stand on, what they record; imports nothing heavy before there is work."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config, devices, provenance
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.training.runs import Job


def part_from(text: str, jobs: int) -> int:
    """`KofN` as a part's number, from 0. Raises PipelineError where N is not `jobs` or K is none of 1 … N."""
    parts = [f"{k}of{jobs}" for k in range(1, jobs + 1)]
    if text not in parts:
        raise PipelineError(
            f"`{text}` is no part of an experiment with `jobs: {jobs}`",
            where="--part",
            remedy=f"name one from {parts[0]} to {parts[-1]}, or change `jobs`",
        )
    return parts.index(text)


def train(
    name: str,
    experiment: config.Experiment,
    dataset: config.Dataset,
    part: int,
    results: Path,
    annotations: Mapping[str, Path],
    features: Sequence[Path],
    manifest: Path,
) -> bool:
    """Train every `jobs`-th run of an experiment, from the `part`-th (counted from 0). Returns whether there was work.

    annotations: manifests (or JSONL files) of train and val; val selects the epoch. features: manifests; only the
    stores of the experiment's families count.
    Raises PipelineError for a split or family that is missing and, after all other runs, for runs that failed.
    """
    runs = experiment.runs[part :: experiment.n_parts]
    settings = _settings(name, experiment, dataset, runs)
    inputs = [*_splits(annotations, ("train", "val")).values(), *features]
    under = [*_folders(name, experiment, dataset).values(), "/annotations/"]

    def work() -> provenance.Outcome:
        digests = provenance.input_digests(inputs, under)
        made_from = {run: _digest(settings | {"runs": {run: settings["runs"][run]}, "inputs": digests}) for run in runs}
        with devices.claimed_for_torch() as device:
            from pipeline.training.runs import train_all

            return train_all(_job(name, experiment, dataset, results, annotations, features, made_from, device), runs)

    return provenance.run_stage("train", manifest, work, inputs=inputs, settings=settings, under=under)


def predict(
    name: str,
    experiment: config.Experiment,
    dataset: config.Dataset,
    results: Path,
    annotations: Mapping[str, Path],
    runs: Sequence[Path],
    features: Sequence[Path],
    manifest: Path,
) -> bool:
    """Predict the splits of `annotations` with every run, selected and last epoch both. Returns whether there was work.

    runs: manifests of all parts of the training. Writes {results}/runs/{name}/{run}/predictions/{split}-{epoch}.jsonl,
    rows in annotation order. Raises PipelineError for a family or weights that are missing.
    """
    settings = _settings(name, experiment, dataset, experiment.runs)
    inputs = [*annotations.values(), *runs, *features]
    under = [*_folders(name, experiment, dataset).values(), "/annotations/", f"/runs/{name}/"]

    def work() -> provenance.Outcome:
        with devices.claimed_for_torch() as device:
            from pipeline.training.runs import predict_all

            job = _job(name, experiment, dataset, results, annotations, features, {}, device)
            return predict_all(job, experiment.runs)

    return provenance.run_stage("predict", manifest, work, inputs=inputs, settings=settings, under=under)


def _settings(name: str, experiment: config.Experiment, dataset: config.Dataset, runs: Sequence[str]) -> dict[str, Any]:
    """What can change a number of these runs, and nothing else."""
    skip = {"skip": sorted(dataset.skip)} if dataset.skip else {}
    return skip | {
        "experiment": name,
        "dataset": experiment.dataset,
        "families": _folders(name, experiment, dataset),
        "features": _features(name, experiment).model_dump(mode="json"),
        "runs": {run: experiment.settings_of(run).model_dump(mode="json") for run in runs},
    }


def _features(name: str, experiment: config.Experiment) -> config.Features:
    if experiment.features is None:
        raise PipelineError(
            f"has no features to learn from (`source: {experiment.source}`)", where=name, remedy="score it instead"
        )
    return experiment.features


def _folders(name: str, experiment: config.Experiment, dataset: config.Dataset) -> dict[str, str]:
    """Map each family to the `/{grid}/{folder}/` part of its stores' paths; archives have folders of their own."""
    archive = dict.fromkeys(experiment.archived, f"+{experiment.archive}")
    families = _features(name, experiment).all
    return {family: f"/{dataset.grid_of(family)}/{family}{archive.get(family, '')}/" for family in families}


def _splits(annotations: Mapping[str, Path], wanted: Sequence[str]) -> dict[str, Path]:
    if missing := [split for split in wanted if split not in annotations]:
        raise PipelineError(
            f"no annotations of {', '.join(missing)}", where="--annotations", remedy="name the manifests of `annotate`"
        )
    return {split: annotations[split] for split in wanted}


def _job(
    name: str,
    experiment: config.Experiment,
    dataset: config.Dataset,
    results: Path,
    annotations: Mapping[str, Path],
    features: Sequence[Path],
    made_from: Mapping[str, str],
    device: str,
) -> Job:
    # The library that multiplies matrices on a GPU reads this once; without it equal runs differ in their last bits.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from pipeline.training.runs import Job

    return Job(
        name=name,
        experiment=experiment,
        dataset=dataset,
        features=_features(name, experiment),
        annotations={split: provenance.files_behind(path)[0] for split, path in annotations.items()},
        families=_folders(name, experiment, dataset),
        manifests=features,
        made_from=made_from,
        folder=results / "runs" / name,
        device=device,
    )


def _digest(value: Any) -> str:
    text = json.dumps({"revision": provenance.REVISIONS["train"], **value}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
