"""Writes the files of answers: JSON, CSV, edit lists for editing programs, windows that are cut out, and the page.

answers.json    every answer, with all its windows and clip scores
windows.csv     a row per window that is shown: query, rank, start_s, end_s, score
clips.csv       a row per clip: query, clip, start_s, saliency (a query that a spreadsheet would run begins with ')
query-N.edl     the windows of the N-th query as a CMX 3600 edit list
query-N-K.mp4   the K-th window of the N-th query, where clips are wanted
index.html      the page
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from pipeline import csv_file, files, spreadsheet
from pipeline.asking import page
from pipeline.asking.answer import Answer
from pipeline.asking.clock import timecode
from pipeline.errors import PipelineError, printable

SHOWN = 5
"""Number of windows that tables, edit lists and pages show for each answer."""

SUFFIXES = (".mp4", ".mkv")
"""Suffixes of windows that are cut out."""

EDIT_RATES = (*map(Fraction, (24, 25, 30, 50, 60)), *(Fraction(1000 * n, 1001) for n in (24, 30, 60)))
"""The frame rates that an edit list may have."""

FILES = ("answers.json", "windows.csv", "clips.csv", "index.html")
"""The names of the files that every answer writes. The first is written first."""

OF_A_QUERY = re.compile(r"query-[1-9]\d*(\.edl|-[1-9]\d*(\.mp4|\.mkv))")
"""The names of the files of one query."""


def write(answers: Sequence[Answer], folder: Path, *, cut: bool = False, most: int = SHOWN) -> list[Path]:
    """Write the files of answers about one video, and return their paths. cut: whether to cut clips out, too.

    Files of an earlier answer in this folder are removed, so that every file there is about the queries of the page.

    Raises PipelineError for a folder that cannot be written, for one that holds the video or a file of the user under
    the name of a file to be written, and for a video whose streams cannot be copied.
    """
    if not answers:
        return []
    video, rate = answers[0].video, edit_rate(answers[0].video)
    written = [folder / "answers.json", folder / "windows.csv", folder / "clips.csv"]
    names = _names(answers, cut=cut, most=most)
    _refuse_the_video(video, folder, names)
    is_of_an_answer = _is_of_an_answer(folder / FILES[0])
    if not is_of_an_answer:
        _refuse_files_of_others(folder, names)
    files.write_json(written[0], [answer.to_row() for answer in answers])
    csv_file.write(
        written[1], ("query", "rank", "start_s", "end_s", "score"), spreadsheet.cells(_window_rows(answers, most))
    )
    csv_file.write(written[2], ("query", "clip", "start_s", "saliency"), spreadsheet.cells(_clip_rows(answers)))
    for number, answer in enumerate(answers, 1):
        path = folder / f"query-{number}.edl"
        with files.atomic(path) as file:
            file.write(edit_list(answer, rate, most))
        written.append(path)
        if cut:
            from pipeline.asking.cutting import cut_out

            for rank, window in enumerate(answer.shown(most), 1):
                written.append(cut_out(video, window, folder / f"query-{number}-{rank}"))
    written.append(folder / "index.html")
    with files.atomic(written[-1]) as file:
        file.write(page.html(answers, folder, most))
    if is_of_an_answer:
        _remove_earlier(folder, {*written, video})
    return written


def edit_list(answer: Answer, rate: Fraction | int, most: int = SHOWN) -> str:
    """Return the shown windows as a CMX 3600 edit list. They follow one another on the record side.

    rate: frames per second, as `edit_rate` gives it. Codes count frames, so an event has the same length on both sides.
    At 30000/1001 a second of codes has 30 frames, so it lasts a little more than a second.
    """
    whole = round(rate)
    name = printable(answer.video.name)
    lines = [f"TITLE: {printable(answer.query)[:70]}", "FCM: NON-DROP FRAME", ""]
    recorded = 0
    for number, window in enumerate(answer.shown(most), 1):
        first, end = (round(seconds * rate) for seconds in (window.start_s, window.end_s))
        bounds = (first, end, recorded, recorded + end - first)
        codes = " ".join(timecode(Fraction(frame, whole), whole) for frame in bounds)
        lines += [f"{number:03d}  AX       V     C        {codes}", f"* FROM CLIP NAME: {name}", ""]
        recorded += end - first
    return "\n".join(lines)


def edit_rate(video: Path) -> Fraction:
    """Return the frame rate of a video's edit list: the usual rate that is nearest to the video's. Raises PipelineError
    if the video cannot be read."""
    from pipeline.video.container import opened, video_stream

    with opened(video) as container:
        stream = video_stream(container, video)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return min(EDIT_RATES, key=lambda usual: abs(usual - rate))


def _names(answers: Sequence[Answer], *, cut: bool, most: int) -> list[str]:
    """Return the names of the files that may be written."""
    names = [*FILES]
    for number, answer in enumerate(answers, 1):
        names.append(f"query-{number}.edl")
        clips = range(1, len(answer.shown(most)) + 1) if cut else ()
        names += [f"query-{number}-{rank}{suffix}" for rank in clips for suffix in SUFFIXES]
    return names


def _refuse_the_video(video: Path, folder: Path, names: Sequence[str]) -> None:
    """Raise PipelineError if a file to be written is the video itself, also under another path."""
    if any(os.path.exists(folder / name) and (folder / name).samefile(video) for name in names):
        raise PipelineError("would be overwritten", where=video, remedy="name another folder: --output DIR")


def _refuse_files_of_others(folder: Path, names: Sequence[str]) -> None:
    """Raise PipelineError if a file to be written is in this folder, in which no earlier answer wrote anything."""
    # os.path.exists and not Path.exists, which raises OSError for a folder with a long name or without permission.
    there = [name for name in names if os.path.exists(folder / name)]
    if there:
        raise PipelineError(
            "is there already, and no answer wrote it",
            where=folder / there[0],
            remedy="name another folder: --output DIR",
        )


def _remove_earlier(folder: Path, kept: set[Path]) -> None:
    """Remove the files of queries that this answer did not write: an earlier one had more queries, windows or clips.

    Only for a folder in which an earlier answer wrote. In another one, files with such names are the user's.
    """
    for path in folder.iterdir():
        if OF_A_QUERY.fullmatch(path.name) and path.is_file() and not any(path.samefile(one) for one in kept):
            path.unlink()


def _is_of_an_answer(path: Path) -> bool:
    """Tell whether an answer wrote this answers.json. It is the first file that an answer writes into a folder."""
    try:
        rows = files.read_json(path)
    except PipelineError:
        return False
    # An answer never writes an empty list.
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) and "saliency" in row for row in rows)


def _window_rows(answers: Sequence[Answer], most: int) -> list[tuple[object, ...]]:
    return [
        (answer.query, rank, window.start_s, window.end_s, window.score)
        for answer in answers
        for rank, window in enumerate(answer.shown(most), 1)
    ]


def _clip_rows(answers: Sequence[Answer]) -> list[tuple[object, ...]]:
    return [
        (answer.query, clip, clip * answer.clip_s, score)
        for answer in answers
        for clip, score in enumerate(answer.saliency)
    ]
