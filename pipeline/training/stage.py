"""The train and predict stages: what they depend on and what they record. Heavy modules are imported only for work."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline import devices, provenance, recorded_settings, stage_requests
from pipeline.layout import annotations_by_split
from pipeline.manifests import input_digests, listed_or_itself
from pipeline.stage_settings import Predict, Train
from pipeline.stages import StageJob

if TYPE_CHECKING:
    from pipeline.training.runs import Job


def train(job: StageJob[Train]) -> bool:
    """Train one part of an experiment's runs. Returns whether there was work.

    The epoch is selected on val. Only the stores of the experiment's families count as inputs. Raises PipelineError for
    a part that the experiment does not have, for a split or family that is missing and, after all other runs, for runs
    that failed.
    """
    want = stage_requests.train(job)

    def work() -> provenance.Outcome:
        runs = stage_requests.runs_of_part(job)
        digests = input_digests(want.inputs, want.only)
        made_from = {run: _digest(_of_run(want, run) | {"inputs": digests}) for run in runs}
        with devices.claimed_for_torch() as device:
            from pipeline.training.runs import train_all

            return train_all(_runs_of(job, made_from, device), runs)

    return provenance.run_request(want, job.manifest, work)


def predict(job: StageJob[Predict]) -> bool:
    """Predict the splits of the annotations with every run, both of its epochs. Returns whether there was work.

    Writes {results}/runs/{experiment}/{run}/predictions/{split}-{epoch}.jsonl, rows in annotation order. Raises
    PipelineError for a family or weights that are missing, and for runs that were trained with other settings than the
    experiment has.
    """
    experiment = job.settings.experiment
    recorded_settings.recorded_settings(job.about["experiment"], experiment, job.inputs["runs"])

    def work() -> provenance.Outcome:
        with devices.claimed_for_torch() as device:
            from pipeline.training.runs import predict_all

            return predict_all(_runs_of(job, {}, device), experiment.runs)

    return provenance.run_request(stage_requests.predict(job), job.manifest, work)


def _runs_of(job: StageJob[Train], made_from: Mapping[str, str], device: str) -> Job:
    # cuBLAS reads this variable once, at its start. Without it equal runs differ in their last bits.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from pipeline.training.runs import Job

    name, experiment = job.about["experiment"], job.settings.experiment
    annotations = annotations_by_split(job.inputs["annotations"])
    return Job(
        name=name,
        experiment=experiment,
        features=stage_requests.features_of(name, experiment),
        dataset=job.settings.dataset,
        annotations={split: listed_or_itself(path)[0] for split, path in annotations.items()},
        places=stage_requests.store_places(job),
        fill=stage_requests.fill_places(job),
        manifests=job.inputs["features"],
        made_from=made_from,
        layout=job.layout,
        device=device,
    )


def _of_run(want: provenance.StageRequest, run: str) -> dict[str, Any]:
    """Return the settings of one run without those of the others, so that a change of other runs does not train this
    run again."""
    return {**stage_requests.number_settings(want), "runs": {run: want.settings["runs"][run]}}


def _digest(value: Any) -> str:
    text = json.dumps({"revision": provenance.STAGES["train"], **value}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
