"""The account of a shard says of every video where it is and what it is, or why it is not here.

A video can fail in three ways, and none of them stops the job: it does not exist (`missing`), it could not be fetched
this time (`failed`), or it cannot be decoded (`corrupt`). Whenever the stage is started again, it asks again for the
videos that did not come, and only for those. A file that stands in the last account and was not touched since is not
read again, so one more video costs the work of one video. A video whose original on this machine changed is copied
again.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipeline import asked, csv_file, datasets, progress, provenance, records
from pipeline.acquire import originals, sources, youtube
from pipeline.acquire.archives import read_index
from pipeline.acquire.download import copy_checked, first_that_works
from pipeline.acquire.sections import section_of, videos_with
from pipeline.acquire.sources import Source
from pipeline.acquire.transfer import NoSuchFileError, Wanted
from pipeline.config import Acquire
from pipeline.datasets.own import SUFFIXES
from pipeline.errors import PipelineError, readable
from pipeline.layout import Layout
from pipeline.shards import vids_of_shard
from pipeline.stage_settings import Videos
from pipeline.stages import StageJob
from pipeline.video.looking import COLUMNS, START, Brought, Video, look_at
from pipeline.video.own_dataset import changed_since

STATUSES = ("ok", "missing", "failed", "corrupt")
OWN = "own"
"""The source of videos of a dataset of one's own: they are used where they lie."""
SKIPPED = "skipped"
"""Status of a video that the config tells every stage to leave out."""
FACTS_SINCE = 2
"""The first revision of `videos` whose facts about a file are the same as today's."""
SHOWN = 3
"""Largest number of absent videos that the terminal names for each shard. The account names all."""


class Found(NamedTuple):
    """The file of a video that a source brought. is_sure: as of `Brought`."""

    path: Path
    is_sure: bool = True


Finders = Mapping[str, Callable[[str], Found]]
"""Name of a source → the function that brings a vid's video to this machine."""


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
    skip = asked.skipped_in(dataset, shard)

    def work() -> provenance.Outcome:
        listed = [path for made in job.inputs["inputs"] for path in provenance.files_of(made)]
        finders = {name: partial(_take_again, finder(name, job.layout, listed, acquire), changed) for name in named}
        if own:
            finders[OWN] = partial(_in_folder, Path(own.videos))
        annotated = durations_in(listed)
        refuse_unknown(skip, annotated, dataset_name)
        vids = vids_of_shard(annotated, shard, dataset.shards)
        wanted = [vid for vid in vids if vid not in skip]
        seconds = job.settings.seconds_per_video
        made = {row.vid: row for row in accounts(wanted, finders, known, seconds, f"{dataset_name} {shard}")}
        rows = [replace(made.get(vid) or _by_choice(vid), annotated_s=annotated[vid]) for vid in vids]
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
    looked_for = own.videos if own else originals.asked(named, table)
    changed = _changed(originals.videos(target, table))
    known = {vid: row for vid, row in _known_files(target, manifest).items() if row.path not in changed}
    counts = provenance.last_record(manifest).get("counts", {})
    again = (
        bool(changed or counts.get("failed") or counts.get("missing"))
        or originals.corrupt_replaced(target)
        or has_changed_in_place(dataset_name, target)
    )
    return provenance.run_asked(asked.videos(job), manifest, work, again=again)


def _left_out(row: Video, looked_for: str) -> dict[str, str]:
    """Describe a video that is not `ok` for the manifest. looked_for: the addresses that did not have it."""
    told = {"vid": row.vid, "why": f"{row.status}: {row.why}"}
    return told | ({"asked": looked_for} if row.status == "missing" else {})


def _changed(taken: Iterable[originals.CopiedFile]) -> dict[str, originals.CopiedFile]:
    """Return the videos whose original on this machine has other bytes now, by path.

    A copy whose original was only touched gets the original's new time.
    """
    changed = {}
    for video in taken:
        if video.has_changed():
            changed[str(video.target)] = video
        elif video.looks_changed():
            video.keep_time()
    return changed


def _take_again(find: Callable[[str], Found], changed: Mapping[str, originals.CopiedFile], vid: str) -> Found:
    found = find(vid)
    path = found.path
    if video := changed.get(str(path)):
        copy_checked(video.original, Wanted(video.original.resolve().as_uri(), path, vid))
        # The time is set to 0 until the account knows the new file. So a job that is killed before that cannot take it
        # for the old file.
        os.utime(path, ns=(0, 0))
    return found


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


def finder(name: str, layout: Layout, listed: Iterable[Path], acquire: Acquire) -> Callable[[str], Found]:
    """Return the function that brings a vid's video to this machine. The kind of the source decides it.

    listed: the files that the input manifests list, an archive's index among them. The function raises NoSuchFileError
    for a video that does not exist and PipelineError for one that did not come.
    """
    source = sources.load(acquire.sources, acquire.mirror)[name]
    home = layout.unpacked(source.name)
    if source.kind == "archive":
        index = next((path for path in listed if path == layout.index(source.name)), None)
        if index is None:
            raise PipelineError(
                "the videos of this source are in an archive, and no list of its unpacked files is among the inputs",
                where=source.name,
                remedy="name the manifest of its stage `unpack` among the inputs, too",
            )
        return partial(_in_archive, _by_vid(read_index(index)), home, source.name)
    if source.kind in ("video", "youtube"):
        return partial(_one_by_one, source, home, acquire, originals.local_copies(acquire.local))
    raise PipelineError(
        f"this source holds no videos: its kind is {source.kind}, not archive, video or youtube",
        where=source.name,
        remedy="name another source under `videos` of the dataset",
    )


