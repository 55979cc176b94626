"""What every rules file uses: the validated config, path patterns, and one input function per question. No rules."""

import json
import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError

# The jobs' python is the one that runs Snakemake, and `pipeline` is found from the repository root.
sys.path.insert(0, str(Path(workflow.basedir).parent))
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]))

from pipeline import config as typed
from pipeline import devices, provenance
from pipeline.acquire import sources as source_table
from pipeline.shards import shard_names
from pipeline.errors import PipelineError

try:
    cfg = typed.load(config)
    SOURCES = source_table.load(cfg.acquire.sources)
    if workflow.is_main_process:
        provenance.drop_incomplete(Path(cfg.results))
except PipelineError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    dataset="qvhighlights|charades_sta|tvsum",
    split="train|val|test",
    shard=r"\d{5}",
    reader="frames224|native|sound|words",
    experiment="[a-z0-9_]+",
    part=r"\d+of\d+",
    table="table[1-4]|evidence",
    name="[A-Za-z0-9-]+",


paths = SimpleNamespace(
    **{
        kind: f"{cfg.results}/{pattern}"
        for kind, pattern in {
            "fetched": "resources/{name}/fetch.json",
            "unpacked": "resources/{name}/unpack.json",
            "annotations": "annotations/{dataset}/{split}.json",
            "videos": "videos/{dataset}/{shard}.json",
            "segments": "segments/{dataset}/{shard}.json",
            "features": "features/{dataset}/{reader}/{shard}.json",
            "archive": "features/{dataset}/+{name}.json",
            "runs": "runs/{experiment}.{part}.json",
            "predictions": "predictions/{experiment}.json",
            "metrics": "metrics/{experiment}.{split}.json",
            "table": "tables/{table}.json",
        }.items()
    },
    log=lambda stage: f"{cfg.results}/logs/{stage}/" + "{wildcards}.log",
)


def stage(command):
    """The shell command that runs a stage; every rule's command is one of these."""
    return f"python -m pipeline --results {shlex.quote(cfg.results)} {command}"


def experiment_of(wildcards):
    """The resolved experiment a job works for."""
    try:
        return cfg.experiments[wildcards.experiment]
    except KeyError:
        known = ", ".join(cfg.experiments)
        raise WorkflowError(f"no experiment {wildcards.experiment!r} in the config; known are {known}") from None


def raw_families(dataset, reader=None):
    """Families that experiments of `dataset` make from raw (by `reader`), each once, in a fixed order."""
    wanted = {
        family
        for experiment in cfg.experiments.values()
        if experiment.dataset == dataset and experiment.source == "raw"
        for family in experiment.features.all
    }
    return sorted(f for f in wanted if reader in (None, provenance.FAMILIES[f].reader))


def grids_of(dataset):
    """Grids on which videos of `dataset` are cut into clips."""
    grids = {cfg.datasets[dataset].grid_of(family) for family in raw_families(dataset)}
    return sorted(grids - {"tokens"})


def annotations_of(dataset, splits=None):
    """Annotation manifests of a dataset, all splits or those named."""
    splits = splits or list(cfg.datasets[dataset].annotations)
    return expand(paths.annotations, dataset=dataset, split=splits)


def all_annotations():
    """Annotation manifests of every dataset."""
    return [manifest for dataset in cfg.datasets for manifest in annotations_of(dataset)]


def videos_of_shard(wildcards):
    """What a shard's account of videos stands on: all splits' annotations, and the archive where there is one."""
    name = cfg.datasets[wildcards.dataset].videos
    archive = expand(paths.unpacked, name=name) if SOURCES.is_archive(name) else []
    return annotations_of(wildcards.dataset) + archive


def decoded_for(wildcards):
    """Segments of the shard for what sees or hears, annotations for what reads."""
    if wildcards.reader == "words":
        return annotations_of(wildcards.dataset)
    return expand(paths.segments, **wildcards)


def weights_of_reader(wildcards):
    """Weight files of the reader's families; none for random weights (demo, tests)."""
    names = {provenance.FAMILIES[f].weights for f in raw_families(wildcards.dataset, wildcards.reader)}
    released = [n for n in sorted(names - {None}) if cfg.encoding.weights.get(n, "released") == "released"]
    return expand(paths.fetched, name=released)


def features_of(wildcards):
    """Every feature manifest an experiment trains on: its readers' shards, or the one of its archive."""
    experiment = experiment_of(wildcards)
    if experiment.source == "features":
        return expand(paths.archive, dataset=experiment.dataset, name=experiment.archive)
    readers = sorted({provenance.FAMILIES[f].reader for f in experiment.features.all})
    shards = shard_names(cfg.datasets[experiment.dataset].shards)
    return expand(paths.features, dataset=experiment.dataset, reader=readers, shard=shards)


def parts_of(wildcards):
    """Training manifests of all parts of an experiment."""
    jobs = experiment_of(wildcards).jobs
    return expand(
        paths.runs,
        experiment=wildcards.experiment,
        part=[f"{i + 1}of{jobs}" for i in range(jobs)],
    )


def to_score(wildcards):
    """Where an experiment's predictions come from: its own, or the released file."""
    experiment = experiment_of(wildcards)
    if experiment.source == "predictions":
        return expand(paths.fetched, name=experiment.predictions[wildcards.split])
    return expand(paths.predictions, experiment=wildcards.experiment)


def predicted_splits(wildcards):
    """Splits an experiment predicts: val, and test where its row reports test."""
    return sorted({"val", experiment_of(wildcards).report}, reverse=True)


def archive_families(dataset, archive):
    """Families that experiments of `dataset` take from a released archive."""
    wanted = {
        family
        for experiment in cfg.experiments.values()
        if (experiment.dataset, experiment.source, experiment.archive) == (dataset, "features", archive)
        for family in experiment.features.all
    }
    return sorted(wanted)


def shown_in(table):
    """The experiments that a table (`table1` … `table4`, or `evidence`) shows, by name."""
    if table == "evidence":
        return {name: e for name, e in cfg.experiments.items() if e.source == "predictions"}
    return {name: e for name, e in cfg.experiments.items() if f"table{e.table}" == table}


def metrics_behind(table):
    """Metric manifests behind a table, each on the split its row reports."""
    return [paths.metrics.format(experiment=name, split=e.report) for name, e in shown_in(table).items()]


def runs_behind(table):
    """Training manifests behind a table: their logs say how the reported epoch was selected."""
    trained = {name: e for name, e in shown_in(table).items() if e.source != "predictions"}
    return [
        paths.runs.format(experiment=name, part=f"{i + 1}of{e.jobs}")
        for name, e in trained.items()
        for i in range(e.jobs)
    ]


def settings(**values):
    """Settings as the JSON a command takes."""
    return json.dumps(values, default=lambda value: value.model_dump(mode="json"))


def say_where_gpu_rules_run():
    """One line, once per invocation."""
    gpus = devices.visible_gpus()
    print(
        (f"gpu rules run on {len(gpus)} GPU(s)" if gpus else "no GPU here: gpu rules run on the CPU"),
        file=sys.stderr,
    )
