"""The typed definition of config.yaml: what may be said there, what is said when nothing is, and what is refused.

One definition, three uses: it validates the file, resolves every experiment (defaults of the dataset under the
experiment's own lines under a sweep point's), and generates `workflow/schemas/config.schema.json`.
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

from pipeline import datasets, files, methods, yaml_file
from pipeline.config_checks import unworkable
from pipeline.config_layers import complaint, over_model, resolved, unread_weights
from pipeline.datasets import DATASETS, definition
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.grids import Grid
from pipeline.layout import RunId
from pipeline.methods.settings import MethodSettings
from pipeline.settings import Positive, Strict, Weight

Seed = Annotated[int, Field(ge=0, lt=2**63)]
S = TypeVar("S", bound="Strict")

DOMAINS = tuple(domain for dataset in DATASETS.values() for domain in dataset.domains)
"""Those of every dataset that is trained by domain."""
PLACES: dict[str | None, str] = {"frames224": "video", "native": "video", "sound": "audio", "words": "text"}
"""Reader → key of `features` its families stand under; families that only an archive has are not known by this."""


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
    return os.path.normpath(folder)  # to Snakemake `./results` and `results` are two folders


LocalPath = Annotated[str, AfterValidator(files.expanded)]
DatasetName = Annotated[str, AfterValidator(_known_dataset), Field(json_schema_extra={"enum": list(DATASETS)})]
DomainName = Annotated[str, AfterValidator(_known_domain), Field(json_schema_extra={"enum": list(DOMAINS)})]
FamilyName = Annotated[str, AfterValidator(_known_family), Field(json_schema_extra={"enum": sorted(FAMILIES)})]


class _OneOfTheMethods:
    """Settings of the method that a section names: only that method's keys are accepted."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler(methods.settings_class(name)) for name in methods.METHODS}
        return core_schema.tagged_union_schema(choices, discriminator=methods.name_in)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """For editors: a section that names no method may be about any, whose keys another section decides."""
        return {"anyOf": handler(schema)["oneOf"]}


Model = Annotated[MethodSettings, _OneOfTheMethods]
"""The section `model`: a union of all methods' settings, told apart by `name`."""


class Training(Strict):
    """One schedule, counted in epochs, not in steps."""

    epochs: Annotated[int, Field(ge=0)] = 200
    """0: the untrained network."""
    batch_size: Positive = 32
    """Queries per step; the last, shorter batch of an epoch counts."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Weight = 1e-4
    drop_learning_rate_after: Positive = 400
    """Epochs after which the learning rate is divided by ten, and after as many more again."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 0.1
    """Largest norm of all gradients together; longer ones are scaled down to it. Null scales none."""
    evaluate_every: Positive = 5
    """Epochs between two evaluations on val, of which the best selects the epoch; the last epoch always is one."""
    evaluation_batch_size: Positive = 100
    """Queries per batch when predicting. Under `formulation: released` it changes numbers (released: 100)."""
    stop_after_evaluations_without_gain: Positive | None = None
    """Early stopping; null trains to the last epoch."""
    max_clips: Positive | None = 75
    """Videos are cut after so many clips; null keeps all."""
    max_tokens: Positive | None = 32
    """Queries are cut after so many tokens; null keeps all."""
    normalise_text: bool | None = None
    """Words scaled to length 1; null does as released (all datasets but TVSum)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products while training; bfloat16 is autocast."""
    max_windows: Positive = 5
    """Windows of one query that a step learns from; of more, so many at random."""


class Features(Strict):
    """Families a run reads. Video families are concatenated in this order."""

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
        """Every family, video first."""
        return [*self.video, *self.audio, self.text]


def _as_written(schema: dict[str, Any]) -> None:
    """For editors: the file may leave out `model` and `training`, which `_resolved` fills in before validation."""
    schema["required"] = [key for key in schema["required"] if key not in ("model", "training")]


