"""What each command of the command line does: take the options apart, call one stage.

Everything beyond the floor-1 and floor-2 modules is imported inside its command, so that a command pays only for what
it runs.
"""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from pipeline import config, provenance
from pipeline.errors import PipelineError


def annotate(options: Namespace) -> None:
    """Released annotations to the common form."""
    from pipeline.datasets.annotations import annotations

    annotations(options.results, options.dataset, options.split, _file(options.fetched), options.manifest)


def score(options: Namespace) -> None:
    """Score every run of an experiment."""
    from pipeline.evaluation.stage import score_experiment

    score_experiment(
        options.results,
        options.experiment,
        _experiment(options),
        options.split,
        options.predictions,
        options.annotations,
        options.manifest,
    )


def evaluate(options: Namespace) -> None:
    """Score one prediction file and print its headline."""
    from pipeline.evaluation import format_headline, score_files

    files = (options.dataset, options.predictions, options.annotations, options.output)
    print(format_headline(score_files(*files, despite_errors=options.despite_errors)))


def validate(options: Namespace) -> None:
    """Print all findings about one prediction file. Raises PipelineError when there are errors among them."""
    from pipeline.evaluation import format_findings, validate_files

    findings = validate_files(options.dataset, options.predictions, options.annotations)
    print(format_findings(findings) or "no findings")
    if n := sum(finding.level == "E" for finding in findings):
        raise PipelineError(f"{n} errors", where=options.predictions, remedy="correct them; warnings may stay")


def compare(options: Namespace) -> None:
    """Print the paired comparison of two prediction files."""
    from pipeline.evaluation import compare_files, format_comparison

    rows = compare_files(
        options.dataset, options.a, options.b, options.annotations, resamples=options.resamples, seed=options.seed
    )
    print(format_comparison(rows, str(options.a), str(options.b)))


def schema(options: Namespace) -> None:  # noqa: ARG001 - every command has this form
    """Print the JSON schema of config.yaml."""
    print(config.schema(), end="")


def _settings(options: Namespace) -> dict[str, Any]:
    """`--settings` as a dict. Raises PipelineError for text that is no JSON object."""
    try:
        settings = json.loads(options.settings)
    except ValueError as error:
        raise PipelineError(f"is no JSON ({error})", where="--settings", remedy="pass a JSON object") from error
    if not isinstance(settings, dict):
        raise PipelineError("is no JSON object", where="--settings", remedy='pass {"dataset": …}')
    return settings


def _setting(options: Namespace, key: str) -> str:
    """One section of `--settings`, as JSON text. Raises PipelineError where it is missing."""
    settings = _settings(options)
    if key not in settings:
        raise PipelineError(f"has no `{key}`", where="--settings", remedy="pass what the rule of this stage passes")
    return json.dumps(settings[key])


def _experiment(options: Namespace) -> config.Experiment:
    return config.section(config.Experiment, _setting(options, "experiment"))


def _dataset(options: Namespace) -> config.Dataset:
    return config.section(config.Dataset, _setting(options, "dataset"))


def _file(path: Path) -> Path:
    """The one file behind a `fetch` manifest; any other path stands for itself."""
    return provenance.files_of(path)[0] if path.suffix == ".json" else path

# STUBS
def fetch(options): ...
def unpack(options): ...
def videos(options): ...
def segment(options): ...
def probe(options): ...
def features_extract(options): ...
def features_import(options): ...
def train(options): ...
def predict(options): ...
def tabulate(options): ...
def show(options): ...
def demo(options): ...
