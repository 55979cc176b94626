"""The account of a shard says of every video where it is and what it is, or why it is not here.

A video can fail in three ways, and none of them stops the job: it does not exist (`missing`), it could not be fetched
or looked at this time (`failed`), or it cannot be decoded (`corrupt`). Whenever the stage is started again, it asks
again for the videos that did not come, and only for those. A file that stands in the last account and was not touched
since is not read again, so one more video costs the work of one video. A video whose original on this machine changed
is copied again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import csv_file, datasets, files, progress, provenance, records, stage_requests, work_record
from pipeline.acquire import originals, sources
from pipeline.acquire.sections import is_section, section_of
from pipeline.acquire.transfer import NoSuchFileError
from pipeline.errors import PipelineError, readable
from pipeline.manifests import files_of, is_as_made, last_record
from pipeline.shards import vids_of_shard
from pipeline.stage_settings import Videos
from pipeline.stages import StageJob
from pipeline.video.finding import changed_originals, find_or_copy_again, finder, in_folder
from pipeline.video.own_dataset import changed_since

if TYPE_CHECKING:
    from pipeline.video.finding import Look
    from pipeline.video.part import Part

STATUSES = ("ok", "missing", "failed", "corrupt")
OWN = "own"
"""The source of videos of a dataset of one's own: they are used where they lie."""
SKIPPED = "skipped"
"""Status of a video that the config tells every stage to leave out."""
FACTS_SINCE = 2
"""The first revision of `videos` whose facts about a file are the same as today's."""
SHOWN = 3
"""Largest number of absent videos that the terminal names for each shard. The account names all."""


@dataclass(frozen=True)
class Video:
    """One row of the account.

    status: `ok`, or what went wrong. why: the reason for a status that is not `ok`. path: the path of the file,
    relative to the working folder. duration_s, fps: exact fractions (`460460/15000`) of the video stream. source: name
    in the table of sources. annotated_s: the duration that the annotations give, in seconds. start_s: where the video
    is a part of a longer file, the second in that file at which it starts; duration_s is then that of the part.
    """

    vid: str
    status: str
    why: str = ""
    path: str = ""
    bytes: int | str = ""
    duration_s: Fraction | str = ""
    fps: Fraction | str = ""
    sha256: str = ""
    source: str = ""
    annotated_s: float | str = ""
    start_s: Fraction | str = ""


START = "start_s"
"""The column that is written only where a video is a part of a file, so that it makes no older account stale."""
COLUMNS = tuple(field.name for field in fields(Video) if field.name != START)


def videos(job: StageJob[Videos]) -> bool:
    """Write `{results}/videos/{dataset}/{shard}.csv`, one row per video with the columns COLUMNS.

    Returns whether there was work. The manifest counts the statuses and lists every video that is not `ok`, with the
    reason. If there are such videos, one line goes to stdout. Raises PipelineError for a dataset without a source of
    videos, for a vid that cannot be a file name, and for a vid under `skip` that no annotation has.
    """
    dataset_name, shard, dataset = job.about["dataset"], job.about["shard"], job.settings.dataset
    acquire, manifest = job.settings.acquire, job.manifest
    if not dataset.videos:
        where = f"datasets.{dataset_name}.videos"
        raise PipelineError(
            "names no source of videos, so no video of this dataset can be fetched",
            where=where,
            remedy="list there names of rows of sources.csv that hold its videos",
        )
    target = job.layout.account(dataset_name, shard)
    skip = stage_requests.skipped_in(dataset, shard)

    def work() -> provenance.Outcome:
        from pipeline.video.looking import Looking

        listed = [path for made in job.inputs["inputs"] for path in files_of(made)]
        annotated = durations_in(listed)
        refuse_unknown(skip, annotated, dataset_name)
        vids = vids_of_shard(annotated, shard, dataset.shards)
        shown = progress.lines(vids, unit="video", what=f"{dataset_name} {shard}")
        with Looking() as look:
            found = {name: finder(name, job.layout, listed, acquire, look) for name in named}
            finders = {name: partial(find_or_copy_again, find, changed) for name, find in found.items()}
            if own:
                finders[OWN] = partial(in_folder, Path(own.videos))
            rows = [
                replace(_by_choice(v) if v in skip else account(v, finders, look, known), annotated_s=annotated[v])
                for v in shown
            ]
        write_account(target, rows)
        for video in changed.values():
            video.keep_time()
        _say(dataset_name, shard, rows)
        counts = Counter(row.status for row in rows)
        return provenance.Outcome(
            [target],
            {status: counts[status] for status in (*STATUSES, *([SKIPPED] if skip else []))},
            [_left_out(row, looked_for) for row in rows if row.status != "ok"],
        )

    own = datasets.get(dataset_name).own
    named = [] if own else dataset.videos
    table = sources.load(acquire.sources, acquire.mirror)
    looked_for = own.videos if own else originals.searched_addresses(named, table)
    changed = changed_originals(originals.videos(target, table))
    known = {vid: row for vid, row in _known_files(target, manifest).items() if row.path not in changed}
    counts = last_record(manifest).get("counts", {})
    again = (
        bool(changed or counts.get("failed") or counts.get("missing"))
        or originals.corrupt_replaced(target)
        or has_changed_in_place(dataset_name, target)
    )
    return provenance.run_request(stage_requests.videos(job), manifest, work, again=again)


def _left_out(row: Video, looked_for: str) -> dict[str, str]:
    """Describe a video that is not `ok` for the manifest. looked_for: the addresses that did not have it."""
    told = {"vid": row.vid, "why": f"{row.status}: {row.why}"}
    return told | ({"asked": looked_for} if row.status == "missing" else {})


