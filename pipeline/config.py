"""The typed definition of config.yaml: its keys, their defaults, and the values that are refused.

It serves three uses. It validates the file. It resolves every experiment: the defaults of the dataset lie under the
experiment's own keys, and these under the keys of a sweep point. It generates `workflow/schemas/config.schema.json`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from pipeline import config_own, datasets, files, methods, yaml_file
from pipeline.config_checks import unworkable
from pipeline.config_layers import complaint, over_model, resolved, unread_weights
from pipeline.datasets import DATASETS, definition
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.layout import RunId
from pipeline.methods.settings import MethodSettings
from pipeline.settings import Grid, Positive, Strict, Weight

Seed = Annotated[int, Field(ge=0, lt=2**63)]
S = TypeVar("S", bound="Strict")

DOMAINS = tuple(domain for dataset in DATASETS.values() for domain in dataset.domains)
"""The domains of every dataset that is trained by domain."""
PLACES: dict[str | None, str] = {"frames224": "video", "native": "video", "sound": "audio", "words": "text"}
"""Reader of a family → the key of `features` that the family belongs under.

A family that only an archive holds has no reader, so its key cannot be told from this.
"""


def _known_dataset(name: str) -> str:
    if name not in DATASETS:
        raise ValueError(f"no such dataset; known are {', '.join(DATASETS)}")
    return name


def _known_domain(name: str) -> str:
    if name not in DOMAINS:
        raise ValueError(f"no such domain; known are {', '.join(DOMAINS)}")
    return name


def _known_family(name: str) -> str:
    if name not in FAMILIES:
        raise ValueError(f"no such family; known are {', '.join(FAMILIES)}")
    return name


def _released_only(name: str) -> str:
    substitutes = [other for other, kind in FAMILIES.items() if kind.instead_of == name]
    instead = f", or {' or '.join(substitutes)}, which stands in for it" if substitutes else ""
    return f"{name} is released only and cannot be made from raw: use `source: features` with `archive: NAME`{instead}"


def _one_spelling(folder: str) -> str:
    folder = files.expanded(folder)
    if not folder or set("{}") & set(folder):
        raise ValueError("must be the name of a folder, without braces (Snakemake takes them for wildcards)")
    return os.path.normpath(folder)  # To Snakemake `./results` and `results` are two folders, so one spelling is kept.


LocalPath = Annotated[str, AfterValidator(files.expanded)]
DatasetName = Annotated[str, AfterValidator(_known_dataset), Field(json_schema_extra={"examples": list(DATASETS)})]
DomainName = Annotated[str, AfterValidator(_known_domain), Field(json_schema_extra={"enum": list(DOMAINS)})]
FamilyName = Annotated[str, AfterValidator(_known_family), Field(json_schema_extra={"enum": sorted(FAMILIES)})]


class _OneOfTheMethods:
    """The settings of the method that a section names. Only the keys of that method are accepted."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler(methods.settings_class(name)) for name in methods.METHODS}
        return core_schema.tagged_union_schema(choices, discriminator=methods.name_in)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the section for editors. A section that names no method accepts the keys of all methods, because
        another section may name the method."""
        return {"anyOf": handler(schema)["oneOf"]}


Model = Annotated[MethodSettings, _OneOfTheMethods]
"""The section `model`: the settings of one method. Its key `name` says which method."""


class Training(Strict):
    """One training schedule. It counts epochs, not steps."""

    epochs: Annotated[int, Field(ge=0)] = 200
    """Number of epochs to train. With 0 the untrained network is used."""
    batch_size: Positive = 32
    """Number of queries per step. The last batch of an epoch may be smaller and is used too."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Weight = 1e-4
    drop_learning_rate_after: Positive = 400
    """Number of epochs after which the learning rate is divided by ten. It is divided again after each further such
    number."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 0.1
    """Largest norm of all gradients together. Larger gradients are scaled down to it. With null no gradient is
    scaled."""
    evaluate_every: Positive = 5
    """Number of epochs between two evaluations on val. The best evaluation selects the epoch. The last epoch is
    always evaluated."""
    evaluation_batch_size: Positive = 100
    """Number of queries per batch when predicting. Under `formulation: released` it changes the numbers (the
    released system uses 100)."""
    stop_after_evaluations_without_gain: Positive | None = None
    """Training stops after this many evaluations without a better one. With null it runs to the last epoch."""
    max_clips: Positive | None = 75
    """Largest number of clips of a video. Clips after that are cut off. With null all clips are kept."""
    max_tokens: Positive | None = 32
    """Largest number of tokens of a query. Tokens after that are cut off. With null all tokens are kept."""
    normalise_text: bool | None = None
    """Whether the vector of each word is scaled to length 1. With null this follows the released systems: yes for
    all datasets but TVSum."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of matrix products while training. bfloat16 uses torch's autocast."""
    max_windows: Positive = 5
    """Largest number of windows of one query that a step learns from. Of a query with more windows, this many are
    drawn at random."""


