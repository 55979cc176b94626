"""What every stage is asked for, by the config, in the form in which its manifest records it.

Two places read this. The stage itself hands it to `run_stage`. The plan of the workflow compares it with the manifests
that are there (`stale.py`). What is written here once is therefore the same in both, and a manifest whose work failed,
was killed or was done for another config is told from a good one without a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.config import Dataset, Encoding, Experiment, Features
from pipeline.errors import PipelineError
from pipeline.layout import AnnotationFile, Layout, PredictionFile, RunFile, StorePlace
from pipeline.provenance import FAMILIES, REVISIONS, Asked
from pipeline.shards import shard_name, shard_of


def fetch(name: str, file: str, digest: str | None) -> Asked:
    """A file of sources.csv. Its address is no setting: a file is the same wherever it came from."""
    return Asked("fetch", {"name": name, "file": file, "digest": digest})


def unpack(name: str, fetched: Path) -> Asked:
    """An archive. fetched: the manifest of its `fetch`."""
    return Asked("unpack", {"name": name}, [fetched])


def annotate(dataset: str, split: str, source_file: Path) -> Asked:
    """Annotations in the common form. source_file: the manifest of its `fetch`, or the file itself."""
    return Asked("annotate", {"dataset": dataset, "split": split}, [source_file])


def videos(name: str, dataset: Dataset, shard: str, inputs: Sequence[Path]) -> Asked:
    """An account of a shard's videos. inputs: manifests of `annotate` and, for an archive, of `unpack`."""
    settings = {"dataset": name, "shard": shard, "shards": dataset.shards, "videos": dataset.videos}
    return Asked("videos", settings | _skip(skipped_in(dataset, shard)), inputs)


def skipped_in(dataset: Dataset, shard: str) -> list[str]:
    """The vids of one shard that no stage uses, so that another vid under `skip` changes its own shard alone."""
    return [vid for vid in dataset.skip if shard_name(shard_of(vid, dataset.shards)) == shard]


def segment(grids: Iterable[str], clip: str, videos_manifest: Path) -> Asked:
    """Clip boundaries of a shard's videos on each grid. clip: the grid of the labels."""
    return Asked("segment", {"grids": sorted(set(grids)), "clip": clip}, [videos_manifest])


def extract(
    layout: Layout,
    name: str,
    dataset: Dataset,
    shard: str,
    *,
    reader: str,
    families: Iterable[str],
    encoding: Encoding,
    weights: Mapping[str, Path],
    inputs: Sequence[Path],
) -> Asked:
    """Rows of one reader's families for one shard. weights: source name → weight file, or the manifest of its fetch."""
    grids = {family: dataset.grid_of(family) for family in sorted(families)}
    choices = choices_of(grids, encoding)
    settings = {
        "families": _with_revisions(grids),
        "encoding": {"dtype": encoding.dtype, "weights": choices, "seconds_per_video": encoding.seconds_per_video},
        "shards": dataset.shards,
    }
    accounts = [] if reader == "words" else [layout.account(name, shard)]
    return Asked("extract", settings, [*inputs, *accounts, *released_weights(choices, weights).values()])


def choices_of(families: Iterable[str], encoding: Encoding) -> dict[str, str]:
    """Weights of these families, by their name in sources.csv: `released`, or `random:SEED`."""
    names = sorted({name for family in families for name in FAMILIES[family].weights})
    return {name: encoding.weights.get(name, "released") for name in names}


def released_weights(choices: Mapping[str, str], weights: Mapping[str, Path]) -> dict[str, Path]:
    """Those of the given weight files that are read: random weights need none."""
    return {name: weights[name] for name in choices if choices[name] == "released" and name in weights}


def import_archive(archive: str, dataset: Dataset, families: Iterable[str], inputs: Sequence[Path]) -> Asked:
    """Stores made from a released archive. inputs: manifests of all splits' annotations, and what the archive left."""
    grids = {family: dataset.grid_of(family) for family in sorted(families)}
    settings = {"archive": archive, "families": _with_revisions(grids), "shards": dataset.shards}
    return Asked("import", settings | _skip(dataset.skip), inputs)


def train(
    name: str,
    experiment: Experiment,
    dataset: Dataset,
    part: int,
    annotations: Mapping[str, Path],
    features: Sequence[Path],
) -> Asked:
    """Every `jobs`-th run of an experiment, from the `part`-th (counted from 0). annotations: manifests by split.

    Raises PipelineError for an experiment without features and where train's or val's annotations are missing.
    """
    runs = experiment.runs[part :: experiment.n_parts]
    stores = store_places(name, experiment, dataset)
    inputs = [*splits(annotations, ("train", "val")).values(), *features]
    return Asked("train", _runs(name, experiment, dataset, runs), inputs, _learned_from(stores.values()))