class SweepPoint(Strict):
    """What one point of a sweep changes."""

    model_config = ConfigDict(json_schema_extra=_as_written)

    model: Model
    training: Training

    def recorded(self) -> dict[str, Any]:
        """What a manifest says of one run: what differs from the defaults, beside the method and its revision."""
        return {"model": self.model.recorded(), "training": self.training.changes()}

    @classmethod
    def from_recorded(cls, recorded: Mapping[str, Any]) -> SweepPoint:
        """The way back from `recorded`. Raises ValidationError or KeyError for what was never recorded so."""
        model = {key: value for key, value in recorded["model"].items() if key != "revision"}
        return cls.model_validate({"model": model, "training": recorded["training"]})


class Experiment(Strict):
    """A row (or, with `sweep` or domains, a few) of one table, and how to make it."""

    model_config = ConfigDict(json_schema_extra=_as_written)

    table: Literal[1, 2, 3, 4] | None = None
    row: str | None = None
    """The row's key in published.csv; `{point}` stands for the sweep point's name."""
    dataset: DatasetName
    source: Literal["raw", "features", "predictions"] = "raw"
    """Where the run enters: raw videos, a released feature archive, or released prediction files."""
    archive: str | None = None
    """Of `source: features`: a name in sources.csv."""
    predictions: dict[Literal["val", "test"], str] = {}
    """Of `source: predictions`: split → a name in sources.csv."""
    features: Features | None = None
    model: Model
    """What differs from the file's `model`."""
    training: Training
    """What differs from the dataset's `training`."""
    sweep: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9.]+$")], SweepPoint] = {}
    """Point → what it changes of this experiment's `model` and `training`."""
    domains: list[DomainName] = []
    """Domains to run, of a dataset that is trained by domain (TVSum); none named: all of them."""
    report: Literal["val", "test"] = "val"
    """The split whose numbers the table shows. On `val` the epoch was selected on that split itself."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = [2017]
    """A run each; from two on tables show mean ± standard deviation."""
    jobs: Positive = 1
    """Jobs that the runs are dealt out to, one GPU each; never more than runs."""
    note: str | None = None
    """Said in every table that shows the row."""

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
        """Families read from `archive`; the others are made here."""
        families = self.features.all if self.features and self.source == "features" else []
        return [family for family in families if not FAMILIES[family].looked_up]

    @property
    def made(self) -> list[str]:
        """Families made here, from videos, sounds or queries."""
        families = self.features.all if self.features and self.source != "predictions" else []
        return [family for family in families if family not in self.archived]

    @property
    def run_domains(self) -> list[str]:
        """A dataset with domains is trained once per domain; the others are trained once on everything (`all`)."""
        return list(self.domains or self.about.run_domains)

    @property
    def runs(self) -> list[str]:
        """Names of all runs, `{point-}{domain or all}-s{seed}`, in a fixed order."""
        points = list(self.sweep) or [""]
        return [str(RunId(seed, d, p)) for p in points for d in self.run_domains for seed in self.seeds]

    @property
    def n_parts(self) -> int:
        """Jobs that get a run at least."""
        return min(self.jobs, len(self.runs))

    def domain_of(self, run: str) -> str | None:
        """The domain of a run, None for a dataset without domains. The name is one of `runs`."""
        return RunId.parse(run).domain if self.about.domains else None

    @property
    def moments(self) -> bool:
        """Whether the dataset has windows to learn from."""
        return self.about.moments

    @property
    def settings(self) -> list[SweepPoint]:
        """Model and training of every point of the sweep, or of the experiment where it has none."""
        return list(self.sweep.values()) or [SweepPoint(model=self.model, training=self.training)]

    def settings_of(self, run: str) -> SweepPoint:
        """Model and training of one run. The name is one of `runs`."""
        return self.sweep.get(RunId.parse(run).point) or SweepPoint(model=self.model, training=self.training)


class Dataset(Strict):
    """How a dataset is laid out here."""

    shards: Positive = 32
    """Jobs that its videos are dealt out to."""
    clip: Grid = "2s"
    """The grid of its labels."""
    grids: dict[FamilyName, Grid] = {}
    """Families that live on another grid."""
    annotations: dict[Literal["train", "val", "test"], str]
    """Split → a name in sources.csv."""
    videos: list[str] = []
    """Names in sources.csv; a video is taken from the first that has it."""
    skip: list[str] = []
    """Vids that no stage uses. Their queries are left out everywhere, and every table says on how many queries it
    stands."""
    missing: Literal["fail", "skip"] = "fail"
    """What a training does when videos of val, or of the split it reports, are missing or cannot be read: `fail`
    refuses to begin; `skip` leaves their queries out, and every table says so. Those of train are always left out."""

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
        """The grid one family lives on; words live on `tokens`."""
        if FAMILIES[family].reader == "words":
            return "tokens"
        return self.grids.get(family, self.clip)


class Acquire(Strict):
    """How files are fetched. None of it can change a result: digests decide what a file is."""

    local: list[LocalPath] = []
    """Folders that are searched for a file of the right digest before the network is asked."""
    sources: LocalPath | None = None
    """Another sources.csv."""
    attempts: Positive = 5
    """Tries per file."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds of silence after which a connection is given up."""


