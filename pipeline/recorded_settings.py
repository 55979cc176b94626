"""Finds the settings with which predictions, metrics and tables were made. They come from manifests, not from the
config.

A table depends on three stages, and each manifest says what it was made from: metrics name the predictions and the
annotations that they were computed from, predictions name the weights that they were made with, and runs name their
settings. If these do not fit together, numbers of different runs could be in one row, or rows on different annotations
could be compared, so no table is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline import files
from pipeline.config import Experiment, Features, SweepPoint
from pipeline.errors import PipelineError
from pipeline.layout.places import AnnotationFile, RunFile


def skipped_in(card: Mapping[str, Any]) -> Mapping[str, list[dict[str, str]]]:
    """Return split → the queries that a run did not use, each with the reason, from the run's card.

    Older cards have them under `left_out`.
    """
    found: Mapping[str, list[dict[str, str]]] = card.get("skipped") or card.get("left_out") or {}
    return found


def recorded_settings(name: str, experiment: Experiment, runs: Iterable[Path]) -> dict[str, SweepPoint]:
    """Return run → the settings that it was trained with, for one experiment. runs: manifests of train (or predict),
    also of other experiments.

    Raises PipelineError for a manifest without settings, and for a run that was trained with other settings or features
    than the experiment has now, or that is in no manifest.
    """
    made: dict[str, SweepPoint] = {}
    for manifest, content in _read(runs).items():
        settings = content.get("settings", {})
        if settings.get("experiment") != name:
            continue
        remedy = _again(manifest)
        try:
            features = Features.model_validate(settings["features"])
            of_runs = {run: SweepPoint.from_recorded(one) for run, one in settings["runs"].items()}
            revisions = {run: one["model"]["revision"] for run, one in settings["runs"].items()}
        except (KeyError, TypeError, AttributeError, ValidationError) as error:
            raise PipelineError("does not say what its runs were made with", where=manifest, remedy=remedy) from error
        if experiment.features != features:
            raise _differs("features", features.model_dump(), experiment.features, manifest, remedy)
        for run in sorted(of_runs.keys() & set(experiment.runs)):
            now = experiment.settings_of(run)
            _check_equal(run, of_runs[run], now, manifest, remedy)
            if revisions[run] != now.model.revision:
                revision = f"{run}: the revision of {now.model.name}"
                raise _differs(revision, revisions[run], now.model.revision, manifest, remedy)
        made |= of_runs
    if missing := [run for run in experiment.runs if run not in made]:
        where = ", ".join(map(str, runs)) or f"runs of {name}"
        remedy = "name all manifests of `train` (the workflow does), or train them"
        raise PipelineError(f"no run {', '.join(missing)} of {name} is recorded", where=where, remedy=remedy)
    return made


def check_chain(
    experiments: Mapping[str, Experiment], metrics: Iterable[Path], predictions: Iterable[Path], runs: Iterable[Path]
) -> None:
    """Compare the manifests of score, predict and train, experiment by experiment.

    Raises PipelineError, which names both manifests, if metrics were not computed from the present predictions, if
    predictions were not made by the present runs, or if metrics were computed from different annotations or with
    different revisions of `score`. Released predictions must be those that the experiment names.
    """
    scored, predicted, trained = _read(metrics), _read(predictions), _read(runs)
    _check_alike({path: content for name in experiments for path, content in scored.items() if _is_of(name, content)})
    for name, experiment in experiments.items():
        if experiment.source == "predictions":
            for path in _of(name, scored):
                _check_released(path, scored[path], name, experiment)
            continue
        recorded_settings(name, experiment, trained)
        for path in _of(name, scored):
            _check_link(path, scored[path], {p: predicted[p] for p in _of(name, predicted)}, name, "predictions")
        for path in _of(name, predicted):
            _check_link(path, predicted[path], {p: trained[p] for p in _of(name, trained)}, name, "runs")


def _read(manifests: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """Return the content of each manifest. Raises PipelineError for a file that is none."""
    contents: dict[Path, dict[str, Any]] = {}
    for path in map(Path, manifests):
        content = contents[path] = files.read_json(path, _again(path))
        sections = [content.get(key, {}) for key in ("settings", "inputs")] if isinstance(content, dict) else [content]
        if not all(isinstance(section, dict) for section in sections):
            raise PipelineError("is no manifest of this pipeline", where=path, remedy=_again(path))
    return contents


def _of(name: str, manifests: Mapping[Path, Mapping[str, Any]]) -> list[Path]:
    return [path for path, content in manifests.items() if _is_of(name, content)]


def _is_of(name: str, content: Mapping[str, Any]) -> bool:
    return bool(content.get("settings", {}).get("experiment") == name)


def _check_alike(scored: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raise PipelineError if metrics were computed from different annotations of one split, or by different revisions
    of `score`. scored: manifest of `score` → its content."""
    first: dict[object, tuple[Path, Any]] = {}
    for path, content in scored.items():
        read = {file: sha256 for file, sha256 in content.get("inputs", {}).items() if AnnotationFile.of(Path(file))}
        for what, made_from in {**read, "the revision of `score`": content.get("revision")}.items():
            other, theirs = first.setdefault(what, (path, made_from))
            if made_from != theirs:
                remedy = f"make them again: snakemake --cores 1 {other} {path}"
                raise PipelineError(
                    f"cannot be compared with {other}, because {what} differs", where=path, remedy=remedy
                )


def _check_released(path: Path, content: Mapping[str, Any], name: str, experiment: Experiment) -> None:
    """Raise PipelineError if metrics were not computed from the released predictions that an experiment names."""
    named = experiment.predictions.get(content["settings"].get("split", ""))
    read = [Path(file) for file in content.get("inputs", {}) if not AnnotationFile.of(Path(file))]
    if named and named not in [file.parent.name for file in read]:
        found = f"was computed from {', '.join(map(str, read)) or 'no predictions'}"
        raise PipelineError(
            f"{found}, and `experiments.{name}.predictions` names {named}", where=path, remedy=_again(path)
        )


def _check_link(
    path: Path, content: Mapping[str, Any], below: Mapping[Path, Mapping[str, Any]], name: str, kind: str
) -> None:
    """Raise PipelineError if the files of an experiment's runs that a manifest read are not those that the manifests
    below it list."""
    listed = {entry["path"]: entry["sha256"] for one in below.values() for entry in one.get("files", ())}
    places = ", ".join(map(str, below)) or f"no manifest of its {kind}"
    for file, sha256 in content.get("inputs", {}).items():
        of_run = RunFile.of(Path(file))
        if of_run is not None and of_run.experiment == name and listed.get(file) != sha256:
            raise PipelineError(
                f"was made from other {kind} than those of {places} ({file} differs)", where=path, remedy=_again(path)
            )


def _check_equal(run: str, made: SweepPoint, asked: SweepPoint, manifest: Path, remedy: str) -> None:
    if made == asked:
        return
    for section in ("model", "training"):
        was, now = getattr(made, section).model_dump(), getattr(asked, section).model_dump()
        for key in now:
            if was.get(key) != now[key]:
                raise _differs(f"{run}: {section}.{key}", was.get(key), now[key], manifest, remedy)


def _differs(what: str, was: object, now: object, manifest: Path, remedy: str) -> PipelineError:
    return PipelineError(f"{what} is {was} in these runs, and {now} is asked for", where=manifest, remedy=remedy)


def _again(manifest: Path) -> str:
    return f"make it again: snakemake --cores 1 {manifest}"
