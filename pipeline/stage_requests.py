"""Computes what every stage is asked for by the config, in the form in which its manifest records it.

The result is used in two places. The stage itself passes it to `run_stage`. The plan of the workflow compares it with
the existing manifests (`stale.py`). Because both use the same functions, the plan finds exactly those manifests whose
work failed, was killed, or was done for another config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import datasets, files
from pipeline import stage_settings as of
from pipeline.config import Dataset, Encoding, Experiment, Features
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, choice_of
from pipeline.layout import annotations_by_split, sources_by_name
from pipeline.layout.places import AnnotationFile, PredictionFile, RunFile, StorePlace
from pipeline.provenance import StageRequest
from pipeline.shards import shard_name, shard_of
from pipeline.stages import StageJob

SECOND_READ = "frames224"
"""The reader whose frames a second reader can decode, too."""
MISSING = "missing"
"""The setting of `train` about missing videos. It changes no number."""


def fetch(job: StageJob[of.Fetch], file: str, digest: str | None) -> StageRequest:
    """Return what the fetch of a file of sources.csv depends on.

    Its address is no setting, because a file is the same wherever it came from.
    """
    return StageRequest("fetch", {"name": job.about["name"], "file": file, "digest": digest})


def unpack(job: StageJob[of.Nothing]) -> StageRequest:
    """Return what the files of an archive depend on."""
    return StageRequest("unpack", {"name": job.about["name"]}, [job.input("fetched")])


def annotate(job: StageJob[of.Annotate]) -> StageRequest:
    """Return what annotations in the common form depend on. A sample is recorded only if there is one, so that older
    manifests without a sample do not become stale."""
    settings: dict[str, Any] = {key: job.about[key] for key in ("dataset", "split")}
    if own := datasets.get(job.about["dataset"]).own:
        settings |= {"videos": own.videos, "clip": own.clip}
    if job.settings.sample is not None:
        settings["sample"] = job.settings.sample
    return StageRequest("annotate", settings, [job.input("fetched")])


def videos(job: StageJob[of.Videos]) -> StageRequest:
    """Return what the account of a shard's videos depends on."""
    dataset, shard = job.settings.dataset, job.about["shard"]
    settings = {"dataset": job.about["dataset"], "shard": shard, "shards": dataset.shards, "videos": dataset.videos}
    return StageRequest("videos", settings | _skip(skipped_in(dataset, shard)), job.inputs["inputs"])


def skipped_in(dataset: Dataset, shard: str) -> list[str]:
    """Return the vids of one shard that no stage uses. So another vid under `skip` changes only its own shard."""
    return [vid for vid in dataset.skip if shard_name(shard_of(vid, dataset.shards)) == shard]


def segment(job: StageJob[of.Segment]) -> StageRequest:
    """Return what the clip boundaries of a shard's videos depend on, for every grid."""
    return StageRequest("segment", job.settings.model_dump(mode="json"), [job.input("videos")])


def extract(job: StageJob[of.Extract]) -> StageRequest:
    """Return what the rows of one reader's families depend on, for one shard."""
    encoding, dataset = job.settings.encoding, job.settings.dataset
    grids = grids_of(job.settings)
    choices = choices_of(grids, encoding)
    settings = {
        "families": _with_revisions(grids),
        "encoding": {"dtype": encoding.dtype, "weights": choices, "seconds_per_video": encoding.seconds_per_video}
        | _second_reader(job),
        "shards": dataset.shards,
    }
    is_text = job.about["reader"] == "words"
    accounts = [] if is_text else [job.layout.account(job.about["dataset"], job.about["shard"])]
    return StageRequest("extract", settings, [*job.inputs["inputs"], *accounts, *released_weights(job).values()])


def _second_reader(job: StageJob[of.Extract]) -> dict[str, Any]:
    """Return the setting for the decoder that reads the frames a second time. Without one, nothing is recorded, so that
    older manifests do not become stale."""
    reader = job.settings.encoding.second_reader
    return {"second_reader": reader} if reader and job.about["reader"] == SECOND_READ else {}


def grids_of(settings: of.Extract | of.ImportArchive) -> dict[str, str]:
    """Return family → grid, of every family that is made. The families are sorted."""
    return {family: settings.dataset.grid_of(family) for family in sorted(settings.families)}


