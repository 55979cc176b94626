"""Commands about features: extract, import, export, compare, inspect."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import config_families, families, stage_settings, yaml_file
from pipeline.commands import stage
from pipeline.errors import PipelineError, readable
from pipeline.families import FAMILIES
from pipeline.layout import Layout
from pipeline.manifests import listed_or_itself
from pipeline.nouns import counted
from pipeline.own_families import RANDOM

if TYPE_CHECKING:
    from pipeline.encoders.base import Weights


def extract(options: Namespace) -> None:
    """Make the stores of a shard with one decode, or the features of one file of the user's own."""
    shard, own = ("dataset", "shard", "reader", "manifest"), ("video", "family", "output")
    if options.video is not None:
        _one_form(options, own, (*shard, "inputs"))
        _extract_own(options)
        return
    _one_form(options, shard, (*own, "grid", "random", "configfile"))
    stage(options)


def _one_form(options: Namespace, needed: Sequence[str], foreign: Sequence[str]) -> None:
    """Raise PipelineError for options that belong to the other form of a command, and for missing options."""
    given = {name for name in (*needed, *foreign) if getattr(options, name) not in (None, [])}
    forms = "name a shard (--dataset --shard --reader --manifest), or a file of your own (--video --family --output)"
    if strange := [f"--{name}" for name in foreign if name in given]:
        raise PipelineError(f"{', '.join(strange)} cannot be used together with --{needed[0]}", remedy=forms)
    if missing := [f"--{name}" for name in needed if name not in given]:
        raise PipelineError(f"{', '.join(missing)} not given", remedy=forms)


def _extract_own(options: Namespace) -> None:
    from pipeline.encoders.base import Weights
    from pipeline.features.looking.inspection import describe_rows
    from pipeline.features.making.own_file import extract_own, made_of_video, own_vid

    _learn_families(options.family, options.configfile)
    made_of_video(options.family)  # For a family that is not made from videos, this error names the families that are.
    own = stage_settings.own_file(options.family, options.grid or FAMILIES[options.family].grid, options.random)
    weights = Weights.joined(*_own_weights(own, options))
    with extract_own(options.video, own.family, own.grid, weights, options.output) as store:
        print(readable(f"{options.output}: {describe_rows(store, own_vid(options.video))}"))


def _learn_families(family: str, configfile: Path | None) -> None:
    """Register the families of a config in this process.

    configfile: its path. With None a config.yaml of the working folder is read, if the pipeline has no such family.
    """
    path = configfile or Path("config.yaml")
    if configfile is None and (family in FAMILIES or not path.is_file()):
        return
    families.learn(config_families.definitions(yaml_file.read(path), str(path)))


def _own_weights(own: stage_settings.OwnFile, options: Namespace) -> list[Weights]:
    """Return one set of weights for each network of the family: random ones, those of the named files, or those that
    were fetched."""
    from pipeline.acquire.weights import weights_file
    from pipeline.encoders.base import Weights
    from pipeline.features.making.own_file import made_of_video

    sources = made_of_video(own.family).weights
    if own.weights != "released":
        return [Weights.named(own.weights, None) for _ in sources]
    if options.weights and len(options.weights) != len(sources):
        raise PipelineError(
            f"{own.family} needs one file for each of {', '.join(sources)}, and {len(options.weights)} are given",
            where="--weights",
            remedy="name them in that order",
        )
    if all(source.startswith(RANDOM) for source in sources) and not options.weights:
        return [Weights.named(source, None) for source in sources]
    originals = families.own_weight_files()
    files = [listed_or_itself(path)[0] for path in options.weights] or [
        originals.get(name) or weights_file(name, options.results) for name in sources
    ]
    return [Weights.named("released", path) for path in files]


def export(options: Namespace) -> None:
    """Export stores in the layout of the released archives."""
    from pipeline.features.exchange.export import export

    for done in export(options.stores, options.dataset, options.output):
        print(done)


def compare(options: Namespace) -> None:
    """Print how two stores differ, the verdict last."""
    from pipeline.features.looking.compare import compare_stores
    from pipeline.features.looking.compare_text import text, write_csv

    if options.output and options.output.suffix != ".csv":  # It may be the name of a store.
        raise PipelineError("is no name for a CSV file", where=options.output, remedy="name a FILE.csv")
    comparison = compare_stores(options.a, options.b)
    if options.output:
        write_csv(comparison, options.output)
    print(text(comparison, str(options.a), str(options.b)))


def inspect(options: Namespace) -> None:
    """Print the content of a store, and draw the rows of one video."""
    from pipeline.features.looking.inspection import describe, describe_rows, draw
    from pipeline.features.store import open_stores

    with open_stores(options.store) as store:
        vid = options.vid or (store.keys()[0] if len(store) == 1 else None)
        if vid is None and options.video:
            raise PipelineError(
                f"holds {counted(len(store), 'vid')}", where=options.store, remedy="name the video's vid too"
            )
        if options.vid is None:
            print(describe(store))
        if vid is not None:
            print(describe_rows(store, vid))
            print(draw(store, vid, options.video, options.output or Layout(options.results).pictures()))
