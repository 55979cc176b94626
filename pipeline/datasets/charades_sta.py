"""Charades-STA: one moment per sentence in videos of people at home; no rated clips.

The released JSONL has 12,404 training rows where the paper prints 12,408 (four lines and two videos of the original
text files are missing, nobody says why), and window ends are clamped to the duration. Its one held-out split, released
as `test`, is our `val`: it is both what an epoch is selected on and what Table 2 reports.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.ground_truth import window_complaint
from pipeline.datasets.rows import Released, demand, demand_one_duration, demand_whole_qid, is_table
from pipeline.datasets.rows import read as read_rows
from pipeline.records import Query

RELEASED = {
    "bcb0deddbb552354323a26dd39d3d9f2fe6d9b70fd9e51697344317364962442": Released("train", 12404, 5336, 45.76),
    "13d6e9152794d87bb501a827edcbe69e5c0428f0af60e926e6b87e4f452ad5b2": Released("val", 3720, 1334, 10.92),
}
"""By the SHA-256 of each released file."""


def read(path: Path | str) -> list[Query]:
    """Queries of a file in the released form, in file order; durations and windows in seconds.

    Raises PipelineError naming file and line for a qid that is no integer, a row without exactly one window, a window
    that is empty or outside the video, and a video with two durations.
    """
    queries: list[Query] = []
    durations: dict[str, float] = {}
    for where, query in read_rows(path):
        demand_whole_qid(query, where)
        demand_one_duration(query, durations, where)
        windows = query.relevant_windows or ()
        demand(is_table(windows, 2) and len(windows) == 1, f"qid {query.qid} has not exactly one window", where)
        impossible = window_complaint(windows, query.duration)
        demand(not impossible, f"qid {query.qid}: {impossible}", where)
        queries.append(query)
    return queries
