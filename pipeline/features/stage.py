"""The stages `extract` and `import`: what they read and what they record.

extract   reads segments/{dataset}/{grid}/{shard}.csv, videos/{dataset}/{shard}.csv (for words: annotations) and weights
          → features/{dataset}/{grid}/{family}/{shard}.h5, one manifest for each reader and shard
import    reads a released archive, unpacked, and annotations
          → features/{dataset}/{grid}/{family}+{archive}/{shard}.h5, one manifest and one report for each archive

Heavy packages are imported only when there is work, so that a job without work ends at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline import devices, provenance, stage_requests
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.layout import unpacked_path_of
from pipeline.layout.places import StorePlace
from pipeline.manifests import files_of, known_digest, last_record, listed_or_itself
from pipeline.names import name_problem
from pipeline.provenance import Outcome
from pipeline.stage_settings import Extract, ImportArchive
from pipeline.stages import StageJob


def extract(job: StageJob[Extract]) -> bool:
    """Fill the stores of one shard for the families of one reader. Returns whether there was work.

    Only what is stale is encoded: families whose passport changed, and videos whose file changed. Videos that cannot be
    read are skipped and listed in the manifest. Videos that crashed their decoder or took too long are also counted as
    `failed`, and they are tried again whenever the stage is started again. No weight file is needed for a family whose
    weights are `random:SEED` in `encoding`.
    Raises PipelineError for a family of another reader, for weights that are missing or do not fit, and for a video
    whose file is gone or whose decoder was killed. The rows of all other videos are in their stores then.
    """
    dataset, encoding = job.settings.dataset, job.settings.encoding
    dataset_name, shard, reader = (job.about[key] for key in ("dataset", "shard", "reader"))
    for family in job.settings.families:
        _check_reader(family, reader)
    grids = stage_requests.grids_of(job.settings)
    choices = stage_requests.choices_of(grids, encoding)
    weight_files = stage_requests.released_weights(job)
    layout = job.layout
    stores = {f: layout.store(dataset_name, StorePlace(f, grid), shard) for f, grid in grids.items()}

    def work() -> Outcome:
        from pipeline.encoders.base import Weights
        from pipeline.features.making.extract import fill_from_videos
        from pipeline.features.making.recipe import Recipe
        from pipeline.features.making.sound import fill_from_sounds
        from pipeline.features.making.words import fill_from_queries

        is_read_twice = encoding.second_reader is not None and reader == stage_requests.SECOND_READ
        if is_read_twice:
            from pipeline.features.making.second_reading import read_again, refuse_without_decord

            refuse_without_decord()
        known = {name: known_digest(path) for name, path in weight_files.items()}
        found = {name: Weights.named(choice, *known.get(name, (None,))) for name, choice in choices.items()}
        joined = {f: Weights.joined(*(found[name] for name in FAMILIES[f].weights)) for f in grids}
        recipes = {stores[f]: Recipe(f, grid, joined[f], encoding.dtype) for f, grid in grids.items()}
        with devices.claimed_for_torch() as device:
            if reader == "words":
                return fill_from_queries(recipes, _listed_in(job.inputs["inputs"]), shard, dataset.shards, device)
            fill = fill_from_sounds if reader == "sound" else fill_from_videos
            outcome = fill(recipes, job.results, dataset_name, shard, encoding.seconds_per_video, device)
        if is_read_twice:
            opinions = read_again(recipes.values(), job.results, dataset_name, shard, encoding.seconds_per_video)
            outcome = replace(outcome, counts={**outcome.counts, **opinions})
        return outcome

    again = bool(last_record(job.manifest).get("counts", {}).get("failed"))
    return provenance.run_request(stage_requests.extract(job), job.manifest, work, again=again)


def import_archive(job: StageJob[ImportArchive]) -> bool:
    """Make stores from a released feature archive. Returns whether there was work.

    Every file is read and checked. Files that are missing, broken or of another length are skipped and listed in the
    manifest. The report `+{archive}.csv` beside the manifest lists them, too, and also the files that are one row off.
    Raises PipelineError for a family that no layout of the dataset has a place for, for a folder without a file of that
    family, and for a vid under `skip` that no annotation has.
    """
    unpacked, annotations = job.input("unpacked"), job.inputs["annotations"]
    folder = unpacked
    read = [*annotations]
    if unpacked.suffix == ".json":
        folder = unpacked_path_of(files_of(unpacked)[0])
        read.append(unpacked)
    else:
        kinds = ("*.npy", "*.npz", "*.txt", "passports.json")
        read += sorted(path for kind in kinds for path in unpacked.rglob(kind) if _is_asked_for(path))

    def work() -> Outcome:
        from pipeline.features.exchange.released import fill_from_archive

        return fill_from_archive(job, folder, _listed_in(annotations))

    return provenance.run_request(stage_requests.import_archive(job, read), job.manifest, work)


def _is_asked_for(path: Path) -> bool:
    """Tell whether a query or a video can belong to this file. A file name that is not text belongs to none."""
    return path.is_file() and not name_problem(path.name)


def _check_reader(family: str, reader: str) -> None:
    known = [name for name, kind in FAMILIES.items() if kind.reader == reader]
    if family not in known:
        raise PipelineError(
            f"reader {reader} does not make it",
            where=family,
            remedy=f"name families of {reader}: {', '.join(known)}",
        )


def _listed_in(paths: Sequence[Path]) -> list[Path]:
    return [file for path in paths for file in listed_or_itself(path)]
