"""The section of config.yaml about one dataset: how it is fetched, cut into jobs and put on grids."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config_experiment import Experiment
from pipeline.config_names import FamilyName
from pipeline.families import FAMILIES
from pipeline.settings import NO_SWITCH, Grid, Strict
from pipeline.shards import MOST_SHARDS


class Fill(Strict):
    """The archive from which released rows of missing videos are taken, and the families for which this is
    permitted."""

    archive: str
    """Name of a released feature archive in sources.csv."""
    beside: Annotated[list[FamilyName], Field(min_length=1)]
    """The permission: families whose rows from that archive may be used together with rows that are made here. The
    passports of the two differ in their origin, and no test can show that the rows are equal. Every family of video and
    sound of an experiment with `source: raw` must be named, or the config is refused."""


class Dataset(Strict):
    """The settings of one dataset: its sources, the number of its jobs, and its grids."""

    shards: Annotated[int, Field(gt=0, le=MOST_SHARDS), NO_SWITCH] = 32
    """Number of jobs among which its videos are divided."""
    clip: Grid = "2s"
    """The grid of its labels: the length of the clips that people rated."""
    grids: dict[FamilyName, Grid] = {}
    """Family → its grid, for each family that has another grid than the labels."""
    annotations: dict[Literal["train", "val", "test"], str]
    """Split → the name of its annotation file in sources.csv."""
    videos: list[str] = []
    """Names in sources.csv. Each video is taken from the first source that has it."""
    skip: list[str] = []
    """Vids that no stage uses. Their queries are left out everywhere, and every table says how many queries its
    numbers stand on."""
    sample: Annotated[float, Field(gt=0, lt=1), NO_SWITCH] | None = None
    """Share of the videos that a rehearsal works on, such as 0.01. A hash of the name of a video decides whether the
    video is used. Every title then says that no number is comparable. With null all videos are used."""
    missing: Literal["fail", "skip", "fill"] = "fail"
    """The rule for videos of val, or of the reported split, that are missing or cannot be read. With `fail` the
    training does not start. With `skip` their queries are left out, and every table says so. With `fill` the rows of
    missing videos of every split are taken from a released archive, and every table says how many videos these are.
    Videos that the archive lacks too are treated as with `fail`. Missing videos of train that nothing fills are always
    left out."""
    fill: Fill | None = None
    """The archive of `missing: fill`."""

    @model_validator(mode="after")
    def _puts_families_where_they_live(self) -> Dataset:
        for family, grid in self.grids.items():
            own = "tokens" if FAMILIES[family].reader == "words" else FAMILIES[family].grid
            if own not in (None, grid):
                raise ValueError(f"`grids.{family}` is {grid}, and this family exists only on {own}")
        if (self.missing == "fill") != (self.fill is not None):
            needs = "`missing: fill` needs `fill: {archive: NAME, beside: [FAMILY, …]}`"
            raise ValueError(f"{needs}, and `fill` needs `missing: fill`")
        if len(set(self.skip)) < len(self.skip):
            raise ValueError(f"`skip` names a vid twice ({', '.join(self.skip)})")
        return self

    @property
    def fill_archive(self) -> str:
        """The name of the archive that fills missing videos, or '' without one."""
        return self.fill.archive if self.fill else ""

    def filled(self, experiment: Experiment) -> list[str]:
        """Return the families of an experiment whose missing videos are filled: those of video and sound, from raw."""
        if self.fill is None or experiment.source != "raw" or experiment.features is None:
            return []
        return [*experiment.features.video, *experiment.features.audio]

    def grid_of(self, family: str) -> str:
        """Return the grid of one family. Families of words have the grid `tokens`."""
        if FAMILIES[family].reader == "words":
            return "tokens"
        return self.grids.get(family, self.clip)