def choices_of(families: Iterable[str], encoding: Encoding) -> dict[str, str]:
    """Return the name of each weight file of these families in sources.csv → `released` or `random:SEED`."""
    names = sorted({name for family in families for name in FAMILIES[family].weights})
    return {name: choice_of(name, encoding.weights) for name in names}


def released_weights(job: StageJob[of.Extract]) -> dict[str, Path]:
    """Return source → the weight file that is read, or the manifest of its fetch. Random weights need no file."""
    given = sources_by_name(job.inputs["weights"])
    choices = choices_of(job.settings.families, job.settings.encoding)
    return {name: given[name] for name in choices if choices[name] == "released" and name in given}


def import_archive(job: StageJob[of.ImportArchive], read: Sequence[Path]) -> StageRequest:
    """Return what stores from a released archive depend on. read: the manifests of the annotations of all splits, and
    the files of the archive that are read."""
    dataset, families = job.settings.dataset, _with_revisions(grids_of(job.settings))
    settings = {"archive": job.about["name"], "families": families, "shards": dataset.shards}
    return StageRequest("import", settings | _skip(dataset.skip), read)


def train(job: StageJob[of.Train]) -> StageRequest:
    """Return what one part of an experiment's runs depends on.

    Raises PipelineError for an experiment without features, for a part that it does not have, and if annotations of
    train or val are missing.
    """
    stores = [*store_places(job).values(), *fill_places(job).values()]
    inputs = [*splits(job, ("train", "val")).values(), *job.inputs["features"]]
    settings = _runs(job, runs_of_part(job)) | _allowed_missing(job.settings.dataset)
    return StageRequest("train", settings, inputs, _learned_from(stores))


def _allowed_missing(dataset: Dataset) -> dict[str, Any]:
    """Return the setting that allows runs to lack videos of val or of the reported split. No number of a run depends on
    it (`number_settings`). But if the config stops allowing it, runs with missing videos are checked again."""
    return {} if dataset.missing == "fail" else {MISSING: dataset.missing}


def number_settings(want: StageRequest) -> dict[str, Any]:
    """Return the settings that the numbers of runs depend on."""
    return {key: value for key, value in want.settings.items() if key != MISSING}


def runs_of_part(job: StageJob[of.Train]) -> list[str]:
    """Return the runs of a job of `train`. Its part is `KofN`: every N-th run of the experiment, from the K-th on.

    Raises PipelineError if N is not the number of jobs of the experiment, or if K is none of 1 … N.
    """
    experiment, text = job.settings.experiment, job.about["part"]
    parts = experiment.parts
    if text not in parts:
        raise PipelineError(
            f"`{text}` is no part of an experiment with `jobs: {experiment.n_parts}`",
            where="--part",
            remedy=f"name one from {parts[0]} to {parts[-1]}, or change `jobs`",
        )
    return experiment.runs[parts.index(text) :: experiment.n_parts]


def predict(job: StageJob[of.Predict]) -> StageRequest:
    """Return what the predictions of every run of an experiment depend on."""
    learned_from = _learned_from([*store_places(job).values(), *fill_places(job).values()])

    def is_read(path: Path) -> bool:
        of_run = RunFile.of(path)
        return learned_from(path) or (of_run is not None and of_run.experiment == job.about["experiment"])

    inputs = [*job.inputs["annotations"], *job.inputs["runs"], *job.inputs["features"]]
    return StageRequest("predict", _runs(job, job.settings.experiment.runs), inputs, is_read)


def score(job: StageJob[of.Score]) -> StageRequest:
    """Return what the numbers of every run on one split depend on."""
    experiment, split = job.settings.experiment, job.about["split"]

    def is_read(path: Path) -> bool:
        file = PredictionFile.of(path) or AnnotationFile.of(path)
        return file is not None and file.split == split

    settings = {"experiment": job.about["experiment"], "dataset": experiment.dataset, "split": split}
    inputs = [job.input("predictions"), job.input("annotations")]
    only = None if experiment.source == "predictions" else is_read
    return StageRequest("score", settings | _skip(job.settings.skip), inputs, only)


def tabulate(job: StageJob[of.Tabulate], published: Iterable[Path]) -> StageRequest:
    """Return what a table depends on.

    published: the files with published numbers. They are part of the code, so they are recorded by digest and not by
    path.
    """
    inputs = [path for kind in ("metrics", "predictions", "runs", "annotations") for path in job.inputs[kind]]
    return StageRequest("tabulate", _shown(job.settings, published), inputs)