class Encoding(Strict):
    """What can change an array."""

    dtype: Literal["float16", "float32"] = "float16"
    weights: dict[str, Annotated[str, Field(pattern=r"^(released|random:\d+)$")]] = {}
    """Name in sources.csv → `released`, or `random:SEED` (demo and tests only)."""
    seconds_per_video: Annotated[float, Field(gt=0)] = 900.0
    """A video that takes longer to decode is skipped, and reported."""


class Config(Strict):
    """The whole file."""

    title: str = "TR-DETR"
    """Stands above every table."""
    results: Annotated[str, AfterValidator(_one_spelling)] = "results"
    """Folder of all outputs."""
    acquire: Acquire = Acquire()
    encoding: Encoding = Encoding()
    datasets: dict[DatasetName, Dataset]
    model: Model = methods.settings_class(methods.DEFAULT)()  # type: ignore[call-arg]
    """The method and its settings: defaults of every experiment that names no other method."""
    model_by_dataset: dict[DatasetName, Model] = {}
    """What differs from `model` on a dataset, such as the weights of losses."""
    training: dict[DatasetName, Training]
    experiments: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], Experiment]

    def made(self, dataset: str) -> list[str]:
        """Families that experiments of a dataset make here, each once, sorted."""
        experiments = [experiment for experiment in self.experiments.values() if experiment.dataset == dataset]
        return sorted({family for experiment in experiments for family in experiment.made})

    def archived(self, dataset: str) -> dict[str, list[str]]:
        """Released archives that experiments of a dataset read: families asked of each, each once, sorted."""
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
    """Validate what a YAML file held. Raises PipelineError naming each offending key, its value and what is allowed."""
    with _complaints(where, "correct it there and run again"):
        return Config.model_validate(dict(raw))


def load_file(path: Path) -> Config:
    """Read and validate a YAML file. Raises PipelineError for one that cannot be read, is no YAML or does not fit."""
    return load(yaml_file.read(path), str(path))


def section(kind: type[S], text: str, remedy: str) -> S:
    """Resolved settings, as a rule hands them to a job in `--settings`. Raises PipelineError."""
    with _complaints("--settings", remedy):
        return kind.model_validate_json(text)


@contextmanager
def _complaints(where: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise PipelineError("; ".join(map(complaint, error.errors())), where=where, remedy=remedy) from error


def schema() -> str:
    """The JSON schema of config.yaml, as committed under workflow/schemas/."""
    return json.dumps(Config.model_json_schema(), indent=2, sort_keys=True) + "\n"
