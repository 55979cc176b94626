"""The settings of every stage: what a rule writes into `--settings`, and what the command reads from there.

The workflow makes the same models for its plan. What can change a result is taken from them into the manifest, by
`asked.py`. An unknown or missing key is refused. The defaults are those with which a command may be called by hand.
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
    """A stage without settings."""


class Fetch(Strict):
    """How a file is fetched."""

    acquire: Acquire = Acquire()


class Annotate(Strict):
    """Which videos a rehearsal works on."""

    sample: float | None = None
    """Share of the videos; with null all are used."""


class Videos(Strict):
    """Where the videos of a dataset come from."""

    dataset: Dataset
    acquire: Acquire
    seconds_per_video: float = Encoding().seconds_per_video
    """Seconds that the reading of one video may take, as its decoding."""


class Segment(Strict):
    """The grids on which videos are divided into clips."""

    grids: Annotated[tuple[Grid, ...], Field(min_length=1), AfterValidator(_each_once)]
    """The grids of the families that are made here, each once, sorted."""
    clip: Grid = "2s"
    """The grid of the labels."""


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


class OwnFile(Strict):
    """What is made of one file of the user's own, beside the workflow (`features extract --video`)."""

    family: FamilyName
    """The family to make. It must be made of a video or of its sound."""
    grid: Grid = "2s"
    """The grid of the rows."""
    weights: RandomOrReleased = "released"
    """Whether the weights are the released ones or random ones, `random:SEED`."""


def read(stage: str, text: str) -> Any:
    """The settings of a stage out of `--settings`.

    Raises PipelineError for text that is no JSON, and for a key that is unknown, missing or does not fit.
    """
    kind: type[Strict] = STAGES[stage].settings_class()
    keys = ", ".join(f"`{key}`" for key in kind.model_fields)
    remedy = f"pass a JSON object with {keys}, as the rule of this stage does" if keys else "leave `--settings` out"
    return config.section(kind, text, remedy)


def own_file(family: str, grid: str | None, seed: int | None) -> OwnFile:
    """Return what is made of a file of the user's own. seed: that of random weights; None takes the released ones.

    Raises PipelineError for a value that does not fit.
    """
    given = {"family": family, "weights": "released" if seed is None else f"random:{seed}"}
    text = json.dumps(given | ({"grid": grid} if grid else {}))
    return config.section(OwnFile, text, "correct that option and run again", "the options of a file of your own")


def write(settings: Strict) -> str:
    """The settings of a stage as a rule passes them: JSON."""
    return json.dumps(settings.model_dump(mode="json"))
