"""TVSum: twenty people's ratings of every 2-second clip of 50 videos in ten domains; no moments.

The released `duration` counts clips. Here it becomes seconds (2 × n), as everywhere else in this project. One val video
per domain is also what Table 3 reports.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.config import DOMAINS
from pipeline.datasets.rows import Released, demand, is_table
from pipeline.datasets.rows import read as read_rows
from pipeline.records import Query

CLIP_S = 2
ANNOTATORS = 20

RELEASED = {
    "f23a819e3b97d1404b986995cfd84e2c8e6ec2ab6f1fb8e035984332c8918380": Released("train", 40, 40, 2.44),
    "4b0788e8aa8091fd57f5a1d550d8998d9fda206e5014b716e52d3232b2d5a426": Released("val", 10, 10, 1.04),
}
"""By the SHA-256 of each released file."""


def read(path: Path | str) -> list[Query]:
    """Queries of a file in the released form, in file order, with durations turned from clips into seconds.

    label: [duration / 2 clips][20 annotators], 1 to 5. Raises PipelineError naming file and line for a qid that is
    not the vid, an unknown domain, and labels that are not 20 ratings for each of `duration` clips.
    """
    return [_in_seconds(query, where) for where, query in read_rows(path)]


def _in_seconds(query: Query, where: str) -> Query:
    label = query.label or ()
    demand(query.qid == query.vid, f"qid {query.qid!r} is not the vid {query.vid!r}", where)
    demand(query.domain in DOMAINS, f"domain {query.domain!r} of {query.vid} is none of {' '.join(DOMAINS)}", where)
    demand(
        is_table(label, ANNOTATORS) and all(1 <= score <= 5 for row in label for score in row),
        f"labels of {query.vid} are not {ANNOTATORS} numbers from 1 to 5 for each clip",
        where,
    )
    demand(
        len(label) == query.duration,
        f"{query.vid} has {len(label)} rows of labels and a duration of {query.duration} clips",
        where,
    )
    return replace(query, duration=float(CLIP_S * len(label)))