class Features(Strict):
    """The feature families that a run reads. Video families are concatenated in this order."""

    video: Annotated[list[FamilyName], Field(min_length=1)]
    audio: list[FamilyName] = []
    text: FamilyName = "clip-text"

    @model_validator(mode="after")
    def _each_in_its_place(self) -> Features:
        for place, families in {"video": self.video, "audio": self.audio, "text": [self.text]}.items():
            for family in families:
                if (fitting := PLACES.get(FAMILIES[family].reader)) not in (place, None):
                    raise ValueError(f"{family} is none of `{place}`: name it under `{fitting}`")
        if twice := {family for family in self.all if self.all.count(family) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is named twice")
        return self

    @property
    def all(self) -> list[str]:
        """Names of all families, the video families first."""
        return [*self.video, *self.audio, self.text]


def _as_written(schema: dict[str, Any]) -> None:
    """Describe for editors what the file may leave out: `_resolved` fills in `model` and `training` before
    validation."""
    schema["required"] = [key for key in schema["required"] if key not in ("model", "training")]


class SweepPoint(Strict):
    """The settings that one point of a sweep changes."""

    model_config = ConfigDict(json_schema_extra=_as_written)

    model: Model
    training: Training

    def recorded(self) -> dict[str, Any]:
        """Return what a manifest records of one run: the settings that differ from the defaults, and the method with
        its revision."""
        return {"model": self.model.recorded(), "training": self.training.changes()}

    @classmethod
    def from_recorded(cls, recorded: Mapping[str, Any]) -> SweepPoint:
        """Rebuild the settings from what `recorded` returned. Raises ValidationError or KeyError for anything else."""
        model = {key: value for key, value in recorded["model"].items() if key != "revision"}
        return cls.model_validate({"model": model, "training": recorded["training"]})


class Experiment(Strict):
    """One row of a table (or several, with `sweep` or domains), and how to make it."""

    model_config = ConfigDict(json_schema_extra=_as_written)

    table: Literal[1, 2, 3, 4] | None = None
    row: str | None = None
    """Key of the row in published.csv. `{point}` stands for the name of the sweep point."""
    dataset: DatasetName
    source: Literal["raw", "features", "predictions"] = "raw"
    """Where the run starts: from raw videos, from a released feature archive, or from released prediction files."""
    archive: str | None = None
    """The archive that `source: features` reads: a name in sources.csv."""
    predictions: dict[Literal["val", "test"], str] = {}
    """The prediction files that `source: predictions` reads: split → a name in sources.csv."""
    features: Features | None = None
    model: Model
    """Settings that differ from the `model` of the file and of the dataset."""
    training: Training
    """Settings that differ from the `training` of the dataset."""
    sweep: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9.]+$")], SweepPoint] = {}
    """Name of a sweep point → the settings that it changes in this experiment's `model` and `training`."""
    domains: list[DomainName] = []
    """The domains to run, of a dataset that is trained by domain (TVSum). An empty list means all of them."""
    report: Literal["val", "test"] = "val"
    """The split whose numbers the table shows. With `val` the epoch was selected on the reported split itself."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = [2017]
    """Random seeds, with one run for each. With two or more, tables show mean ± standard deviation."""
    jobs: Positive = 1
    """Number of jobs that share the runs, each on one GPU. There are never more jobs than runs."""
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
        for key in {key: None for settings in self.settings for key in settings.model.never_read(moments=self.moments)}:
            raise ValueError(
                f"`model.{key}` is read by nothing on {self.dataset}, which has no moments: leave it out here, and "
                "name it under `model_by_dataset` for the datasets that have them"
            )
        if len(set(self.runs)) < len(self.runs):
            raise ValueError(f"a seed or a domain is named twice (`seeds: {self.seeds}`, `domains: {self.domains}`)")
        return self

    @property
    def about(self) -> definition.Dataset:
        """Everything that depends on the dataset."""
        return datasets.get(self.dataset)

    @property
    def archived(self) -> list[str]:
        """Names of the families that are read from `archive`. The other families are made here."""
        families = self.features.all if self.features and self.source == "features" else []
        return [family for family in families if not FAMILIES[family].looked_up]

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

    def domain_of(self, run: str) -> str | None:
        """Return the domain of a run, or None for a dataset without domains. run: one of the names in `runs`."""
        return RunId.parse(run).domain if self.about.domains else None

    @property
    def moments(self) -> bool:
        """Whether the dataset has windows to learn from."""
        return self.about.moments

    @property
    def settings(self) -> list[SweepPoint]:
        """Model and training settings of every point of the sweep, or of the experiment when it has no sweep."""
        return list(self.sweep.values()) or [SweepPoint(model=self.model, training=self.training)]

    def settings_of(self, run: str) -> SweepPoint:
        """Return model and training settings of one run. run: one of the names in `runs`."""
        return self.sweep.get(RunId.parse(run).point) or SweepPoint(model=self.model, training=self.training)


class Dataset(Strict):
    """How one dataset is fetched, cut into jobs and put on grids."""

    shards: Positive = 32
    """Number of jobs that share its videos."""
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
    missing: Literal["fail", "skip"] = "fail"
    """What training does when videos of val, or of the split it reports, are missing or cannot be read. `fail`
    refuses to begin. `skip` leaves their queries out, and every table says so. Missing videos of train are always
    left out."""

    @model_validator(mode="after")
    def _puts_families_where_they_live(self) -> Dataset:
        for family, grid in self.grids.items():
            own = "tokens" if FAMILIES[family].reader == "words" else FAMILIES[family].grid
            if own not in (None, grid):
                raise ValueError(f"`grids.{family}` is {grid}, and the family lives on {own} only")
        if len(set(self.skip)) < len(self.skip):
            raise ValueError(f"`skip` names a vid twice ({', '.join(self.skip)})")
        return self

    def grid_of(self, family: str) -> str:
        """Return the grid of one family. Families of words have the grid `tokens`."""
        if FAMILIES[family].reader == "words":
            return "tokens"
        return self.grids.get(family, self.clip)


class Acquire(Strict):
    """How files are fetched. None of these keys can change a result, because digests decide what a file is."""

    local: list[LocalPath] = []
    """Folders that are searched for a file of the right digest before the network is asked."""
    sources: LocalPath | None = None
    """Path of another table of sources. With null the sources.csv of the package is used."""
    attempts: Positive = 5
    """Number of tries per file."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds without an answer after which a connection is given up."""


