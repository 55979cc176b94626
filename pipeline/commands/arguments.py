"""The arguments of all commands of `python -m pipeline`.

The commands of stages are made from the table in `stages.py`. A stage takes the manifests that it reads, its settings
as JSON (`--settings`), and the path of the manifest that it writes (`--manifest`). The other commands are in the other
modules of this folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import commands
from pipeline.commands import ask as ask_command
from pipeline.commands import doctor as doctor_command
from pipeline.commands import features as features_commands
from pipeline.commands import new_dataset as new_dataset_command
from pipeline.commands import probe as probe_command
from pipeline.commands.parser import CommandParser
from pipeline.datasets import DATASETS
from pipeline.grids import KNOWN, is_grid
from pipeline.layout import OWN_TABLE
from pipeline.methods import DEFAULT, METHODS
from pipeline.stages import STAGES, Input, Stage
from pipeline.version import DISTRIBUTION, program, version

SPLITS = ("train", "val", "test")
TABLES = (*(f"{kind}{n}" for kind in ("table", "peers") for n in range(1, 5)), "evidence")
STORE = "a feature store, or a folder with all shards of a family"


def _grid(name: str) -> str:
    """Return the name of a grid, for argparse, which prints the message of this error alone."""
    if not is_grid(name):
        raise argparse.ArgumentTypeError(f"{name!r} is no clip grid; {KNOWN}")
    return name


def _table(name: str) -> str:
    """Return the name of a table, for argparse."""
    if name not in TABLES and not name.startswith(OWN_TABLE):
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(TABLES)}, nor own_DATASET")
    return name


ABOUT: dict[str, tuple[str, dict[str, Any]]] = {
    "name": ("name", {"help": "its name in sources.csv"}),
    "experiment": ("experiment", {}),
    "table": ("table", {"type": _table, "help": f"{', '.join(TABLES)}, or own_DATASET"}),
    "dataset": ("--dataset", {"choices": DATASETS, "required": True}),
    "split": ("--split", {"choices": SPLITS, "required": True}),
    "shard": ("--shard", {"required": True, "help": "five digits"}),
    "reader": ("--reader", {"choices": ("frames224", "native", "sound", "words"), "required": True}),
    "part": ("--part", {"default": "1of1", "help": "KofN: every N-th run, from the K-th"}),
}
"""Name in `about` of `stages.py` → the argument of the command. These arguments distinguish the jobs of a stage."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. `--help` lists them in the order of the data flow."""
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Run one stage of the pipeline, or one of its other commands: `python -m pipeline COMMAND …`.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {version()}")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all outputs")
    commands_of = parser.add_subparsers(dest="command", metavar="STAGE", required=True, parser_class=CommandParser)
    for name, stage in STAGES.items():
        if not stage.group:
            _stage(commands_of, stage)
        elif name == "extract":
            _features(commands_of)
    _evaluation(commands_of)
    _around(commands_of)
    return parser


def _features(parsers: argparse._SubParsersAction) -> None:
    group = parsers.add_parser("features", help="make, import, export, compare and inspect features")
    inner = group.add_subparsers(dest="features_command", metavar="WHAT", required=True)

    extract, weights = _extract(inner)
    extract.add_argument("--video", type=Path, metavar="FILE", help="make the rows of this file, and of no shard")
    extract.add_argument("--family", help="with --video: the family of the rows")
    extract.add_argument("--grid", type=_grid, help="with --video: length of a clip (default: the family's, or 2s)")
    extract.add_argument("--output", type=Path, metavar="STORE.h5", help="with --video: the store that is written")
    extract.add_argument(
        "--configfile",
        type=Path,
        metavar="FILE",
        help="with --video: the config that defines the family (default: config.yaml)",
    )
    weights.add_argument("--random", type=int, metavar="SEED", help="with --video: use random weights")
    _stage(inner, STAGES["import"])

    export = _plain(inner, "export", features_commands.export, "write stores in the layout of the released archives")
    export.add_argument("stores", type=Path, nargs="+", metavar="STORE", help=STORE)
    export.add_argument("--dataset", choices=DATASETS, required=True, help="the dataset whose layout is used")
    export.add_argument("--output", type=Path, required=True, metavar="DIR")

    compare = _plain(
        inner, "compare", features_commands.compare, "tell whether two stores of one family hold the same features"
    )
    compare.add_argument("a", type=Path, help=STORE)
    compare.add_argument("b", type=Path)
    compare.add_argument(
        "--output", type=Path, metavar="FILE.csv", help="write a row for each vid, the most different first"
    )

    inspect = _plain(inner, "inspect", features_commands.inspect, "describe a store, or draw the rows of one video")
    inspect.add_argument("store", type=Path, help=STORE)
    inspect.add_argument(
        "vid", nargs="?", help="the video to draw; for a vid that begins with - end the command with `-- STORE VID`"
    )
    inspect.add_argument("--video", type=Path, metavar="FILE", help="add frames of this video to the picture")
    inspect.add_argument("--output", type=Path, metavar="DIR", help="folder of the picture (default: RESULTS/inspect)")


