"""What each command of the command line does: take the options apart, call one stage.

Everything beyond the floor-1 and floor-2 modules is imported inside its command, so that a command pays only for what
it runs.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config, provenance
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.encoders.base import Weights


def fetch(options: Namespace) -> None:
    """One file of sources.csv."""
    from pipeline.acquire.download import fetch as stage

    acquire = config.section(config.Acquire, json.dumps(_settings(options).get("acquire", {})))
    stage(options.name, options.results, acquire, options.manifest)


def unpack(options: Namespace) -> None:
    """A fetched archive."""
    from pipeline.acquire.archives import unpack as stage

    stage(options.name, options.results, options.fetched, options.manifest)


def annotate(options: Namespace) -> None:
    """Released annotations to the common form."""
    from pipeline.datasets.annotations import annotations

    annotations(options.results, options.dataset, options.split, _file(options.fetched), options.manifest)


def videos(options: Namespace) -> None:
    """An account of a shard's videos."""
    from pipeline.video.account import videos as stage

    acquire = _section(options, "acquire", config.Acquire)
    dataset = _section(options, "dataset", config.Dataset)
    stage(options.results, options.dataset, dataset, options.shard, options.inputs, acquire, options.manifest)


def segment(options: Namespace) -> None:
    """Clip boundaries of a shard's videos."""
    from pipeline.video.segment import segment as stage

    place = (options.results, options.dataset, options.shard)
    stage(*place, grids=options.grids.split(","), videos_manifest=options.videos, manifest=options.manifest)


def probe(options: Namespace) -> None:
    """What video files hold, a line each. Raises PipelineError at the end when one of them cannot be used."""
    from pipeline.video.probe import probe as look

    unusable = 0
    for path in options.video:
        try:
            print(f"{path}: {look(path)}")
        except PipelineError as error:
            unusable += 1
            print(error)
    if unusable:
        raise PipelineError(f"{unusable} of {len(options.video)} files cannot be used", remedy="fetch those again")


def features_extract(options: Namespace) -> None:
    """One decode of a shard, one store per family; or features of one file of one's own."""
    shard, own = ("dataset", "shard", "reader", "manifest"), ("video", "family", "output")
    if options.video is not None:
        _one_form(options, own, (*shard, "inputs"))
        _extract_own(options)
        return
    _one_form(options, shard, (*own, "grid", "random"))
    from pipeline.features.stage import extract as stage

    stage(
        options.results,
        options.dataset,
        options.shard,
        dataset=_section(options, "dataset", config.Dataset),
        reader=options.reader,
        families=_settings(options).get("families", []),
        encoding=_section(options, "encoding", config.Encoding),
        weights={manifest.parent.name: manifest for manifest in options.weights},
        inputs=options.inputs,
        manifest=options.manifest,
    )


def _one_form(options: Namespace, needed: Sequence[str], foreign: Sequence[str]) -> None:
    """Raise PipelineError for options of the other form of a command, and for a needed one that is not given."""
    given = {name for name in (*needed, *foreign) if getattr(options, name) not in (None, [])}
    forms = "name a shard (--dataset --shard --reader --manifest), or a file of your own (--video --family --output)"
    if strange := [f"--{name}" for name in foreign if name in given]:
        raise PipelineError(f"{', '.join(strange)} cannot stand beside --{needed[0]}", remedy=forms)
    if missing := [f"--{name}" for name in needed if name not in given]:
        raise PipelineError(f"{', '.join(missing)} not given", remedy=forms)


def _extract_own(options: Namespace) -> None:
    from pipeline.encoders.base import Weights
    from pipeline.features.inspection import describe_rows
    from pipeline.features.own_file import extract_own

    weights = Weights.joined(*_own_weights(options))
    with extract_own(options.video, options.family, options.grid or "2s", weights, options.output) as store:
        print(f"{options.output}: {describe_rows(store, options.video.stem)}")


