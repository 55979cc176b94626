"""The command `new-dataset`. It checks and describes a user's own file, and writes a config for it that can be run."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from pipeline import files
from pipeline.config_experiment import SEEDS
from pipeline.config_own import NAME
from pipeline.datasets import PAPERS, own_table
from pipeline.datasets.own_queries import check_durations, queries_of
from pipeline.errors import PipelineError
from pipeline.grids import grid_seconds
from pipeline.layout import Layout
from pipeline.layout.runs import RunId
from pipeline.nouns import counted
from pipeline.records import Query
from pipeline.version import has_workflow, program

USUAL_CLIPS = 75
"""Largest number of clips of a video that training keeps by default."""


def add(parser: argparse.ArgumentParser, grid: Any) -> None:
    """Add the arguments of the command. grid: a function that reads the name of a grid."""
    parser.add_argument(
        "annotations", type=Path, metavar="FILE", help="video,query,start,end[,score][,split]; or JSONL"
    )
    parser.add_argument("--videos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--name", help="name of the dataset (default: the name of the file)")
    parser.add_argument(
        "--clip", type=grid, default="2s", metavar="GRID", help="length of a clip, 0.5s to 10s (default: 2s)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.yaml", help="the config to write (default: NAME.yaml)")


def run(options: Namespace) -> None:
    """Check every row, print what the dataset contains, write a config that trains on it, and print what that will
    cost.

    Raises PipelineError for rows that cannot be used, and for a config that exists already and is different.
    """
    from pipeline.video.own_dataset import durations_of

    name = options.name or options.annotations.stem.lower().replace("-", "_")
    if name in PAPERS or not NAME.fullmatch(name):
        raise PipelineError(
            f"`{name}` cannot be the name of your dataset, because it is in use or not allowed",
            remedy="name it: --name mine",
        )
    for path in (options.annotations, options.videos):
        if "$" in str(path.absolute()):
            what = "holds a `$`, which begins a variable in a config"
            raise PipelineError(what, where=path.absolute(), remedy="rename that file or folder")
    table = own_table.read(options.annotations, options.videos)
    found = durations_of(table, Layout(options.results).own_durations(name))
    check_durations(table, found, options.clip)
    table.refuse()
    durations = {vid: seconds for vid, seconds in found.items() if isinstance(seconds, Fraction)}
    splits = queries_of(table, durations, options.clip)
    print(described(name, splits, durations, options.clip, table.raters))
    output = options.output or Path(f"{name}.yaml")
    _write(output, options, name, durations, splits)
    print(f"\n{output}: a config with one experiment. Train and score it, see all of it on a page, and ask a run:")
    if not has_workflow():
        print(
            "  (Training needs a checkout of the project: this installation has no workflow. Run these commands there.)"
        )
        output = output.absolute()
    print(f"  snakemake --cores 2 table_{name} --configfile {output}")
    print(f"  snakemake --cores 2 report --configfile {output}")
    run = Layout(options.results).run(f"{name}_clip", str(RunId(seed=SEEDS[0])))
    print(f'  {program()} ask VIDEO "query" --run {run} --output DIR\n')
    _say_cost(output)


def described(
    name: str, splits: Mapping[str, Sequence[Query]], durations: Mapping[str, Fraction], clip: str, raters: int
) -> str:
    """Return the content of a dataset as lines of text: videos, hours, queries, windows per query, and lengths."""
    queries = [query for some in splits.values() for query in some]
    windows = [end - start for query in queries for start, end in query.relevant_windows or ()]
    lengths = [float(seconds) for seconds in durations.values()]
    each = ", ".join(
        f"{split} {len(some)} in {counted(len({q.vid for q in some}), 'video')}" for split, some in splits.items()
    )
    asked = counted(len(queries), "query")
    rated = f"clips of {clip}, rated by {raters}" if raters else f"clips of {clip}, not rated: moments only"
    return "\n".join(
        [
            f"{name}: {counted(len(durations), 'video')}, {sum(lengths) / 3600:.2f} hours, {asked}; {rated}",
            f"  queries: {each}",
            f"  windows per query: {len(windows) / len(queries):.2f} on average,"
            f" {max(len(query.relevant_windows or ()) for query in queries)} at most",
            f"  seconds of a window: {_spread(windows)}",
            f"  seconds of a video: {_spread(lengths)}",
        ]
    )


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}, half of them up to {median(values):.2f}"


def _write(
    output: Path, options: Namespace, name: str, durations: Mapping[str, Fraction], splits: Iterable[str]
) -> None:
    import yaml

    clips = ceil(max(durations.values()) / grid_seconds(options.clip))
    training: dict[str, Any] = {"epochs": 100, "batch_size": 32}
    if clips > USUAL_CLIPS:
        training["max_clips"] = clips
    content = {
        "title": name,
        "results": str(options.results),
        "seeds": list(SEEDS),
        "datasets": {
            name: {
                "annotations": str(options.annotations.absolute()),
                "videos": str(options.videos.absolute()),
                "clip": options.clip,
            }
        },
        "training": {name: training},
        "experiments": {
            f"{name}_clip": {
                "dataset": name,
                "features": {"video": ["clip-vit-b32"], "text": "clip-text"},
                "report": "test" if "test" in splits else "val",
            }
        },
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    files.refuse_special(output)
    if output.exists() and _bytes_of(output) != text.encode():
        raise PipelineError("is there already", where=output, remedy="name another file: --output FILE.yaml")
    with files.atomic(output) as file:
        file.write(text)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise files.cannot_read(path, error) from error


def _say_cost(output: Path) -> None:
    from pipeline.commands import estimate

    estimate(Namespace(configfile=output, config=[]))
