"""The part of config.yaml about one experiment: its features, its method, its schedule, and its runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from pipeline import datasets
from pipeline.config_names import DatasetName, DomainName, FamilyName, Model
from pipeline.datasets import DATASETS, definition
from pipeline.families import FAMILIES
from pipeline.layout.runs import RunId
from pipeline.settings import NO_SWITCH, Positive, Strict, Weight


def _each_once(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is named twice")
    return seeds


Seeds = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**63), NO_SWITCH]], Field(min_length=1), AfterValidator(_each_once)
]

SEEDS = [2017, 0, 1]
"""The default seeds of an experiment. There are as many as a verdict needs (`docs/statistics.md`)."""

PLACES: dict[str | None, str] = {"frames224": "video", "native": "video", "sound": "audio", "words": "text"}
"""Reader of a family → the key of `features` that the family belongs under.

A family that exists only in an archive has no reader, so this table does not give its key.
"""


class Training(Strict):
    """One training schedule. It counts epochs, not steps."""

    epochs: Annotated[int, Field(ge=0), NO_SWITCH] = 200
    """Number of epochs to train. With 0 the untrained network is used."""
    batch_size: Positive = 32
    """Number of queries per step. The last batch of an epoch may be smaller and is used too."""
    learning_rate: Annotated[float, Field(gt=0), NO_SWITCH] = 1e-4
    """Learning rate at the start, or after the warm-up of a method that has one."""
    weight_decay: Weight = 1e-4
    """Weight decay of the optimizer. The optimizer of the method decides how it is applied."""
    drop_learning_rate_after: Positive = 400
    """Number of epochs after which the learning rate is divided by ten. It is divided again after each further period
    of this length."""
    gradient_clip: Annotated[float, Field(gt=0), NO_SWITCH] | None = 0.1
    """Largest norm of all gradients together. Gradients with a larger norm are scaled down to it. With null no gradient
    is scaled."""
    evaluate_every: Positive = 5
    """Number of epochs between two evaluations on val. The best evaluation selects the epoch. The last epoch is
    always evaluated."""
    evaluation_batch_size: Positive = 100
    """Number of queries per batch when predicting. Where the released system lets padding into its results, it
    changes the numbers. Most released systems use 100. If a method uses another number, that is its default."""
    stop_after_evaluations_without_gain: Positive | None = None
    """Training stops after this many evaluations without a better one. With null it does not stop before the last
    epoch."""
    max_clips: Positive | None = 75
    """Largest number of clips of a video. Clips after that are cut off. With null all clips are kept."""
    max_tokens: Positive | None = 32
    """Largest number of tokens of a query. Tokens after that are cut off. With null all tokens are kept."""
    normalise_text: bool | None = None
    """If true, the vector of each word is scaled to length 1. With null this follows the released system of the
    method: most of them do it for all datasets but TVSum, UniVTG does it for all, and UMT for none."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of matrix products while training. bfloat16 uses torch's autocast."""
    max_windows: Positive = 5
    """Largest number of windows of one query that a step learns from. If a query has more windows, this many of them
    are drawn at random."""