def _evaluation(parsers: argparse._SubParsersAction) -> None:
    evaluate = _plain(parsers, "evaluate", commands.evaluate, "score one prediction file")
    evaluate.add_argument("--dataset", choices=DATASETS, required=True)
    evaluate.add_argument("--predictions", type=Path, required=True, metavar="FILE", help=".jsonl or .jsonl.gz")
    _annotations(evaluate)
    evaluate.add_argument(
        "--output",
        type=Path,
        metavar="FILE.json",
        help="write the scores here, and those of each query into FILE.queries.jsonl",
    )
    evaluate.add_argument("--despite-errors", action="store_true", help="leave out rows that cannot be scored")

    validate = _plain(parsers, "validate", commands.validate, "check a prediction file and list every problem")
    validate.add_argument("--dataset", choices=DATASETS, required=True)
    validate.add_argument("--predictions", type=Path, required=True, metavar="FILE")
    _annotations(validate)

    compare = _plain(
        parsers, "compare", commands.compare, "compare two prediction files in every metric, with paired tests"
    )
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)
    compare.add_argument("--dataset", choices=DATASETS, required=True)
    _annotations(compare)
    compare.add_argument("--resamples", type=int, default=10_000)
    compare.add_argument("--seed", type=int, default=0)

    report = _plain(
        parsers, "report", commands.report, "write a page about prediction files: queries, mistakes, leaderboard"
    )
    report.add_argument("--dataset", choices=DATASETS, required=True)
    report.add_argument(
        "--predictions", type=Path, nargs="+", required=True, metavar="FILE", help=".jsonl or .jsonl.gz"
    )
    _annotations(report)
    report.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of index.html")
    report.add_argument("--names", nargs="+", default=[], metavar="NAME", help="names of the files on the page")
    report.add_argument(
        "--videos", type=Path, metavar="DIR", help="folder with the videos {vid}.mp4, which the page plays"
    )

    table = _plain(
        parsers, "table", commands.table, "show a row of your own beside the paper's, with interval and tests"
    )
    table.add_argument("--row", required=True, metavar="NAME", help="name of the row")
    table.add_argument("--predictions", type=Path, required=True, metavar="FILE", help="prediction file of the row")
    _annotations(table)
    table.add_argument("--table", type=int, choices=(1, 2, 3, 4), default=1, help="table of the paper (default: 1)")
    table.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="FILE", help="prediction files to compare with"
    )
    table.add_argument("--names", nargs="+", default=[], metavar="NAME", help="names of the rows of --against")
    table.add_argument("--features", default="", help="text of the column `Features`")
    table.add_argument("--output", type=Path, metavar="DIR", help="write the table as md, tex, html, csv and txt")


def _annotations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--annotations",
        type=Path,
        required=True,
        metavar="FILE",
        help="ground truth, in the released form or in this project's",
    )