def accounts(
    vids: Iterable[str], finders: Finders, known: Mapping[str, Video], seconds_each: float, what: str = "videos"
) -> list[Video]:
    """Return the row of each video: the first source that has it brings it, and its facts are read.

    known: rows of files that were read already, by vid. seconds_each: the time after which the reading of one video is
    given up. what: names the work on the progress line.
    """
    found = {vid: bring(vid, finders, known) for vid in progress.lines(list(vids), unit="videos", what=what)}
    rows = _rows(found, seconds_each, what)
    brought = [one for one in found.values() if isinstance(one, Brought)]
    doubtful = {one.path for one in brought if not one.is_sure and rows[one.vid].status == "corrupt"}
    # No digest of such a file is known, and a server may have stated too small a size. So it is asked once more.
    for path in doubtful:
        path.unlink()
    again = {one.vid: bring(one.vid, finders, known) for one in brought if one.path in doubtful}
    rows |= _rows(again, seconds_each, what)
    return [rows[vid] for vid in found]


def _rows(found: Mapping[str, Video | Brought], seconds_each: float, what: str) -> dict[str, Video]:
    brought = [one for one in found.values() if isinstance(one, Brought)]
    looked_at = look_at(brought, seconds_each)
    shown = progress.lines(looked_at, unit="videos", what=f"{what}, reading them", total=len(brought))
    read = {row.vid: row for row in shown}
    return {vid: one if isinstance(one, Video) else read[vid] for vid, one in found.items()}


def bring(vid: str, finders: Finders, known: Mapping[str, Video]) -> Video | Brought:
    """Find one video in the first source that has it. What goes wrong is written in the row that is returned then.

    finders: by source name, in the order in which they are asked. A video is `missing` when every source says so.
    """
    reasons: dict[str, str] = {}
    status = "missing"
    for source, find in finders.items():
        try:
            found = find(vid)
        except NoSuchFileError as problem:
            reasons[source] = problem.what
        except PipelineError as problem:
            reasons[source] = problem.what
            status = "failed"
        else:
            return _brought_by(source, vid, found, known.get(vid))
    why = "; ".join(reasons.values()) if len(reasons) == 1 else "; ".join(f"{s}: {w}" for s, w in reasons.items())
    return Video(vid, status, why, source=", ".join(reasons))


def _brought_by(source: str, vid: str, found: Found, known: Video | None) -> Video | Brought:
    if known and known.path == str(found.path):
        return known
    if readable(found.path) != str(found.path):
        why = f"its name is no UTF-8 ({readable(found.path)}): give it another"
        return Video(vid, "failed", why, source=source)
    return Brought(vid, found.path, source, found.is_sure)


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


def _known_files(table: Path, manifest: Path) -> dict[str, Video]:
    """Return the rows of an earlier account, by vid, whose file still has its size and is older than the account.

    An account that was damaged after it was made gives none.
    """
    record = provenance.last_record(manifest)
    if not (record.get("revision", 0) >= FACTS_SINCE and provenance.is_as_made(record, table)):
        return {}
    written = table.stat().st_mtime
    rows = [Video(**row) for row in csv_file.read(table)]
    return {row.vid: row for row in rows if row.path and originals.is_untouched(Path(row.path), row.bytes, written)}


def _by_vid(index: dict[str, int]) -> dict[str, str]:
    """Return vid → member of an unpacked archive, whatever folder it is in. Of several, the one nearest to the top
    counts."""
    members = [PurePosixPath(member) for member in index]
    found = sorted((m for m in members if m.suffix.lower() in SUFFIXES), key=lambda m: (-len(m.parts), str(m)))
    return {member.stem: str(member) for member in found}


def _in_archive(members: dict[str, str], home: Path, name: str, vid: str) -> Found:
    if vid not in members:
        raise NoSuchFileError(f"not among the {len(members):,} videos of {name}")
    path = home / members[vid]
    if not path.is_file():
        raise PipelineError(f"was unpacked from {name}, but is gone: delete resources/{name}/unpack.json and run again")
    return Found(path)


def _in_folder(folder: Path, vid: str) -> Found:
    found = [path for path in sorted(folder.glob(f"{vid}.*")) if path.stem == vid and path.suffix.lower() in SUFFIXES]
    if not found:
        raise NoSuchFileError(f"not among the videos of {folder}")
    return Found(found[0])


def has_changed_in_place(dataset: str, account: Path) -> bool:
    """Tell whether a video of one's own has changed since an account of it was written, or is gone."""
    if datasets.get(dataset).own is None or not account.is_file():
        return False
    return changed_since(account, csv_file.read(account))


def _one_by_one(source: Source, home: Path, acquire: Acquire, copies: Mapping[str, Path], vid: str) -> Found:
    if source.kind == "youtube":
        section_of(vid)  # Another vid is refused before anything is asked for.
    videos = videos_with(vid, source)
    names = [source.file.replace("{vid}", video) for video in videos]
    for path in (home / name for name in names):
        if path.is_file():  # The file gets its name only when it is complete, so one of that name needs no check.
            return Found(path)
    for copy in filter(None, map(copies.get, names)):
        copy_checked(copy, Wanted(copy.resolve().as_uri(), home / copy.name, vid))
        return Found(home / copy.name)
    path = home / names[-1]
    if source.kind == "youtube" and not source.is_mirrored:
        youtube.fetch_video(section_of(vid).youtube_id, source.addresses[0], path, acquire)
        return Found(path)
    addresses = [Wanted(url.replace("{vid}", videos[-1]), path, vid) for url in source.addresses]
    first_that_works(addresses, acquire)
    return Found(path, is_sure=addresses[0].url.startswith("file:"))