class Features(Strict):
    """The feature families that a run reads. Video families are concatenated in this order."""

    video: Annotated[list[FamilyName], Field(min_length=1)]
    """Families of the video. At least one must be named."""
    audio: list[FamilyName] = []
    """Families of the sound. An empty list means that no audio is read."""
    text: FamilyName = "clip-text"
    """The family of the words of a query."""

    @model_validator(mode="after")
    def _each_in_its_place(self) -> Features:
        for place, families in {"video": self.video, "audio": self.audio, "text": [self.text]}.items():
            for family in families:
                if (fitting := PLACES.get(FAMILIES[family].reader)) not in (place, None):
                    raise ValueError(f"{family} is none of `{place}`: name it under `{fitting}`")
        if twice := {family for family in self.all if self.all.count(family) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is named twice")
        return self

    def recorded(self) -> dict[str, Any]:
        """Return what a manifest records: the families, and those other keys that differ from their defaults."""
        return {"video": self.video, "audio": self.audio, "text": self.text} | self.changes()

    @property
    def all(self) -> list[str]:
        """Names of all families, the video families first."""
        return [*self.video, *self.audio, self.text]


def _as_written(schema: dict[str, Any]) -> None:
    """Remove `model` and `training` from the required keys of the schema. The file may leave them out, because they are
    filled in before validation."""
    schema["required"] = [key for key in schema["required"] if key not in ("model", "training")]


class SweepPoint(Strict):
    """The settings that one point of a sweep changes."""

    model_config = ConfigDict(json_schema_extra=_as_written)

    model: Model
    """Settings of the method. Keys that are left out have the values of the experiment."""
    training: Training
    """The training schedule. Keys that are left out have the values of the experiment."""

    def recorded(self) -> dict[str, Any]:
        """Return what a manifest records of one run: the settings that differ from the defaults, and the method with
        its revision."""
        return {"model": self.model.recorded(), "training": self.training.changes()}

    @classmethod
    def from_recorded(cls, recorded: Mapping[str, Any]) -> SweepPoint:
        """Rebuild the settings from what `recorded` returned. Raises ValidationError or KeyError for anything else."""
        model = {key: value for key, value in recorded["model"].items() if key != "revision"}
        return cls.model_validate({"model": model, "training": recorded["training"]})


def _released_only(name: str) -> str:
    substitutes = [other for other, kind in FAMILIES.items() if kind.instead_of == name]
    instead = f", or {' or '.join(substitutes)}, which stands in for it" if substitutes else ""
    return f"{name} is released only and cannot be made from raw: use `source: features` with `archive: NAME`{instead}"


def _number(value: Any) -> Any:
    """Return the number that a text of digits stands for. Snakemake reads numbers inside a `--config` value as text."""
    return int(value) if isinstance(value, str) and value in ("1", "2", "3", "4") else value


class Experiment(Strict):
    """One row of a table (or several rows, with `sweep` or domains), and the settings with which it is made."""

    model_config = ConfigDict(json_schema_extra=_as_written)

    table: Annotated[Literal[1, 2, 3, 4], BeforeValidator(_number), NO_SWITCH] | None = None
    """The table of the paper that shows the experiment. With null no table shows it."""
    row: str | None = None
    """Key of the row in published.csv. `{point}` stands for the name of the sweep point."""
    dataset: DatasetName
    """The dataset of all runs."""
    source: Literal["raw", "features", "predictions"] = "raw"
    """The start of the runs: raw videos, a released feature archive, or released prediction files."""
    archive: str | None = None
    """The archive that `source: features` reads: a name in sources.csv."""
    predictions: dict[Literal["val", "test"], str] = {}
    """The prediction files that `source: predictions` reads: split → a name in sources.csv."""
    features: Features | None = None
    """The feature families that the runs read. Only `source: predictions` needs none."""
    model: Model
    """Settings that differ from the `model` of the file and of the dataset."""
    training: Training
    """Settings that differ from the `training` of the dataset."""
    sweep: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9.]{1,100}$")], SweepPoint] = {}
    """Name of a sweep point → the settings that it changes in this experiment's `model` and `training`."""
    domains: list[DomainName] = []
    """The domains to run, of a dataset that is trained by domain (TVSum). An empty list means all of them."""
    report: Literal["val", "test"] = "val"
    """The split whose numbers the table shows. With `val` the epoch was selected on the reported split itself."""
    seeds: Seeds = SEEDS
    """Random seeds, with one run for each. An experiment without this key has the list at the top of the file."""
    jobs: Positive = 1
    """Number of jobs among which the runs are divided. Each job has one GPU. There are never more jobs than runs. An
    experiment without this key has the number at the top of the file."""
    note: str | None = None
    """A remark that every table prints with the row."""

    @model_validator(mode="after")
    def _fits_its_source(self) -> Experiment:
        if self.source == "predictions" and self.report not in self.predictions:
            raise ValueError(
                f"`source: predictions` needs `predictions: {{{self.report}: NAME}}` (a name in sources.csv)"
            )
        if self.source != "predictions" and self.features is None:
            raise ValueError(f"`source: {self.source}` needs `features: {{video: [...], text: ...}}`")
        if self.source == "features" and not self.archive:
            raise ValueError("`source: features` needs `archive: NAME` (a name in sources.csv)")
        if self.source != "features" and self.archive:
            raise ValueError(f"`source: {self.source}` reads no `archive`: write `source: features`, or leave it out")
        for family in self.made:
            if FAMILIES[family].reader is None:
                raise ValueError(_released_only(family))
        if self.domains and not self.about.domains:
            by_domain = ", ".join(name for name, dataset in DATASETS.items() if dataset.domains)
            raise ValueError(f"`domains` belong to {by_domain}, and `dataset` is {self.dataset}: leave them out")
        if foreign := [domain for domain in self.domains if domain not in self.about.domains]:
            raise ValueError(f"`domains`: {', '.join(foreign)} is none of {', '.join(self.about.domains)}")
        if self.sweep and self.source == "predictions":
            raise ValueError("`source: predictions` trains nothing that a `sweep` could change: leave `sweep` out")
        if self.row is not None and self.table is None:
            raise ValueError(f"`row` is {self.row!r} and no `table` is named: add `table`, or leave `row` out")
        if len(set(self.domains)) < len(self.domains):
            raise ValueError(f"a domain is named twice (`domains: {self.domains}`)")
        return self

    @model_validator(mode="after")
    def _changes_what_is_read(self) -> Experiment:
        has = {"moments": self.moments, "highlights": self.about.highlights is not None, "audio": self.hears}
        for settings in self.settings:
            for key in settings.model.never_read(**has):
                raise ValueError(self._read_by_nothing(key, settings.model.needs[key]))
        return self

    def _read_by_nothing(self, key: str, needed: str) -> str:
        if needed == "audio":
            return f"`model.{key}` is read by nothing here, because `features` names no audio: leave it out"
        lacking = {"moments": "moments", "highlights": "rated clips"}[needed]
        return (
            f"`model.{key}` is read by nothing on {self.dataset}, which has no {lacking}: leave it out here, and "
            "name it under `model_by_dataset` for the datasets that have them"
        )

    def recorded(self) -> dict[str, Any]:
        """Return the record of the experiment in the manifest of a table or a figure: the keys that differ from their
        defaults, the settings of the method and the schedule in the form that runs record, and the names of the
        runs."""
        sections = {"model": self.model.recorded(), "training": self.training.changes(), "runs": self.runs}
        sweep = {point: settings.recorded() for point, settings in self.sweep.items()}
        return self.changes() | sections | ({"sweep": sweep} if sweep else {})

    @property
    def hears(self) -> bool:
        """Tell whether the runs read audio."""
        return bool(self.features and self.features.audio)

    @property
    def about(self) -> definition.Dataset:
        """Return the object of the dataset, which has everything that depends on the dataset."""
        return datasets.get(self.dataset)

    @property
    def archived(self) -> list[str]:
        """Names of the families that are read from `archive`. The other families are made here."""
        families = self.features.all if self.features and self.source == "features" else []
        return [family for family in families if not FAMILIES[family].from_word_table]

    @property
    def made(self) -> list[str]:
        """Names of the families that are made here, from videos, sounds or queries."""
        families = self.features.all if self.features and self.source != "predictions" else []
        return [family for family in families if family not in self.archived]

    @property
    def run_domains(self) -> list[str]:
        """Names of the domains to train on: a dataset with domains is trained once per domain, other datasets once on
        everything (`all`)."""
        return list(self.domains or self.about.run_domains)

    @property
    def runs(self) -> list[str]:
        """Names of all runs, `{point-}{domain or all}-s{seed}`, in a fixed order."""
        points = list(self.sweep) or [""]
        return [str(RunId(seed, d, p)) for p in points for d in self.run_domains for seed in self.seeds]

    @property
    def n_parts(self) -> int:
        """Number of jobs that have at least one run."""
        return min(self.jobs, len(self.runs))

    @property
    def parts(self) -> list[str]:
        """Names of the jobs, `{k}of{n}`, in a fixed order."""
        return [f"{k}of{self.n_parts}" for k in range(1, self.n_parts + 1)]

    def domain_of(self, run: str) -> str | None:
        """Return the domain of a run, or None for a dataset without domains. run: one of the names in `runs`."""
        return RunId.parse(run).domain if self.about.domains else None

    @property
    def moments(self) -> bool:
        """Tell whether the dataset has windows to learn from."""
        return self.about.moments

    @property
    def settings(self) -> list[SweepPoint]:
        """Model and training settings of every point of the sweep, or of the experiment when it has no sweep."""
        return list(self.sweep.values()) or [SweepPoint(model=self.model, training=self.training)]

    def settings_of(self, run: str) -> SweepPoint:
        """Return model and training settings of one run. run: one of the names in `runs`."""
        return self.sweep.get(RunId.parse(run).point) or SweepPoint(model=self.model, training=self.training)