def _own_weights(options: Namespace) -> list[Weights]:
    """Random ones, the files named, or those that were fetched: one for each network of the family."""
    from pipeline.acquire.weights import weights_file
    from pipeline.encoders.base import Weights
    from pipeline.features.own_file import made_of_video

    sources = made_of_video(options.family).weights
    if options.random is not None:
        return [Weights.named(f"random:{options.random}", None) for _ in sources]
    if options.weights and len(options.weights) != len(sources):
        raise PipelineError(
            f"{options.family} takes a file each of {', '.join(sources)}; {len(options.weights)} are given",
            where="--weights",
            remedy="name them in that order",
        )
    files = [_file(path) for path in options.weights] or [weights_file(name, options.results) for name in sources]
    return [Weights.named("released", path) for path in files]


def features_import(options: Namespace) -> None:
    """Stores from a released archive."""
    from pipeline.features.stage import import_archive as stage

    stage(
        options.results,
        options.dataset,
        options.name,
        dataset=_section(options, "dataset", config.Dataset),
        families=_settings(options).get("families", []),
        unpacked=options.unpacked,
        annotations=options.annotations,
        manifest=options.manifest,
    )


def features_export(options: Namespace) -> None:
    """Stores in the layout of the released archives."""
    from pipeline.features.export import export

    for done in export(options.stores, options.dataset, options.output):
        print(done)


def features_compare(options: Namespace) -> None:
    """Print how two stores differ, the verdict last."""
    from pipeline.features.compare import compare_stores
    from pipeline.features.comparison import text, write_csv

    comparison = compare_stores(options.a, options.b)
    if options.output:
        write_csv(comparison, options.output)
    print(text(comparison, str(options.a), str(options.b)))


def features_inspect(options: Namespace) -> None:
    """Print what a store holds; draw one video's rows."""
    from pipeline.features.inspection import describe, describe_rows, draw
    from pipeline.features.store import open_stores

    with open_stores(options.store) as store:
        vid = options.vid or (store.keys()[0] if len(store) == 1 else None)
        if vid is None and options.video:
            raise PipelineError(f"holds {len(store)} vids", where=options.store, remedy="name the video's vid too")
        if options.vid is None:
            print(describe(store))
        if vid is not None:
            print(describe_rows(store, vid))
            print(draw(store, vid, options.video, options.output or options.results / "inspect"))


def train(options: Namespace) -> None:
    """Train the runs of an experiment."""
    from pipeline.training.stage import train as stage

    number, _, _ = options.part.partition("of")
    stage(
        options.experiment,
        _section(options, "experiment", config.Experiment),
        _section(options, "dataset", config.Dataset),
        int(number) - 1,
        options.results,
        _by_split(options.annotations),
        options.features,
        options.manifest,
    )


def predict(options: Namespace) -> None:
    """Predict with the runs of an experiment."""
    from pipeline.training.stage import predict as stage

    stage(
        options.experiment,
        _section(options, "experiment", config.Experiment),
        _section(options, "dataset", config.Dataset),
        options.results,
        _by_split(options.annotations),
        options.runs,
        options.features,
        options.manifest,
    )


def score(options: Namespace) -> None:
    """Score every run of an experiment."""
    from pipeline.evaluation.stage import score_experiment

    score_experiment(
        options.results,
        options.experiment,
        _section(options, "experiment", config.Experiment),
        options.split,
        options.predictions,
        options.annotations,
        options.manifest,
    )


def tabulate(options: Namespace) -> None:
    """A table of the paper, published beside reproduced."""
    from pipeline.reporting.tables import tabulate as stage

    settings = _settings(options)
    experiments = {
        name: config.section(config.Experiment, json.dumps(raw))
        for name, raw in settings.get("experiments", {}).items()
    }
    title = settings.get("title", "")
    about = options.results, options.table, title, experiments
    stage(*about, options.metrics, options.runs, options.manifest, options.annotations)


