"""Makes the annotations of a user's own dataset: its rows are compared with its videos and written in the common
form."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import datasets, files, locks, progress, provenance, records, stage_requests
from pipeline.acquire import annotations as released
from pipeline.datasets import own_table
from pipeline.datasets.own_queries import check_durations, queries_of
from pipeline.datasets.own_rows import Table
from pipeline.errors import PipelineError
from pipeline.stage_settings import Annotate
from pipeline.stages import StageJob
from pipeline.video.supervised import Failed

if TYPE_CHECKING:
    from pipeline.video.finding import Look


def annotate(job: StageJob[Annotate]) -> bool:
    """Write `{results}/annotations/{dataset}/{split}.jsonl`. Returns whether there was work.

    The whole file is checked, whichever split is asked for. For a user's own dataset it raises PipelineError with every
    row that cannot be used. For other datasets it does the same as `acquire.annotations.annotate`.
    """
    dataset, split = job.about["dataset"], job.about["split"]
    about = datasets.get(dataset)
    if about.own is None:
        return released.annotate(job)
    own, target = about.own, job.layout.annotations(dataset, split)

    def work() -> provenance.Outcome:
        table = own_table.read(own.annotations, own.videos)
        known = durations_of(table, job.layout.own_durations(dataset))
        check_durations(table, known, own.clip)
        table.refuse()
        seconds = {vid: found for vid, found in known.items() if isinstance(found, Fraction)}
        queries = queries_of(table, seconds, own.clip).get(split)
        if not queries:
            raise PipelineError(f"has no row of the split {split}", where=own.annotations, remedy="add some")
        records.write_jsonl(target, map(records.to_row, queries))
        files.write_json(job.layout.own_dataset(dataset), own._asdict())
        return provenance.Outcome([target], released.count(queries))

    return provenance.run_request(stage_requests.annotate(job), job.manifest, work)


def durations_of(table: Table, kept_in: Path | None = None) -> dict[str, Fraction | str]:
    """Return vid → seconds of every video that a row names, or the reason why it cannot be read.

    kept_in: a JSON file with lengths that were read before. A length in it is used if size and time of the video are
    unchanged. Another process reads the lengths, so a video that makes FFmpeg hang or crash is one with a reason.
    Raises PipelineError if the file cannot be written.
    """
    # This import loads FFmpeg, which is slow, so it waits until a video is read.
    from pipeline.video.looking import Looking

    with Looking() as look:
        if kept_in is None:
            return {vid: _measured(table.files[vid], look) for vid in _shown(table.vids)}
        return _kept_durations(table, kept_in, look)


def _kept_durations(table: Table, kept_in: Path, look: Look) -> dict[str, Fraction | str]:
    with locks.lock(kept_in, wait=True):
        old = _read(kept_in)
        found: dict[str, Fraction | str] = {}
        kept: dict[str, Any] = {}
        for vid in _shown(table.vids):
            path = table.files[vid]
            state = os.stat(path)
            mark = [state.st_size, state.st_mtime_ns]
            row = old.get(path.name)
            if row and row[:2] == mark:
                found[vid] = Fraction(row[2])
            else:
                found[vid] = _measured(path, look)
            if isinstance(found[vid], Fraction):
                kept[path.name] = [*mark, str(found[vid])]
        files.write_json(kept_in, kept)
    return found


def remembered(path: Path) -> dict[str, float]:
    """Return vid → seconds of the videos whose lengths were read before; path: the file that keeps them."""
    return {Path(name).stem: float(Fraction(row[2])) for name, row in _read(path).items()}


def changed_since(account: Path, rows: Iterable[Mapping[str, str]]) -> bool:
    """Tell whether a video of an account has another size, or was written after the account. A video that is gone
    counts as changed."""
    written = account.stat().st_mtime_ns
    for row in rows:
        if row.get("status") != "ok":
            continue
        try:
            state = os.stat(row["path"])
        except OSError:
            return True
        if str(state.st_size) != row["bytes"] or state.st_mtime_ns > written:
            return True
    return False


def _shown(vids: Iterable[str]) -> Iterable[str]:
    return progress.lines(list(vids), unit="video", what="lengths of videos")


def _measured(path: Path, look: Look) -> Fraction | str:
    found = look(path)
    return found.why if isinstance(found, Failed) else found.duration


def _read(path: Path) -> dict[str, Any]:
    try:
        found = files.read_json(path)
        return {str(name): list(row) for name, row in found.items() if len(row) == 3 and Fraction(row[2])}
    except (PipelineError, AttributeError, TypeError, ValueError, ZeroDivisionError):
        return {}