class Encoding(Strict):
    """Settings of the feature encoders that can change a feature array."""

    dtype: Literal["float16", "float32"] = "float16"
    weights: dict[str, Annotated[str, Field(pattern=r"^(released|random:\d+)$")]] = {}
    """Name of weights in sources.csv → `released`, or `random:SEED` (for the demo and tests only)."""
    seconds_per_video: Annotated[float, Field(gt=0)] = 900.0
    """Seconds that decoding one video may take. A video that takes longer is skipped and reported."""


class Config(Strict):
    """The whole configuration file."""

    title: str = "TR-DETR"
    """Title that stands above every table."""
    results: Annotated[str, AfterValidator(_one_spelling)] = "results"
    """Folder of all outputs."""
    acquire: Acquire = Acquire()
    encoding: Encoding = Encoding()
    datasets: dict[DatasetName, Dataset]
    model: Model = methods.settings_class(methods.DEFAULT)()  # type: ignore[call-arg]
    """The method and its settings: the defaults of every experiment that names no other method."""
    model_by_dataset: dict[DatasetName, Model] = {}
    """Dataset → the settings that differ from `model` on it, such as the weights of losses."""
    training: dict[DatasetName, Training]
    experiments: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], Experiment]

    def made(self, dataset: str) -> list[str]:
        """Return the families that experiments of a dataset make here, each once, sorted."""
        experiments = [experiment for experiment in self.experiments.values() if experiment.dataset == dataset]
        return sorted({family for experiment in experiments for family in experiment.made})

    def archived(self, dataset: str) -> dict[str, list[str]]:
        """Return the released archives that experiments of a dataset read: archive → its families, each once,
        sorted."""
        asked: dict[str, set[str]] = {}
        for experiment in self.experiments.values():
            if experiment.dataset == dataset and experiment.archive and experiment.archived:
                asked.setdefault(experiment.archive, set()).update(experiment.archived)
        return {archive: sorted(families) for archive, families in sorted(asked.items())}

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("experiments"), dict):
            return raw
        full: dict[str, Any] = {}
        unread: list[str] = []
        for name, experiment in raw["experiments"].items():
            try:
                full[name] = resolved(raw, experiment)
            except ValueError as error:
                raise ValueError(f"`experiments.{name}`: {error}") from None
            unread += [f"`experiments.{name}`: {weight}" for weight in unread_weights(experiment, full[name])]
        if unread:
            raise ValueError("; ".join(unread))
        raw = raw | {"experiments": full}
        if isinstance(by_dataset := raw.get("model_by_dataset"), Mapping):
            model = raw.get("model", {})
            raw["model_by_dataset"] = {name: over_model(model, section) for name, section in by_dataset.items()}
        return raw

    @model_validator(mode="after")
    def _can_work(self) -> Config:
        if complaints := list(dict.fromkeys(unworkable(self))):
            raise ValueError("; ".join(complaints))
        return self


def load(raw: Mapping[str, Any], where: str = "config.yaml") -> Config:
    """Validate the content of a YAML file.

    Raises PipelineError, which names each offending key, its value and what is allowed.
    """
    full = config_own.prepared(raw, where)
    with _complaints(where, "correct it there and run again"):
        return Config.model_validate(full)


def load_file(path: Path) -> Config:
    """Read and validate a YAML file. Raises PipelineError when it cannot be read, is not YAML or does not fit."""
    return load(yaml_file.read(path), str(path))


def section(kind: type[S], text: str, remedy: str) -> S:
    """Return resolved settings, which a rule hands to a job in `--settings`. Raises PipelineError."""
    with _complaints("--settings", remedy):
        return kind.model_validate_json(text)


@contextmanager
def _complaints(where: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise PipelineError("; ".join(map(complaint, error.errors())), where=where, remedy=remedy) from error


def schema() -> str:
    """Return the JSON schema of config.yaml, which is committed under workflow/schemas/."""
    return json.dumps(config_own.describe(Config.model_json_schema()), indent=2, sort_keys=True) + "\n"