def draw(job: StageJob[of.Draw]) -> StageRequest:
    """Return what the learning curves of an experiment depend on."""
    settings = {"name": job.about["experiment"], "experiment": job.settings.experiment.recorded()}
    return StageRequest("draw", settings, job.inputs["runs"])


def page(job: StageJob[of.Page], published: Iterable[Path]) -> StageRequest:
    """Return what the report depends on. published: as for `tabulate`."""
    return StageRequest(
        "page", _shown(job.settings, published), [path for paths in job.inputs.values() for path in paths]
    )


def _shown(settings: of.Tabulate, published: Iterable[Path]) -> dict[str, Any]:
    """Return the settings of what a table or the report shows. As for runs, a new key with a default changes
    nothing."""
    return {
        "title": settings.title,
        "experiments": {name: experiment.recorded() for name, experiment in settings.experiments.items()},
        "published": {path.name: files.sha256(path) for path in published},
    }


def leaderboard(job: StageJob[of.Nothing]) -> StageRequest:
    """Return what the leaderboard of a split depends on."""
    settings = {key: job.about[key] for key in ("dataset", "split")}
    return StageRequest("leaderboard", settings, [*job.inputs["released"], job.input("annotations")])


def features_of(name: str, experiment: Experiment) -> Features:
    """Return the features that an experiment learns from. Raises PipelineError for one that only scores predictions."""
    if experiment.features is None:
        raise PipelineError(
            f"has no features to learn from (`source: {experiment.source}`)", where=name, remedy="score it instead"
        )
    return experiment.features


def store_places(job: StageJob[of.Train]) -> dict[str, StorePlace]:
    """Return family → the place of its stores. Stores of an archive and stores that were made here have different
    places."""
    experiment, dataset = job.settings.experiment, job.settings.dataset
    archive = dict.fromkeys(experiment.archived, experiment.archive)
    families = features_of(job.about["experiment"], experiment).all
    return {family: StorePlace(family, dataset.grid_of(family), archive.get(family)) for family in families}


def fill_places(job: StageJob[of.Train]) -> dict[str, StorePlace]:
    """Map each family that an archive may fill to the place of the archive's stores; the result is empty without
    `missing: fill`."""
    dataset = job.settings.dataset
    families = dataset.filled(job.settings.experiment)
    return {family: StorePlace(family, dataset.grid_of(family), dataset.fill_archive) for family in families}


def _learned_from(stores: Iterable[StorePlace]) -> Callable[[Path], bool]:
    """Return a function that tells whether a file is one of these stores, or has annotations."""
    places = tuple(stores)
    return lambda path: any(place.holds(path) for place in places) or AnnotationFile.of(path) is not None


def splits(job: StageJob[of.Train], wanted: Sequence[str]) -> dict[str, Path]:
    """Return split → annotations, for the wanted splits. Raises PipelineError if one is missing."""
    given = annotations_by_split(job.inputs["annotations"])
    if missing := [split for split in wanted if split not in given]:
        raise PipelineError(
            f"no annotations of {', '.join(missing)}", where="--annotations", remedy="name the manifests of `annotate`"
        )
    return {split: given[split] for split in wanted}


def _runs(job: StageJob[of.Train], runs: Sequence[str]) -> dict[str, Any]:
    """Return everything that can change a number of these runs, and nothing else."""
    name, experiment = job.about["experiment"], job.settings.experiment
    fill = {family: str(place) for family, place in fill_places(job).items()}
    return (
        _skip(job.settings.dataset.skip)
        | ({"fill": fill} if fill else {})
        | {
            "experiment": name,
            "dataset": experiment.dataset,
            "families": {family: str(place) for family, place in store_places(job).items()},
            "features": features_of(name, experiment).recorded(),
            "runs": {run: experiment.settings_of(run).recorded() for run in runs},
        }
    )


def _with_revisions(grids: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    return {
        family: {"grid": grid, "revision": FAMILIES[family].revision} | _definition(family)
        for family, grid in grids.items()
    }


def _definition(family: str) -> dict[str, str]:
    """Return the definition of a family of the config. Other families are recorded by their revision, which is raised
    when they change."""
    return {"definition": FAMILIES[family].preprocessing} if FAMILIES[family].is_own else {}


def _skip(vids: Iterable[str]) -> dict[str, Any]:
    """Return the vids that no stage uses, as a setting. An empty list is not recorded, because it would make older
    manifests stale."""
    listed = sorted(vids)
    return {"skip": listed} if listed else {}
