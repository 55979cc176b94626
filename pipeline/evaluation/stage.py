"""The score stage: every run of an experiment on one split, last and selected epoch both."""

from __future__ import annotations

from pathlib import Path

from pipeline import files, progress, provenance, records
from pipeline.config import Experiment
from pipeline.errors import PipelineError
from pipeline.evaluation.report import format_headline, queries_beside, score_files
from pipeline.evaluation.scoring import Result

RELEASED_RUN = "released"
"""The run name of a prediction file that its authors released."""


def score_experiment(
    results: Path,
    name: str,
    experiment: Experiment,
    split: str,
    predictions: Path,
    annotations: Path,
    manifest: Path,
) -> bool:
    """Score what `predictions` lists for `split` into {results}/metrics/{name}/{run}/{split}-{epoch}.json.

    predictions: manifest of the predict stage, or of the fetched file for `source: predictions`. annotations: manifest
    of the split. epoch: `selected` or `last`. Returns whether there was work to do. Raises PipelineError where a run
    has no predictions for the split, or for a prediction file that does not fit the annotations.
    """
    found = _prediction_files(experiment, split, predictions)

    def work() -> provenance.Outcome:
        truth = provenance.files_of(annotations)[0]
        made: list[Path] = []
        for (run, epoch), file in progress.lines(found.items(), unit="prediction files", what=f"{name}, {split}"):
            output = results / "metrics" / name / run / f"{split}-{epoch}.json"
            score_files(experiment.dataset, file, truth, output, domain=_domain(experiment, run))
            made += [output, output.with_suffix(".queries.jsonl")]
        return provenance.Outcome(made, {"runs": len({run for run, _ in found}), "files": len(found)})

    under = None if experiment.source == "predictions" else [f"/{split}-", f"/{split}.jsonl"]
    settings = {"experiment": name, "dataset": experiment.dataset, "split": split}
    inputs = [predictions, annotations]
    return provenance.run_stage("score", manifest, work, inputs=inputs, settings=settings, under=under)


def texts(manifest: Path) -> str:
    """The headline numbers of every run behind a manifest of `score`, at its selected epoch, for a terminal."""
    dataset = files.read_json(manifest)["settings"]["dataset"]
    shown = []
    for path in provenance.files_of(manifest):
        if path.stem.endswith("-selected"):
            queries = [row for _, row in records.read_jsonl(queries_beside(path))]
            shown.append(f"{path.parent.name}, {format_headline(Result(dataset, files.read_json(path), queries))}")
    return "\n".join(shown)


def _prediction_files(experiment: Experiment, split: str, predictions: Path) -> dict[tuple[str, str], Path]:
    """(run, epoch) → file."""
    listed = provenance.files_of(predictions)
    if experiment.source == "predictions":
        return {(RELEASED_RUN, "selected"): listed[0]}
    found = {(path.parent.parent.name, path.stem.split("-")[1]): path for path in listed if _is_of(path, split)}
    if missing := set(experiment.runs) - {run for run, _ in found}:
        raise PipelineError(
            f"no {split} predictions of {', '.join(sorted(missing))}", where=predictions, remedy="predict again"
        )
    return found


def _is_of(path: Path, split: str) -> bool:
    return path.parent.name == "predictions" and path.stem.split("-")[0] == split


def _domain(experiment: Experiment, run: str) -> str | None:
    return None if run == RELEASED_RUN else experiment.domain_of(run)