def figures(options: Namespace) -> None:
    """Learning curves of an experiment and, for a sweep over numbers, its curve."""
    from pipeline.reporting.figures import draw

    experiment = _section(options, "experiment", config.Experiment)
    draw(options.results, options.experiment, experiment, options.runs, options.manifest)


def show(options: Namespace) -> None:
    """Print tables that were made."""
    from pipeline.reporting.tables import texts

    for manifest in options.manifest:
        print(texts(manifest))


def demo(options: Namespace) -> None:
    """Small benchmarks made here, from videos to tables."""
    from pipeline.demo import run

    run(options.cores)


def evaluate(options: Namespace) -> None:
    """Score one prediction file and print its headline."""
    from pipeline.evaluation import format_headline, score_files

    files = (options.dataset, options.predictions, options.annotations, options.output)
    print(format_headline(score_files(*files, despite_errors=options.despite_errors)))


def validate(options: Namespace) -> None:
    """Print all findings about one prediction file. Raises PipelineError when there are errors among them."""
    from pipeline.evaluation import format_findings, validate_files

    findings = validate_files(options.dataset, options.predictions, options.annotations)
    print(format_findings(findings) or "no findings")
    if n := sum(finding.level == "E" for finding in findings):
        raise PipelineError(f"{n} errors", where=options.predictions, remedy="correct them; warnings may stay")


def compare(options: Namespace) -> None:
    """Print the paired comparison of two prediction files."""
    from pipeline.evaluation import compare_files, format_comparison

    rows = compare_files(
        options.dataset, options.a, options.b, options.annotations, resamples=options.resamples, seed=options.seed
    )
    print(format_comparison(rows, str(options.a), str(options.b)))


def verify_golden(options: Namespace) -> None:
    """Print the largest difference per quantity. Raises PipelineError where one is above its tolerance."""
    from pipeline.training.golden import verify

    checks = verify(options.path)
    for check in checks:
        print(
            f"{'ok ' if check.ok else 'BAD'} {check.quantity:<48} {check.difference:.2e}  allowed {check.tolerance:.2e}"
        )
    if bad := sum(not check.ok for check in checks):
        raise PipelineError(f"{bad} of {len(checks)} quantities differ", where=options.path, remedy="see the list")


def import_checkpoint(options: Namespace) -> None:
    """A released checkpoint to our weights; nothing in it is executed."""
    from pipeline.training.released_checkpoint import import_checkpoint as convert

    convert(options.checkpoint, options.output)


def schema(options: Namespace) -> None:  # noqa: ARG001 - every command has this form
    """Print the JSON schema of config.yaml."""
    print(config.schema(), end="")


def _settings(options: Namespace) -> dict[str, Any]:
    """`--settings` as a dict. Raises PipelineError for text that is no JSON object."""
    try:
        settings = json.loads(options.settings)
    except ValueError as error:
        raise PipelineError(f"is no JSON ({error})", where="--settings", remedy="pass a JSON object") from error
    if not isinstance(settings, dict):
        raise PipelineError("is no JSON object", where="--settings", remedy='pass {"dataset": …}')
    return settings


def _section(options: Namespace, key: str, kind: type[config.S]) -> config.S:
    """A section of the config among the settings. Raises PipelineError where it is missing or does not fit."""
    settings = _settings(options)
    if key not in settings:
        raise PipelineError(f"has no `{key}`", where="--settings", remedy="pass what the rule of this stage passes")
    return config.section(kind, json.dumps(settings[key]))


def _by_split(manifests: list[Path]) -> dict[str, Path]:
    """Annotation manifests (or files) by the split they are named after."""
    return {path.stem: path for path in manifests}


def _file(path: Path) -> Path:
    """The one file behind a `fetch` manifest; any other path stands for itself."""
    return provenance.files_of(path)[0] if path.suffix == ".json" else path
