"""Imports released feature archives into our stores. Every file is read and checked, and every problem is reported.

A family keeps its name, and the name of its archive is added to its folder and its passport, so that its rows never mix
with rows that we made. `layouts.py` says where an archive keeps each family. `checked.py` reads and checks the files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline import csv_file, records, stage_requests
from pipeline.errors import PipelineError
from pipeline.features.exchange.archive_files import read_released
from pipeline.features.exchange.checked import CheckedFamily, ExpectedFile, Finding, checked_family, with_other_families
from pipeline.features.store.writer import StoreWriter
from pipeline.layout.places import StorePlace
from pipeline.provenance import Outcome
from pipeline.shards import shard_name, shard_names, shard_of
from pipeline.stage_settings import ImportArchive
from pipeline.stages import StageJob
from pipeline.video.account import refuse_unknown
from pipeline.video.segment import OTHER_LENGTH

SHOWN = 10
"""The number of skipped files that are printed on stderr. The others are only counted."""

REPORT_COLUMNS = ("family", "key", "finding", "file", "detail")


def fill_from_archive(job: StageJob[ImportArchive], folder: Path, annotations: Iterable[Path]) -> Outcome:
    """Check and import families of an archive, for all shards. Writes the report beside the manifest.

    folder: the folder that the archive was unpacked into. annotations: the JSONL files with the queries. The files of
    vids under `skip` of the dataset are not read. They are listed in the manifest.
    Raises PipelineError for a family that no layout has a place for, if no file of a family can be imported, for a grid
    that is not the files' own, and for a vid under `skip` that no annotation has.
    """
    dataset, archive, skip = job.about["dataset"], job.about["name"], job.settings.dataset.skip
    grids = stage_requests.grids_of(job.settings)
    asked = [query for path in annotations for query in records.read_queries(path)]
    refuse_unknown(skip, (query.vid for query in asked), dataset)
    queries = [query for query in asked if query.vid not in skip]
    checked = [checked_family(folder, dataset, archive, family, grid, queries) for family, grid in grids.items()]
    findings = [with_other_families(finding, checked) for family in checked for finding in family.findings]
    report = job.layout.import_report(dataset, archive)
    _write_report(report, findings)
    made, shards = [report], shard_names(job.settings.dataset.shards)
    for family in checked:
        place = StorePlace(family.family, family.passport.grid, archive)
        made += _write(family, {shard: job.layout.store(dataset, place, shard) for shard in shards})
    counts = {name: count for family in checked for name, count in family.counts.items()}
    skipped = [{"vid": vid, "why": "skipped: named under `skip` of its dataset"} for vid in sorted(skip)]
    skipped += [{"vid": f.vid, "why": f"{_kind(f)}{f.family}, {f.file}: {f.detail}"} for f in findings if f.is_fatal]
    _print_skipped(skipped, report)
    return Outcome(made, counts, skipped)


def _kind(finding: Finding) -> str:
    """Return how a reason begins if fetching the file again would not help. `training/coverage.py` reads it."""
    return f"{OTHER_LENGTH}: " if finding.finding == OTHER_LENGTH else ""


def _write(family: CheckedFamily, stores: Mapping[str, Path]) -> Iterator[Path]:
    """Write one store for each shard, also for a shard without videos. stores: the path of each shard's store."""
    shards: dict[str, list[ExpectedFile]] = {name: [] for name in stores}
    for item in family.good:
        shards[shard_name(shard_of(item.vid, len(stores)))].append(item)
    for name, members in shards.items():
        with StoreWriter(stores[name], family.passport) as store:
            for item in members:
                rows, pooled = _read_again(item, family)
                store.add(item.key, rows, pooled=pooled, file=item.path.name)
        yield stores[name]


def _read_again(item: ExpectedFile, family: CheckedFamily) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        return read_released(item.path, family.layout)
    except ValueError as error:
        why = f"could be read when it was checked, and now {error}"
        raise PipelineError(why, where=item.path, remedy="leave the archive as it is, and run again") from error


def _print_skipped(skipped: Sequence[Mapping[str, str]], report: Path) -> None:
    """Print the first skipped files on stderr. The report lists all of them."""
    for row in skipped[:SHOWN]:
        print(f"vid {row['vid']}: {row['why']}", file=sys.stderr)
    if len(skipped) > SHOWN:
        print(f"and {len(skipped) - SHOWN} more: {report}", file=sys.stderr)


def _write_report(path: Path, findings: Sequence[Finding]) -> None:
    csv_file.write(path, REPORT_COLUMNS, [(f.family, f.key, f.finding, f.file, f.detail) for f in findings])
