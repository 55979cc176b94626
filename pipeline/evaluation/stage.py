"""The score stage scores every run of an experiment on one split, at the last and the selected epoch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pipeline import files, progress, provenance, recorded_settings, records, stage_requests
from pipeline.config import Experiment
from pipeline.errors import PipelineError
from pipeline.evaluation.report import format_headline, score_files
from pipeline.evaluation.scoring import Result
from pipeline.layout import queries_path_of
from pipeline.layout.places import MetricsFile, PredictionFile
from pipeline.layout.runs import RELEASED_RUN
from pipeline.manifests import files_of, refuse_damaged
from pipeline.stage_settings import Score
from pipeline.stages import StageJob


def score_experiment(job: StageJob[Score]) -> bool:
    """Score the predictions of a split into {results}/metrics/{experiment}/{run}/{split}-{epoch}.json.

    Queries of vids under `skip`, and those that the manifest of `predict` lists as left out, are not scored. The
    metrics files say how many queries were scored. Returns whether there was work to do. Raises PipelineError if a run
    has no predictions for the split, for runs that were trained with other settings than the experiment has, and for a
    prediction file that does not fit the annotations.
    """
    name, split = job.about["experiment"], job.about["split"]
    experiment, predictions = job.settings.experiment, job.input("predictions")
    if experiment.source != "predictions":
        recorded_settings.recorded_settings(name, experiment, [predictions])
    found = _prediction_files(experiment, split, predictions)

    def work() -> provenance.Outcome:
        truth = files_of(job.input("annotations"))[0]
        skipped = _skipped(experiment, predictions, truth, job.settings.skip)
        made: list[Path] = []
        for (run, epoch), file in progress.lines(found.items(), unit="prediction file", what=f"{name}, {split}"):
            output = job.layout.metrics(name, run, split, epoch)
            domain = _domain(experiment, run)
            score_files(experiment.dataset, file, truth, output, domain=domain, skipped=skipped)
            made += [output, queries_path_of(output)]
        return provenance.Outcome(made, {"runs": len({run for run, _ in found}), "files": len(found)})

    return provenance.run_request(stage_requests.score(job), job.manifest, work)


def _skipped(experiment: Experiment, predictions: Path, truth: Path, skip: Collection[str]) -> set[str]:
    """Return the qids, as text, that are not scored: the config skips their video, or a manifest lists their features
    as missing."""
    by_choice = {str(row["qid"]) for _, row in records.read_jsonl(truth) if row.get("vid") in skip} if skip else set()
    if experiment.source == "predictions":
        return by_choice
    recorded = files.read_json(predictions, files.MADE_HERE)["skipped"]
    return by_choice | {str(row["qid"]) for row in recorded if "qid" in row}


def texts(manifest: Path) -> str:
    """Return the headline numbers of every run behind a manifest of `score`, at its selected epoch, for a terminal.

    Raises PipelineError for a manifest that does not name its dataset, and if a file that it lists was changed.
    """
    try:
        dataset = files.read_json(manifest)["settings"]["dataset"]
    except (KeyError, TypeError) as error:
        what = "does not say from which dataset its numbers are"
        raise PipelineError(what, where=manifest, remedy=files.MADE_HERE) from error
    refuse_damaged([manifest])
    shown = []
    for path in files_of(manifest):
        of_run = MetricsFile.of(path)
        if of_run is not None and of_run.epoch == "selected":
            queries = [row for _, row in records.read_jsonl(queries_path_of(path))]
            shown.append(f"{of_run.run}, {format_headline(Result(dataset, files.read_json(path), queries))}")
    return "\n".join(shown)


def _prediction_files(experiment: Experiment, split: str, predictions: Path) -> dict[tuple[str, str], Path]:
    """Return (run, epoch) → prediction file, for all runs and epochs."""
    listed = files_of(predictions)
    if experiment.source == "predictions":
        return {(RELEASED_RUN, "selected"): listed[0]}
    places = {path: PredictionFile.of(path) for path in listed}
    found = {(of.run, of.epoch): path for path, of in places.items() if of is not None and of.split == split}
    if missing := set(experiment.runs) - {run for run, _ in found}:
        raise PipelineError(
            f"no {split} predictions of {', '.join(sorted(missing))}", where=predictions, remedy="predict again"
        )
    return found


def _domain(experiment: Experiment, run: str) -> str | None:
    return None if run == RELEASED_RUN else experiment.domain_of(run)