def predict(
    name: str,
    experiment: Experiment,
    dataset: Dataset,
    annotations: Mapping[str, Path],
    runs: Sequence[Path],
    features: Sequence[Path],
) -> Asked:
    """Predictions of every run of an experiment. runs: manifests of all parts of the training."""
    learned_from = _learned_from(store_places(name, experiment, dataset).values())

    def is_read(path: Path) -> bool:
        of_run = RunFile.of(path)
        return learned_from(path) or (of_run is not None and of_run.experiment == name)

    inputs = [*annotations.values(), *runs, *features]
    return Asked("predict", _runs(name, experiment, dataset, experiment.runs), inputs, is_read)


def score(
    name: str, experiment: Experiment, split: str, predictions: Path, annotations: Path, skip: Iterable[str] = ()
) -> Asked:
    """The numbers of every run on one split. predictions: the manifest of `predict`, or of a released file's fetch.

    skip: vids that no stage uses.
    """

    def is_read(path: Path) -> bool:
        file = PredictionFile.of(path) or AnnotationFile.of(path)
        return file is not None and file.split == split

    only = None if experiment.source == "predictions" else is_read
    settings = {"experiment": name, "dataset": experiment.dataset, "split": split}
    return Asked("score", settings | _skip(skip), [predictions, annotations], only)


def tabulate(title: str, experiments: Mapping[str, Experiment], published: Path, inputs: Sequence[Path]) -> Asked:
    """A table of the paper. published: its numbers, part of the code, so known by digest and not by place.

    inputs: the manifests that the table is made from.
    """
    shown = {name: experiment.model_dump(mode="json") for name, experiment in experiments.items()}
    settings = {"title": title, "experiments": shown, "published": files.sha256(published)}
    return Asked("tabulate", settings, inputs)


def draw(name: str, experiment: Experiment, runs: Sequence[Path]) -> Asked:
    """Learning curves of an experiment."""
    return Asked("draw", {"name": name, "experiment": experiment.model_dump(mode="json")}, runs)


def features_of(name: str, experiment: Experiment) -> Features:
    """What an experiment learns from. Raises PipelineError for one that only scores predictions."""
    if experiment.features is None:
        raise PipelineError(
            f"has no features to learn from (`source: {experiment.source}`)", where=name, remedy="score it instead"
        )
    return experiment.features


def store_places(name: str, experiment: Experiment, dataset: Dataset) -> dict[str, StorePlace]:
    """Map each family to the place of its stores; those of an archive lie apart from those made here."""
    archive = dict.fromkeys(experiment.archived, experiment.archive)
    families = features_of(name, experiment).all
    return {family: StorePlace(family, dataset.grid_of(family), archive.get(family)) for family in families}


def _learned_from(stores: Iterable[StorePlace]) -> Callable[[Path], bool]:
    """Whether a file is one of these stores, or holds annotations."""
    places = tuple(stores)
    return lambda path: any(place.holds(path) for place in places) or AnnotationFile.of(path) is not None


def splits(annotations: Mapping[str, Path], wanted: Sequence[str]) -> dict[str, Path]:
    """The annotations of the wanted splits. Raises PipelineError where one is missing."""
    if missing := [split for split in wanted if split not in annotations]:
        raise PipelineError(
            f"no annotations of {', '.join(missing)}", where="--annotations", remedy="name the manifests of `annotate`"
        )
    return {split: annotations[split] for split in wanted}


def _runs(name: str, experiment: Experiment, dataset: Dataset, runs: Sequence[str]) -> dict[str, Any]:
    """What can change a number of these runs, and nothing else."""
    return _skip(dataset.skip) | {
        "experiment": name,
        "dataset": experiment.dataset,
        "families": {family: str(place) for family, place in store_places(name, experiment, dataset).items()},
        "features": features_of(name, experiment).model_dump(mode="json"),
        "runs": {run: experiment.settings_of(run).recorded() for run in runs},
    }


def _with_revisions(grids: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    return {family: {"grid": grid, "revision": REVISIONS[family]} for family, grid in grids.items()}


def _skip(vids: Iterable[str]) -> dict[str, Any]:
    """The vids that no stage uses. An empty list is not recorded, so that it makes no older manifest stale."""
    listed = sorted(vids)
    return {"skip": listed} if listed else {}
