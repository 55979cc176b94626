"""What each command of the command line does: take the options apart, call one stage.

Everything beyond the floor-1 and floor-2 modules is imported inside its command, so that a command pays only for what
it runs. Commands about features stand in `features.py`.
"""

from __future__ import annotations

import json
from argparse import Namespace

from pipeline import config, provenance
from pipeline.commands.options import by_split, file_behind, section, settings_of
from pipeline.errors import PipelineError, readable


def fetch(options: Namespace) -> None:
    """One file of sources.csv."""
    from pipeline.acquire.download import fetch as stage

    acquire = config.section(config.Acquire, json.dumps(settings_of(options).get("acquire", {})))
    stage(options.name, options.results, acquire, options.manifest)


def unpack(options: Namespace) -> None:
    """A fetched archive."""
    from pipeline.acquire.archives import unpack as stage

    stage(options.name, options.results, options.fetched, options.manifest)


def annotate(options: Namespace) -> None:
    """Released annotations to the common form."""
    from pipeline.acquire.annotations import annotations

    annotations(options.results, options.dataset, options.split, file_behind(options.fetched), options.manifest)


def videos(options: Namespace) -> None:
    """An account of a shard's videos."""
    from pipeline.video.account import videos as stage

    acquire = section(options, "acquire", config.Acquire)
    dataset = section(options, "dataset", config.Dataset)
    stage(options.results, options.dataset, dataset, options.shard, options.inputs, acquire, options.manifest)


def segment(options: Namespace) -> None:
    """Clip boundaries of a shard's videos."""
    from pipeline.video.segment import segment as stage

    place = (options.results, options.dataset, options.shard)
    grids = options.grids.split(",")
    stage(*place, grids=grids, videos_manifest=options.videos, manifest=options.manifest, clip=options.clip)


def probe(options: Namespace) -> None:
    """What video files hold, a line each. Raises PipelineError at the end when one of them cannot be used."""
    from pipeline.video.probe import probe as look

    unusable = 0
    for path in options.video:
        try:
            print(readable(f"{path}: {look(path)}"))
        except PipelineError as error:
            unusable += 1
            print(error)
    if unusable:
        raise PipelineError(f"{unusable} of {len(options.video)} files cannot be used", remedy="see the line of each")


def train(options: Namespace) -> None:
    """Train the runs of an experiment."""
    from pipeline.training.stage import part_from
    from pipeline.training.stage import train as stage

    experiment = section(options, "experiment", config.Experiment)
    stage(
        options.experiment,
        experiment,
        section(options, "dataset", config.Dataset),
        part_from(options.part, experiment.n_parts),
        options.results,
        by_split(options.annotations),
        options.features,
        options.manifest,
    )


def predict(options: Namespace) -> None:
    """Predict with the runs of an experiment."""
    from pipeline.training.stage import predict as stage

    stage(
        options.experiment,
        section(options, "experiment", config.Experiment),
        section(options, "dataset", config.Dataset),
        options.results,
        by_split(options.annotations),
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
        section(options, "experiment", config.Experiment),
        options.split,
        options.predictions,
        options.annotations,
        options.manifest,
        skip=settings_of(options).get("skip", []),
    )


def tabulate(options: Namespace) -> None:
    """A table of the paper, published beside reproduced."""
    from pipeline.reporting.tables import tabulate as stage

    settings = settings_of(options)
    experiments = {
        name: config.section(config.Experiment, json.dumps(raw))
        for name, raw in settings.get("experiments", {}).items()
    }
    title = settings.get("title", "")
    about = options.results, options.table, title, experiments
    stage(*about, options.metrics, options.runs, options.manifest, options.annotations, options.predictions)


def draw(options: Namespace) -> None:
    """Learning curves of an experiment and, for a sweep over numbers, its curve."""
    from pipeline.reporting.figures import draw as stage

    experiment = section(options, "experiment", config.Experiment)
    stage(options.results, options.experiment, experiment, options.runs, options.manifest)


def show(options: Namespace) -> None:
    """Print tables that were made, or the numbers of an experiment."""
    from pipeline.evaluation import stage as scored
    from pipeline.reporting import tables

    for manifest in options.manifest:
        print((scored if provenance.last_record(manifest).get("stage") == "score" else tables).texts(manifest))


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
    from pipeline.released.golden import verify

    checks = verify(options.path)
    for check in checks:
        print(
            f"{'ok ' if check.ok else 'BAD'} {check.quantity:<48} {check.difference:.2e}  allowed {check.tolerance:.2e}"
        )
    if bad := sum(not check.ok for check in checks):
        raise PipelineError(f"{bad} of {len(checks)} quantities differ", where=options.path, remedy="see the list")


def import_checkpoint(options: Namespace) -> None:
    """A released checkpoint to our weights; nothing in it is executed."""
    from pipeline.released.checkpoint import import_checkpoint as convert

    convert(options.checkpoint, options.output, options.method)


def estimate(options: Namespace) -> None:
    """Print what the experiments of a config will cost."""
    from pipeline.acquire import sources
    from pipeline.cost.estimate import estimate as costs
    from pipeline.cost.planned import planned_jobs
    from pipeline.cost.text import text
    from pipeline.reporting.feasible import check

    cfg = config.load_file(options.configfile)
    table = sources.load(cfg.acquire.sources)
    check(cfg, table, str(options.configfile))
    costed = costs(cfg, table)
    print(text(costed, str(options.configfile), planned_jobs(options.configfile)))


def schema(options: Namespace) -> None:  # noqa: ARG001 - every command has this form
    """Print the JSON schema of config.yaml."""
    print(config.schema(), end="")
