"""The settings of every stage: what a rule writes into `--settings`, and what the command reads from there.

The workflow makes the same models for its plan. What can change a result is taken from them into the manifest, by
`asked.py`. An unknown or missing key is refused. The defaults are those with which a command may be called by hand.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from pipeline import config
from pipeline.config import Acquire, Dataset, Encoding, Experiment, FamilyName
from pipeline.settings import Strict
from pipeline.stages import STAGES

Families = Annotated[list[FamilyName], Field(min_length=1)]


class Nothing(Strict):
    """A stage without settings."""


class Fetch(Strict):
    """How a file is fetched."""

    acquire: Acquire = Acquire()


class Videos(Strict):
    """Where the videos of a dataset come from."""

    dataset: Dataset
    acquire: Acquire


class Extract(Strict):
    """Which families one reader makes, and how."""

    dataset: Dataset
    families: Families
    encoding: Encoding


class ImportArchive(Strict):
    """Which families are taken from a released archive."""

    dataset: Dataset
    families: Families


class Train(Strict):
    """What the runs of an experiment are made with."""

    experiment: Experiment
    dataset: Dataset


class Predict(Train):
    """What the runs of an experiment were made with."""


class Score(Strict):
    """Whose predictions are scored. skip: vids that no stage uses."""

    experiment: Experiment
    skip: tuple[str, ...] = ()


class Tabulate(Strict):
    """The experiments that a table shows, and whose tables these are."""

    title: str
    experiments: dict[str, Experiment]


class Page(Tabulate):
    """The experiments that the report shows, and whose report it is."""


class Draw(Strict):
    """The experiment whose learning curves are drawn."""

    experiment: Experiment


def read(stage: str, text: str) -> Any:
    """The settings of a stage out of `--settings`.

    Raises PipelineError for text that is no JSON, and for a key that is unknown, missing or does not fit.
    """
    kind: type[Strict] = STAGES[stage].settings_class()
    keys = ", ".join(f"`{key}`" for key in kind.model_fields)
    remedy = f"pass a JSON object with {keys}, as the rule of this stage does" if keys else "leave `--settings` out"
    return config.section(kind, text, remedy)


def write(settings: Strict) -> str:
    """The settings of a stage as a rule passes them: JSON."""
    return json.dumps(settings.model_dump(mode="json"))
