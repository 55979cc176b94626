"""The typed definition of config.yaml: its keys, their defaults, and the values that are refused.

It has three uses. It validates the file. It resolves every experiment: the experiment's own keys take precedence over
the defaults of the dataset, and the keys of a sweep point take precedence over both. It generates
`workflow/schemas/config.schema.json`. A dataset is defined in `config_dataset.py` and an experiment in
`config_experiment.py`. Everything that other modules need of the config is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from pipeline import config_families, config_own, methods, yaml_file
from pipeline.config_checks import unworkable
from pipeline.config_dataset import Dataset
from pipeline.config_experiment import SEEDS, Experiment, Features, Seeds, SweepPoint, Training
from pipeline.config_layers import complaint, over_model, resolved, unread_settings
from pipeline.config_names import DOMAINS, DatasetName, FamilyName, LocalPath, Mirror, Model, ResultsFolder
from pipeline.errors import PipelineError
from pipeline.layout import OWN_TABLE
from pipeline.settings import NO_SWITCH, Positive, Strict

__all__ = [
    "DOMAINS",
    "Acquire",
    "Config",
    "Dataset",
    "Encoding",
    "Experiment",
    "FamilyName",
    "Features",
    "RandomOrReleased",
    "SweepPoint",
    "Training",
    "load",
    "load_file",
    "schema",
    "section",
]

RandomOrReleased = Annotated[str, Field(pattern=r"^(released|random:\d{1,18})$")]
"""The weights of an encoder: the released ones, or random ones from a seed. torch takes seeds below 2⁶³."""

Seconds = Annotated[float, Field(gt=0, le=1_000_000), NO_SWITCH]
"""A time to wait. Systems count it in milliseconds of 32 bits, so it has at most 24 days."""

S = TypeVar("S", bound="Strict")


class Acquire(Strict):
    """The settings for fetching files. None of these keys can change a result, because a file is identified by its
    digest."""

    local: list[LocalPath] = []
    """Folders that are searched for a file of the right digest before the network is asked."""
    sources: LocalPath | None = None
    """Path of another table of sources. With null the sources.csv of the package is used."""
    attempts: Positive = 5
    """Number of tries per file."""
    timeout_s: Seconds = 60.0
    """Seconds without an answer after which a connection is given up."""
    longest_wait_s: Annotated[float, Field(ge=0), NO_SWITCH] = 900.0
    """Largest number of seconds that a server may ask to wait (`Retry-After`). A server that asks for more ends the
    download, and the error says when to run again."""
    largest_archive_gb: Annotated[float, Field(gt=0), NO_SWITCH] = 200.0
    """Largest archive in gigabytes (10⁹ bytes) that is fetched where the table of sources does not list its size."""
    largest_file_gb: Annotated[float, Field(gt=0), NO_SWITCH] = 20.0
    """Largest file in gigabytes that is not an archive and whose size the table of sources does not list: annotations,
    weights, or one video."""
    requests_per_minute: dict[
        Annotated[str, Field(pattern=r"^(\*|[a-z0-9.-]+)$")], Annotated[float, Field(gt=0), NO_SWITCH]
    ] = {}
    """Host (`www.youtube.com`) → the largest number of requests per minute, of all jobs on this machine together. `*`
    stands for every host that is not named. For YouTube a request is one video."""
    connections: Annotated[int, Field(ge=1, le=16), NO_SWITCH] = 1
    """Number of connections over which a large file is fetched at the same time, for servers that send slowly. It is
    used only if the server can send parts of the file."""
    mirror: Mirror | None = None
    """An address (`https://…`) or a folder that takes the place of every address in the table of sources, for machines
    without a network. It has the files of `results/resources/` of another machine: `NAME/FILE`, and `NAME/files/VIDEO`
    for videos that are fetched one by one. Digests are checked as usual."""


class Encoding(Strict):
    """Settings of the feature encoders that can change a feature array."""

    dtype: Literal["float16", "float32"] = "float16"
    """Number format of the stored features."""
    weights: dict[str, RandomOrReleased] = {}
    """Name of weights in sources.csv → `released`, or `random:SEED` (for the demo and tests only)."""
    seconds_per_video: Seconds = 900.0
    """Seconds that decoding one video may take. A video that takes longer is skipped and reported."""
    second_reader: Literal["decord"] | None = None
    """`decord` reads every 224-frame once more and compares it with PyAV's, byte by byte. In both cases rows are made
    with PyAV. The log names the videos in which decord finds other pictures, and the manifests of the features count
    them."""


class Config(Strict):
    """The whole configuration file."""

    title: str = "TR-DETR"
    """The title above every table."""
    results: ResultsFolder = "results"
    """Folder of all outputs."""
    seeds: Seeds = SEEDS
    """Random seeds of every experiment without seeds of its own. There is one run for each seed. With two or more,
    tables show mean ± standard deviation. With three or more they give a verdict. `--config 'seeds=[2017]'` makes a
    quick pass."""
    jobs: Positive = 1
    """Number of jobs among which the runs of an experiment are divided, for every experiment without a number of its
    own. Each job has one GPU. With as many jobs as seeds, each seed is a job."""
    acquire: Acquire = Acquire()
    """The settings for fetching files."""
    encoding: Encoding = Encoding()
    """The settings for making features."""
    families: dict[str, config_families.Definition] = {}
    """Name of a family of your own → the model of a library that makes it. Experiments then name it under
    `features`."""
    datasets: dict[DatasetName, Dataset]
    """Dataset → its sources, and how its work is divided."""
    model: Model = methods.settings_class(methods.DEFAULT)()  # type: ignore[call-arg]
    """The method and its settings: the defaults of every experiment that names no other method."""
    model_by_dataset: dict[DatasetName, Model] = {}
    """Dataset → the settings that differ from `model` on it, such as the weights of losses."""
    training: dict[DatasetName, Training]
    """Dataset → the training schedule of its experiments. A key that the method of an experiment never reads is ignored
    for this experiment."""
    experiments: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]{1,100}$")], Experiment]
    """Name of an experiment → its definition. The name is used in paths, targets and messages."""
    peers: list[str] = []
    """Names of the experiments that the target `peers` makes and that the tables of `all_tables` leave out: the rows of
    other methods. The tables of `peers` show them beside all other experiments of the same table."""

    @property
    def heading(self) -> str:
        """Return the title above every table. It says so if only a sample of a dataset is used."""
        sampled = [f"{100 * d.sample:g} % of the videos of {name}" for name, d in self.datasets.items() if d.sample]
        return f"{self.title} (rehearsal on {', '.join(sampled)}, not comparable)" if sampled else self.title

    def of_table(self, table: str) -> dict[str, Experiment]:
        """Return the experiments that a table shows, by name.

        table: `table1` … `table4` show experiments that are no peers, `peers1` … `peers4` show the peers, too,
        `evidence` shows released predictions that are no peers, and `own_DATASET` shows every experiment of a user's
        own dataset.
        """
        others = {name: e for name, e in self.experiments.items() if name not in self.peers}
        if table.startswith(OWN_TABLE):
            return {name: e for name, e in self.experiments.items() if e.dataset == table.removeprefix(OWN_TABLE)}
        if table == "evidence":
            return {name: e for name, e in others.items() if e.source == "predictions"}
        shown = self.experiments if table.startswith("peers") else others
        return {name: e for name, e in shown.items() if str(e.table) == table[-1]}

    def made(self, dataset: str) -> list[str]:
        """Return the families that experiments of a dataset make here, each once, sorted."""
        experiments = [experiment for experiment in self.experiments.values() if experiment.dataset == dataset]
        return sorted({family for experiment in experiments for family in experiment.made})

    def archived(self, dataset: str) -> dict[str, list[str]]:
        """Return the released archives that experiments of a dataset read: archive → its families, each once,
        sorted."""
        asked: dict[str, set[str]] = {}
        for experiment in self.experiments.values():
            if experiment.dataset != dataset:
                continue
            if experiment.archive and experiment.archived:
                asked.setdefault(experiment.archive, set()).update(experiment.archived)
            if filled := self.datasets[dataset].filled(experiment):
                asked.setdefault(self.datasets[dataset].fill_archive, set()).update(filled)
        return {archive: sorted(families) for archive, families in sorted(asked.items())}

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("experiments"), dict):
            return raw
        full: dict[str, Any] = {}
        unread: list[str] = []
        of_all = _of_all(raw)
        for name, experiment in raw["experiments"].items():
            try:
                full[name] = resolved(raw, experiment, of_all)
            except ValueError as error:
                raise ValueError(f"`experiments.{name}`: {error}") from None
            unread += [f"`experiments.{name}`: {key}" for key in unread_settings(experiment, full[name])]
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


def _of_all(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys at the top of the file that every experiment inherits. A bad value is left out, so that it is
    refused once, at the top, and not in every experiment."""
    found: dict[str, Any] = {}
    for key, kind in {"seeds": Seeds, "jobs": Positive}.items():
        with suppress(ValidationError):
            found |= {key: TypeAdapter(kind).validate_python(raw[key])} if key in raw else {}
    return found


