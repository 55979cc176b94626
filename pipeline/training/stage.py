"""The train and predict stages: what they depend on and what they record. Heavy modules are imported only for work."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import asked, behind, config, devices, provenance
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.training.runs import Job


def part_from(text: str, jobs: int) -> int:
    """Read `KofN` as a part's number, counted from 0. Raises PipelineError when N is not `jobs` or K is not in 1 …
    N."""
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
    """Train every `jobs`-th run of an experiment, from the `part`-th on (counted from 0). Returns whether there was
    work.

    annotations: manifests (or JSONL files) of train and val; val selects the epoch. features: manifests, of which only
    the stores of the experiment's families count. Raises PipelineError for a split or family that is missing and, after
    all other runs, for runs that failed.
    """
    runs = experiment.runs[part :: experiment.n_parts]
    want = asked.train(name, experiment, dataset, part, annotations, features)

    def work() -> provenance.Outcome:
        digests = provenance.input_digests(want.inputs, want.under)
        made_from = {run: _digest(_of_run(want, run) | {"inputs": digests}) for run in runs}
        with devices.claimed_for_torch() as device:
            from pipeline.training.runs import train_all

            return train_all(_job(name, experiment, dataset, results, annotations, features, made_from, device), runs)

    return provenance.run_asked(want, manifest, work)


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
    """Predict the splits of `annotations` with every run, at the selected and the last epoch. Returns whether there was
    work.

    runs: manifests of all parts of the training. Writes {results}/runs/{name}/{run}/predictions/{split}-{epoch}.jsonl,
    rows in annotation order. Raises PipelineError for a family or weights that are missing, and for runs that were
    trained with other settings than the experiment has.
    """
    behind.settings_behind(name, experiment, runs)
    want = asked.predict(name, experiment, dataset, annotations, runs, features)

    def work() -> provenance.Outcome:
        with devices.claimed_for_torch() as device:
            from pipeline.training.runs import predict_all

            job = _job(name, experiment, dataset, results, annotations, features, {}, device)
            return predict_all(job, experiment.runs)

    return provenance.run_asked(want, manifest, work)


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
    # cuBLAS reads this variable once, at its start. Without it equal runs differ in their last bits.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from pipeline.training.runs import Job

    return Job(
        name=name,
        experiment=experiment,
        features=asked.features_of(name, experiment),
        dataset=dataset,
        annotations={split: provenance.files_behind(path)[0] for split, path in annotations.items()},
        families=asked.folders(name, experiment, dataset),
        manifests=features,
        made_from=made_from,
        folder=results / "runs" / name,
        device=device,
    )


def _of_run(want: provenance.Asked, run: str) -> dict[str, Any]:
    """Return the settings of one run alone, so that a change of the experiment's other runs does not make it train
    again."""
    return {**want.settings, "runs": {run: want.settings["runs"][run]}}


def _digest(value: Any) -> str:
    text = json.dumps({"revision": provenance.REVISIONS["train"], **value}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
