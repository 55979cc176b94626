"""Makes the page of a user's own prediction files: queries, mistakes and a comparison of the files. It needs no
workflow."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.errors import PipelineError
from pipeline.evaluation.intervals import FEW
from pipeline.evaluation.student import LEVEL
from pipeline.names import name_problem
from pipeline.nouns import counted
from pipeline.reporting.page import build, leaderboard, mistakes, queries
from pipeline.reporting.page.scored_files import HIGHLIGHT, MOMENT, Benchmark, Examined, examine, named_files
from pipeline.reporting.reproduced import TOP5

PAGE = "index.html"
VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".m4v", ".mov")
"""Suffixes of video files that a browser may be able to play."""
COMPARED = (MOMENT, "MR-full-R1@0.7", HIGHLIGHT, TOP5)
"""The headline numbers that have a matrix of paired differences."""


def report(
    dataset: str,
    predictions: Sequence[Path],
    annotations: Path,
    output: Path,
    *,
    names: Sequence[str] = (),
    videos: Path | None = None,
) -> Path:
    """Write `output`/index.html about prediction files, and return its path.

    names: the names of the files on the page. videos: a folder with `{vid}.mp4` or similar files, which the page plays
    from there. Raises PipelineError for files that cannot be scored, and for an output that cannot be written.
    """
    path = output / PAGE
    if path.exists() and not build.is_page(path):
        raise PipelineError("exists and is not a page of this program", where=path, remedy="name another --output")
    benchmark = examine(dataset, named_files(predictions, names), annotations)
    write(path, benchmark, videos_in(videos, benchmark, output) if videos else {})
    return path


def write(path: Path, benchmark: Benchmark, videos: Mapping[str, str], back: str = "") -> None:
    """Write the page of a benchmark. videos: vid → address. back: address of the page with a link to this page, if
    any."""
    build.write(path, "benchmark.html", context(benchmark, back=back), queries.data(benchmark, videos))


def context(benchmark: Benchmark, back: str = "") -> dict[str, Any]:
    """Return the values that the templates of a benchmark's page print."""
    with_windows = [one for one in benchmark.files if one.anatomy is not None]
    few = len({benchmark.dataset.video_of(row["vid"]) for row in benchmark.truth.values()}) < FEW
    return {
        "title": f"{benchmark.dataset.name}, {benchmark.name}",
        "benchmark": benchmark,
        "back": back,
        "sentences": [sentence(benchmark, one) for one in benchmark.files],
        "costs": [(one, mistakes.costs(one)) for one in with_windows],
        "groups": [(one, mistakes.groups(benchmark, one)) for one in with_windows],
        "changed": _changed(benchmark, with_windows),
        "ranked": leaderboard.ranked(benchmark),
        "matrices": leaderboard.matrices(benchmark, tuple(m for m in COMPARED if m in benchmark.metrics)),
        "level": f"{100 * LEVEL:g} %",
        "few": few,
        "shown_at": queries.SHOWN_AT,
    }


def sentence(benchmark: Benchmark, one: Examined) -> str:
    """Return one sentence with the headline number of a file and its costliest kind of mistake."""
    found = one.intervals[one.leading]
    interval = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    text = f"{benchmark.metrics[one.leading]} is {found.value:.2f}{interval} on {counted(len(one.qids), 'query')}"
    costliest = max(mistakes.costs(one), key=lambda cost: cost.average, default=None)
    if costliest is None or costliest.average <= 0:
        return f"{text}."
    gain = f"whose repair alone would gain {costliest.average:.2f} points"
    return f"{text}; the costliest mistake is “{costliest.kind}”, {gain}."


def videos_in(folder: Path, benchmark: Benchmark, page: Path) -> dict[str, str]:
    """Return vid → address of its file relative to the folder `page`, for the videos that exist.

    Raises PipelineError if the folder does not exist.
    """
    if not folder.is_dir():
        raise PipelineError("is no folder", where=folder, remedy="name the folder with the video files, or none")
    there = {path.name: path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES}
    vids = {row["vid"] for row in benchmark.truth.values()}
    found = {vid: there[name] for vid in vids for s in VIDEO_SUFFIXES if (name := f"{vid}{s}") in there}
    return {vid: address(path, page) for vid, path in found.items() if not name_problem(vid)}


def address(path: Path, page: Path) -> str:
    """Return the address of a file relative to the folder `page`."""
    return quote(Path(os.path.relpath(path.resolve(), page.resolve())).as_posix())


def _changed(benchmark: Benchmark, with_windows: Sequence[Examined]) -> list[mistakes.Changed]:
    """Return the differences of every further file from the first."""
    pairs = (mistakes.changed(benchmark, with_windows[0], other) for other in with_windows[1:])
    return [pair for pair in pairs if pair is not None]