def _around(parsers: argparse._SubParsersAction) -> None:
    doctor_command.add(
        _plain(
            parsers, "doctor", doctor_command.run, "check whether this machine can run the config, and say what to do"
        )
    )

    probe_command.add(_plain(parsers, "probe", probe_command.run, "print the facts of video files"))

    new_dataset_command.add(
        _plain(
            parsers,
            "new-dataset",
            new_dataset_command.run,
            "check and describe a CSV of your own, and write its config",
        ),
        _grid,
    )
    ask_command.add(_plain(parsers, "ask", ask_command.run, "ask a trained run about a video of your own"))

    show = _plain(
        parsers, "show", commands.show, "print the tables, or the numbers of an experiment, that a manifest lists"
    )
    show.add_argument("manifest", type=Path, nargs="+")

    demo = _plain(parsers, "demo", commands.demo, "make small benchmarks, and run them from videos to tables")
    demo.add_argument("--cores", type=int, default=2)

    golden = _plain(
        parsers,
        "verify-golden",
        commands.verify_golden,
        "compare our network with recorded numbers of the released one",
    )
    golden.add_argument("path", type=Path, help="a golden set: a folder or a .json file")

    released = _plain(
        parsers, "import-checkpoint", commands.import_checkpoint, "turn a released .ckpt into a run or into weights"
    )
    released.add_argument("checkpoint", type=Path, metavar="FILE.ckpt")
    released.add_argument(
        "output", type=Path, metavar="RUN_DIR", help="folder of the run to write; or FILE.safetensors for weights alone"
    )
    released.add_argument("--method", choices=tuple(METHODS), default=DEFAULT, help="the method of the checkpoint")
    released.add_argument("--dataset", choices=DATASETS, help="its dataset, if its options do not name it")
    released.add_argument("--video", nargs="+", default=[], metavar="FAMILY", help="its video families, in order")
    released.add_argument("--audio", nargs="+", default=[], metavar="FAMILY")
    released.add_argument("--text", metavar="FAMILY", help="the family of its words")
    released.add_argument("--grid", type=_grid, help="length of its clips, if its options do not give it")

    cost = _plain(parsers, "estimate", commands.estimate, "estimate a run: gigabytes, core hours, GPU hours, jobs")
    cost.add_argument("--configfile", type=Path, default=Path("config.yaml"), metavar="FILE")
    cost.add_argument(
        "--config", nargs="+", default=[], metavar="KEY=VALUE", help="changes of the config, as for snakemake"
    )

    _plain(parsers, "schema", commands.schema, "print the JSON schema of config.yaml")


def _plain(
    parsers: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], None], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parsers.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    return parser


def _stage(parsers: argparse._SubParsersAction, stage: Stage) -> None:
    """Add the command of a stage, with the arguments that the table of stages lists."""
    parser = _plain(parsers, stage.name, commands.stage, stage.help)
    _about_and_settings(parser, stage)
    for one in stage.inputs:
        _input(parser, one)


def _extract(parsers: argparse._SubParsersAction) -> tuple[argparse.ArgumentParser, argparse._ActionsContainer]:
    """Add the command `extract`. With `--video` the options of a shard are not needed.

    Return its parser and the group of the options for weights.
    """
    stage = STAGES["extract"]
    parser = _plain(parsers, "extract", features_commands.extract, stage.help)
    _about_and_settings(parser, stage, required=False)
    weights = parser.add_mutually_exclusive_group()
    for one in stage.inputs:
        _input(weights if one.name == "weights" else parser, one)
    return parser, weights


def _about_and_settings(parser: argparse.ArgumentParser, stage: Stage, *, required: bool = True) -> None:
    for key in stage.about:
        flag, how = ABOUT[key]
        parser.add_argument(flag, **(how if required else how | {"required": False}))
    parser.add_argument("--manifest", type=Path, required=required, help="the manifest to write; it is written last")
    parser.add_argument("--settings", default="{}", help="settings as JSON, which the workflow passes")
    parser.set_defaults(stage=stage.name)


def _input(parser: argparse._ActionsContainer, one: Input) -> None:
    if one.several:
        parser.add_argument(f"--{one.name}", type=Path, nargs="*", default=[], help=one.help)
    else:
        parser.add_argument(f"--{one.name}", type=Path, required=True, help=one.help)