def write_account(path: Path, rows: Iterable[Video]) -> None:
    """Write the table of one shard."""
    rows = list(rows)
    columns = [*COLUMNS, START] if any(row.start_s != "" for row in rows) else COLUMNS
    csv_file.write(path, columns, ([getattr(row, name) for name in columns] for row in rows))


def durations_in(listed: Iterable[Path]) -> dict[str, float]:
    """Return vid → annotated seconds, from all annotation files (`.jsonl`) among `listed`.

    Raises PipelineError for a vid that cannot be a file name.
    """
    durations: dict[str, float] = {}
    for path in (path for path in listed if path.suffix == ".jsonl"):
        for number, row in records.read_jsonl(path):
            vid = str(row["vid"])
            if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}", vid):
                raise PipelineError(
                    f"the vid {vid!r} is no file name, and a vid becomes part of paths and addresses",
                    where=f"{path}, line {number}",
                    remedy="rename the vid and its video with at most 200 letters, digits, `_`, `-` and `.`;"
                    " the first must not be `.`",
                )
            durations[vid] = row["duration"]
    return durations


def refuse_unknown(skip: Iterable[str], annotated: Iterable[str], dataset: str) -> None:
    """Raise PipelineError for vids under `skip` that no annotation has. The video that a misspelt vid means would be
    used."""
    if unknown := sorted(set(skip) - set(annotated)):
        raise PipelineError(
            f"no annotation has the vid {', '.join(unknown)}",
            where=f"datasets.{dataset}.skip",
            remedy="correct its spelling in the config, or remove it there",
        )


def account(
    vid: str, finders: Mapping[str, Callable[[str], Path]], look: Look, known: Mapping[str, Video] | None = None
) -> Video:
    """Find one video in the first source that has it, and read its facts. What goes wrong is written in the row.

    finders: by source name, in the order in which they are asked. A video is `missing` when every source says so.
    look: `video.looking.Looking`. known: rows of files that were read already, by vid.
    """
    reasons: dict[str, str] = {}
    status = "missing"
    for source, find in finders.items():
        try:
            path = find(vid)
            row = (known or {}).get(vid)
            return row if row and row.path == str(path) else _looked_at(vid, path, source, look)
        except NoSuchFileError as problem:
            reasons[source] = problem.what
        except PipelineError as problem:
            reasons[source] = problem.what
            status = "failed"
    why = "; ".join(reasons.values()) if len(reasons) == 1 else "; ".join(f"{s}: {w}" for s, w in reasons.items())
    return Video(vid, status, why, source=", ".join(reasons))


def _by_choice(vid: str) -> Video:
    return Video(vid, SKIPPED, "named under `skip` of its dataset")


def _say(dataset: str, shard: str, rows: Sequence[Video]) -> None:
    """Print one line on stdout when videos are not here; the workflow shows stdout on the terminal."""
    absent = [row for row in rows if row.status not in ("ok", SKIPPED)]
    if absent:
        named = "; ".join(f"{row.vid} ({row.status}: {row.why})" for row in absent[:SHOWN])
        more = f"; and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        print(f"videos: {len(absent)} of {len(rows)} of {dataset}, shard {shard}, are not usable: {named}{more}")
    if any(row.status == "corrupt" for row in absent):
        print("videos: a corrupt file is read again when it was replaced, and fetched again when it was deleted")


def _looked_at(vid: str, path: Path, source: str, look: Look) -> Video:
    """Return the row of a file.

    A file that made its reader crash or take too long has no path there, so that it is read again at the next start.
    """
    from pipeline.video.supervised import Failed

    if readable(path) != str(path):
        return Video(vid, "failed", f"its name is no UTF-8 ({readable(path)}): give it another", source=source)
    work_record.note("probed", path=path)
    known = Video(vid, "ok", "", str(path), path.stat().st_size, sha256=files.sha256(path), source=source)
    part = _part_of(vid, path)
    facts = look(part or path)
    if isinstance(facts, Failed) and facts.fault == "file":
        return replace(known, status="corrupt", why=facts.why)
    if isinstance(facts, Failed):
        return Video(vid, "failed", facts.why, source=source)
    return replace(known, duration_s=facts.duration, fps=facts.rate, start_s=part.start_s if part else "")


def _part_of(vid: str, path: Path) -> Part | None:
    """Return the part of a file that a vid names, or None where the file holds the video alone."""
    from pipeline.video.part import Part

    if path.stem == vid or not is_section(vid, path.stem):
        return None
    section = section_of(vid)
    return Part(path, Fraction(str(section.start_s)), Fraction(str(section.end_s)))


def _known_files(table: Path, manifest: Path) -> dict[str, Video]:
    """Return the rows of an earlier account, by vid, whose file still has its size and is older than the account.

    An account that was damaged after it was made gives none.
    """
    record = last_record(manifest)
    if not (record.get("revision", 0) >= FACTS_SINCE and is_as_made(record, table)):
        return {}
    written = table.stat().st_mtime
    rows = [Video(**row) for row in csv_file.read(table)]
    return {row.vid: row for row in rows if row.path and originals.is_untouched(Path(row.path), row.bytes, written)}


def has_changed_in_place(dataset: str, account: Path) -> bool:
    """Tell whether a video of one's own has changed since an account of it was written, or is gone."""
    if datasets.get(dataset).own is None or not account.is_file():
        return False
    return changed_since(account, csv_file.read(account))
