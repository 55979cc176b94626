"""The score stage scores every run of an experiment on one split, at the last and the selected epoch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pipeline import asked, behind, files, progress, provenance, records
from pipeline.config import Experiment
from pipeline.errors import PipelineError
from pipeline.evaluation.report import format_headline, queries_beside, score_files
from pipeline.evaluation.scoring import Result

RELEASED_RUN = "released"
"""The run name that stands for a prediction file that its authors released."""


def score_experiment(
    results: Path,
    name: str,
    experiment: Experiment,
    split: str,
    predictions: Path,
    annotations: Path,
    manifest: Path,
    skip: Collection[str] = (),
) -> bool:
    """Score what `predictions` lists for `split` into {results}/metrics/{name}/{run}/{split}-{epoch}.json.

    predictions: manifest of the predict stage, or of the fetched file for `source: predictions`. annotations: manifest
    of the split. epoch: `selected` or `last`. skip: vids that no stage uses. Queries of theirs, and those that the
    manifest of `predict` lists as left out, are not scored, and the numbers say on how many they stand.
    Returns whether there was work to do. Raises PipelineError where a run has no predictions for the split, for
    runs that were trained with other settings than the experiment has, and for a
    prediction file that does not fit the annotations.
    """
    if experiment.source != "predictions":
        behind.settings_behind(name, experiment, [predictions])
    found = _prediction_files(experiment, split, predictions)

    def work() -> provenance.Outcome:
        truth = provenance.files_of(annotations)[0]
        left_out = _left_out(experiment, predictions, truth, skip)
        made: list[Path] = []
        for (run, epoch), file in progress.lines(found.items(), unit="prediction files", what=f"{name}, {split}"):
            output = results / "metrics" / name / run / f"{split}-{epoch}.json"
            domain = _domain(experiment, run)
            score_files(experiment.dataset, file, truth, output, domain=domain, left_out=left_out)
            made += [output, output.with_suffix(".queries.jsonl")]
        return provenance.Outcome(made, {"runs": len({run for run, _ in found}), "files": len(found)})

    want = asked.score(name, experiment, split, predictions, annotations, skip)
    return provenance.run_asked(want, manifest, work)


def _left_out(experiment: Experiment, predictions: Path, truth: Path, skip: Collection[str]) -> set[str]:
    """Return the qids, as text, that are not scored: the config skips their video, or their features are on record
    as missing."""
    by_choice = {str(row["qid"]) for _, row in records.read_jsonl(truth) if row.get("vid") in skip} if skip else set()
    if experiment.source == "predictions":
        return by_choice
    skipped = files.read_json(predictions, files.MADE_HERE)["skipped"]
    return by_choice | {str(row["qid"]) for row in skipped if "qid" in row}


def texts(manifest: Path) -> str:
    """Return the headline numbers of every run behind a manifest of `score`, at its selected epoch, for a terminal."""
    dataset = files.read_json(manifest)["settings"]["dataset"]
    shown = []
    for path in provenance.files_of(manifest):
        if path.stem.endswith("-selected"):
            queries = [row for _, row in records.read_jsonl(queries_beside(path))]
            shown.append(f"{path.parent.name}, {format_headline(Result(dataset, files.read_json(path), queries))}")
    return "\n".join(shown)


def _prediction_files(experiment: Experiment, split: str, predictions: Path) -> dict[tuple[str, str], Path]:
    """Return (run, epoch) → prediction file, for all runs and epochs."""
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