def load(raw: Mapping[str, Any], where: str = "config.yaml") -> Config:
    """Validate the content of a YAML file.

    Raises PipelineError, which names each offending key, its value and what is allowed.
    """
    config_families.prepared(raw, where)
    full = config_own.prepared(raw, where)
    with _complaints(where, "correct it there and run again"):
        return Config.model_validate(full)


def load_file(path: Path, **instead: Any) -> Config:
    """Read and validate a YAML file.

    instead: values of keys at the top that replace those of the file, as Snakemake's `--config` does. Raises
    PipelineError when the file cannot be read, is not YAML or does not fit.
    """
    return load(yaml_file.read(path) | instead, str(path))


def load_with_entries(path: Path, entries: Sequence[str]) -> Config:
    """Read and validate a YAML file with `KEY=VALUE` entries over its keys, as Snakemake's `--config` has them.

    Raises PipelineError as `load_file` does. Its place is `--config` if the file alone fits.
    """
    raw = yaml_file.read(path)
    return load_over(raw, yaml_file.with_entries(raw, entries), str(path), " ".join(entries))


def load_over(raw: Mapping[str, Any], changed: Mapping[str, Any], where: str, entries: str) -> Config:
    """Validate `changed`: the content of a file (`raw`) with changes from the command line (`entries`).

    Raises PipelineError. If the file alone fits, its place is `--config`, and else the file.
    """
    try:
        return load(changed, where)
    except PipelineError as error:
        if not entries or error.where != where or not _fits(raw, where):
            raise
        remedy = "correct it there and run again"
        raise PipelineError(error.what, where=f"--config {entries}", remedy=remedy) from error


def _fits(raw: Mapping[str, Any], where: str) -> bool:
    try:
        load(raw, where)
    except PipelineError:
        return False
    return True


def section(kind: type[S], text: str, remedy: str, where: str = "--settings") -> S:
    """Return resolved settings, which a rule passes to a job in `--settings`.

    where: the place of the text, for the error. Raises PipelineError for a text that is no JSON, and for a key that is
    unknown, missing or does not fit.
    """
    with _complaints(where, remedy):
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
