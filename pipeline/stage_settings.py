"""The settings of every stage. A rule writes them into `--settings`, and the command reads them from there.

The workflow makes the same models for its plan. `stage_requests.py` takes those settings that can change a result into
the manifest. An unknown or missing key is refused. A key has a default only if the command may be called by hand
without it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pipeline import config
from pipeline.config import Acquire, Dataset, Encoding, Experiment, FamilyName, RandomOrReleased
from pipeline.settings import Grid, Strict
from pipeline.stages import STAGES

Families = Annotated[list[FamilyName], Field(min_length=1)]


def _each_once(grids: tuple[Grid, ...]) -> tuple[Grid, ...]:
    return tuple(sorted(set(grids)))


class Nothing(Strict):
    """The settings of a stage that has none."""


class Fetch(Strict):
    """The settings with which a file is fetched."""

    acquire: Acquire = Acquire()


class Annotate(Strict):
    """The share of the videos that a rehearsal uses."""

    sample: float | None = None
    """Share of the videos; with null all are used."""


class Videos(Strict):
    """The sources of the videos of a dataset."""

    dataset: Dataset
    acquire: Acquire


class Segment(Strict):
    """The grids on which videos are divided into clips."""

    grids: Annotated[tuple[Grid, ...], Field(min_length=1), AfterValidator(_each_once)]
    """The grids of the families that are made here, each once, sorted."""
    clip: Grid = "2s"
    """The grid of the labels."""


class Extract(Strict):
    """The families that one reader makes, and the settings for making them."""

    dataset: Dataset
    families: Families
    encoding: Encoding


class ImportArchive(Strict):
    """The families that are taken from a released archive."""

    dataset: Dataset
    families: Families


class Train(Strict):
    """The settings with which the runs of an experiment are trained."""

    experiment: Experiment
    dataset: Dataset


class Predict(Train):
    """The settings with which the runs of an experiment were trained."""


class Score(Strict):
    """The experiment whose predictions are scored. skip: vids that no stage uses."""

    experiment: Experiment
    skip: tuple[str, ...] = ()


class Tabulate(Strict):
    """The experiments that a table shows, and the title of the tables."""

    title: str
    experiments: dict[str, Experiment]


class Page(Tabulate):
    """The experiments that the report shows, and the title of the report."""


class Draw(Strict):
    """The experiment whose learning curves are drawn."""

    experiment: Experiment


class OwnFile(Strict):
    """The settings for features of one file of the user's own, outside the workflow (`features extract --video`)."""

    family: FamilyName
    """The family to make. It must be made of a video or of its sound."""
    grid: Grid = "2s"
    """The grid of the rows."""
    weights: RandomOrReleased = "released"
    """The weights of the family's network: `released`, or random ones (`random:SEED`)."""


def read(stage: str, text: str) -> Any:
    """Return the settings of a stage from the text of `--settings`.

    Raises PipelineError for text that is no JSON, and for a key that is unknown, missing or does not fit.
    """
    kind: type[Strict] = STAGES[stage].settings_class()
    keys = ", ".join(f"`{key}`" for key in kind.model_fields)
    remedy = f"pass a JSON object with {keys}, as the rule of this stage does" if keys else "leave `--settings` out"
    return config.section(kind, text, remedy)


def own_file(family: str, grid: str | None, seed: int | None) -> OwnFile:
    """Return the settings for features of a file of the user's own. seed: the seed of random weights; None for the
    released weights.

    Raises PipelineError for a value that does not fit.
    """
    given = {"family": family, "weights": "released" if seed is None else f"random:{seed}"}
    text = json.dumps(given | ({"grid": grid} if grid else {}))
    return config.section(OwnFile, text, "correct that option and run again", "the options of a file of your own")


def write(settings: Strict) -> str:
    """Return the settings of a stage as JSON, as a rule passes them."""
    return json.dumps(settings.model_dump(mode="json"))
