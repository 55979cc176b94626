"""The table of stages of the data flow. The command, revision, settings and function of a stage follow from its row.

A job of a stage is one object, `StageJob`. The command line makes it from options, and the plan of the workflow makes
it from wildcards and input files, so both ask for the same work (`stage_requests.py`). Rows name settings and functions
by text, so that a command imports only what it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.layout import Layout

S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True)
class StageJob(Generic[S_co]):
    """One job of a stage: its settings, and the files that it reads and writes.

    results: the folder of all outputs. manifest: the file that the job writes last. settings: the stage's own model,
    from `stage_settings`. about: the values of the row's `about`, such as the dataset and the shard. inputs: the
    manifests (or files) that it reads, by the names of the row's `inputs`.
    """

    results: Path
    manifest: Path
    settings: S_co
    about: Mapping[str, str]
    inputs: Mapping[str, tuple[Path, ...]]

    @property
    def layout(self) -> Layout:
        """The layout of the results folder."""
        return Layout(self.results)

    def input(self, name: str) -> Path:
        """Return the file of an input that has exactly one."""
        (path,) = self.inputs[name]
        return path


@dataclass(frozen=True)
class Input:
    """An option of a command that names manifests which the stage reads. several: whether there may be any number of
    them."""

    name: str
    help: str
    several: bool = False


@dataclass(frozen=True)
class Stage:
    """One step of the data flow.

    name: the name in manifests and of the command. group: the command of which it is a subcommand, if any. revision: a
    number that is raised when its results change. function: `module:function`, which takes a StageJob and returns
    whether there was work. settings: a class in `stage_settings`. about: the values that tell one job of the stage from
    another, each an option of the command.
    """

    name: str
    revision: int
    help: str
    function: str
    settings: str
    about: tuple[str, ...]
    inputs: tuple[Input, ...] = ()
    group: str = ""

    def settings_class(self) -> Any:
        """Return the pydantic model of the settings of this stage."""
        return getattr(import_module("pipeline.stage_settings"), self.settings)

    def run(self, job: StageJob[Any]) -> bool:
        """Do the job. Returns whether there was work."""
        module, _, name = self.function.partition(":")
        function: Callable[[StageJob[Any]], bool] = getattr(import_module(module), name)
        return function(job)


_ROWS = (
    Stage(
        "fetch",
        1,
        "fetch one source of sources.csv, and check its digest",
        "pipeline.acquire.download:fetch",
        "Fetch",
        ("name",),
    ),
    Stage(
        "unpack",
        1,
        "unpack a fetched archive",
        "pipeline.acquire.archives:unpack",
        "Nothing",
        ("name",),
        (Input("fetched", "manifest of `fetch`"),),
    ),
    Stage(
        "annotate",
        2,
        "convert released annotations to the common form",
        "pipeline.video.own_dataset:annotate",
        "Annotate",
        ("dataset", "split"),
        (Input("fetched", "manifest of `fetch`, or the file itself"),),
    ),
    Stage(
        "videos",
        3,
        "find every video of a shard, and write the account of them",
        "pipeline.video.account:videos",
        "Videos",
        ("dataset", "shard"),
        (Input("inputs", "manifests of `annotate` (all splits) and, for an archive, of `unpack`", several=True),),
    ),
    Stage(
        "segment",
        2,
        "compute the clip boundaries of a shard's videos",
        "pipeline.video.segment:segment",
        "Segment",
        ("dataset", "shard"),
        (Input("videos", "manifest of `videos`"),),
    ),
    Stage(
        "extract",
        1,
        "make one store per family for a shard; or (--video) features of one file of your own",
        "pipeline.features.stage:extract",
        "Extract",
        ("dataset", "shard", "reader"),
        (
            Input("inputs", "manifest of `segment`; for words, manifests of `annotate`", several=True),
            Input("weights", "manifests of the weights' `fetch`; with --video: the weight file or its manifest", True),
        ),
        group="features",
    ),
    Stage(
        "import",
        2,
        "make stores from a released feature archive",
        "pipeline.features.stage:import_archive",
        "ImportArchive",
        ("name", "dataset"),
        (
            Input("unpacked", "manifest of `unpack`, or the archive's folder"),
            Input("annotations", "manifests of `annotate`, all splits", several=True),
        ),
        group="features",
    ),
    Stage(
        "train",
        3,
        "train all runs of an experiment, or a part of them",
        "pipeline.training.stage:train",
        "Train",
        ("experiment", "part"),
        (
            Input("annotations", "manifests of `annotate`: train and val", several=True),
            Input("features", "manifests of `features`", several=True),
        ),
    ),
    Stage(
        "predict",
        1,
        "write the predictions of every run in the community's form",
        "pipeline.training.stage:predict",
        "Predict",
        ("experiment",),
        (
            Input("runs", "manifests of `train`, all parts", several=True),
            Input("annotations", "manifests of `annotate` of the splits to predict", several=True),
            Input("features", "manifests of `features`", several=True),
        ),
    ),
    Stage(
        "score",
        3,
        "compute the community's numbers for every run of an experiment",
        "pipeline.evaluation.stage:score_experiment",
        "Score",
        ("experiment", "split"),
        (
            Input("predictions", "manifest of `predict` (or of a released file)"),
            Input("annotations", "manifest of `annotate`"),
        ),
    ),
    Stage(
        "tabulate",
        5,
        "write a table of the paper with published and reproduced numbers",
        "pipeline.reporting.tables:tabulate",
        "Tabulate",
        ("table",),
        (
            Input("metrics", "manifests of `score`", several=True),
            Input("predictions", "manifests of `predict`", several=True),
            Input("runs", "manifests of `train`", several=True),
            Input("annotations", "manifest of `annotate`, TVSum val: for the yardsticks below Table 3", several=True),
        ),
    ),
    Stage(
        "draw",
        2,
        "draw the learning curves of an experiment, and the curve of a sweep",
        "pipeline.reporting.figures:draw",
        "Draw",
        ("experiment",),
        (Input("runs", "manifests of `train`, all parts", several=True),),
    ),
    Stage(
        "page",
        3,
        "write the report: pages with tables, figures and every query",
        "pipeline.reporting.page.stage:page",
        "Page",
        (),
        (
            Input("metrics", "manifests of `score`", several=True),
            Input("predictions", "manifests of `predict`", several=True),
            Input("released", "manifests of `fetch` of prediction files", several=True),
            Input("runs", "manifests of `train`", several=True),
            Input("figures", "manifests of `draw`", several=True),
            Input("annotations", "manifests of `annotate` of the reported splits, and of TVSum val", several=True),
        ),
    ),
    Stage(
        "leaderboard",
        2,
        "score and compare every known prediction file of a split",
        "pipeline.reporting.page.public_leaderboard:leaderboard",
        "Nothing",
        ("dataset", "split"),
        (
            Input("released", "manifests of `fetch` of prediction files", several=True),
            Input("annotations", "manifest of `annotate`"),
        ),
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _ROWS}
"""Every stage, by its name in manifests, in the order of the data flow."""
