"""Progress is one plain line every 30 seconds in a log, a bar on a terminal, and nothing for short work."""

from __future__ import annotations

import io
import re
import time

import pytest

from pipeline import files, progress
from pipeline.acquire.copying import copy
from pipeline.progress import Progress
from pipeline.training.pool import run_all


class Clock:
    """A clock whose time passes only when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("total", "unit", "before", "done", "seconds", "line"),
    [
        (200, "video", 0, 0, 30, "x: 0 of 200 videos, 30 s so far"),
        (200, "video", 0, 50, 100, "x: 50 of 200 videos, 30.0 videos/min, 5 min 0 s left, 1 min 40 s so far"),
        (10_000, "row", 0, 1_000, 50, "x: 1,000 of 10,000 rows, 20.0 rows/s, 7 min 30 s left, 50 s so far"),
        (100, "video", 90, 5, 3600, "x: 95 of 100 videos, 5.0 videos/h, 1 h 0 min left, 1 h 0 min so far"),
        (None, "file", 0, 3, 3, "x: 3 files, 1.0 files/s, 3 s so far"),
        (2 * 10**9, "B", 10**9, 5 * 10**8, 50, "x: 1.5 GB of 2.0 GB, 10.0 MB/s, 50 s left, 50 s so far"),
        (1, "query", 0, 1, 3, "x: 1 of 1 query, 20.0 queries/min, 3 s so far"),
        (7, "video", 0, 7, 60, "x: 7 of 7 videos, 7.0 videos/min, 1 min 0 s so far"),
    ],
)
def test_a_line_says_done_total_rate_and_time_left(total, unit, before, done, seconds, line):
    clock = Clock()
    with Progress(total, unit, "x", done=before, clock=clock, out=io.StringIO()) as shown:
        clock.now += seconds
        shown.add(done)
        assert shown.line() == line


def test_a_note_stands_at_the_end_until_another_comes():
    shown = Progress(2, "video", "x", out=io.StringIO(), clock=Clock())
    shown.add(1, "12.5 frames/s")
    shown.add(1)
    assert shown.line().endswith(", 12.5 frames/s")


def test_lines_come_while_one_item_takes_long_and_the_end_is_said():
    log = io.StringIO()
    with Progress(3, "video", "shard 0", every_s=0.02, out=log) as shown:
        deadline = time.monotonic() + 20
        while log.getvalue().count("\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        shown.add(3)
    told = log.getvalue().splitlines()
    assert len(told) >= 4
    assert told[0].startswith("shard 0: 0 of 3 videos")
    assert told[-1].startswith("shard 0: 3 of 3 videos")
    assert "\r" not in log.getvalue()


def test_the_interval_in_a_log_is_half_a_minute_at_most():
    assert progress.EVERY_S <= 30


def test_short_work_says_nothing(capsys):
    assert list(progress.lines([1, 2, 3], unit="video", what="x")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    assert list(progress.lines([1, 2], unit="video", what="shard 0")) == [1, 2]
    assert "shard 0" in screen.getvalue()
    assert "2/2" in screen.getvalue()


def test_lines_stop_when_the_work_fails():
    log = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress(1, "video", "x", every_s=0.01, out=log):
        time.sleep(0.05)
        raise ZeroDivisionError
    told = log.getvalue()
    time.sleep(0.05)
    assert log.getvalue() == told


def test_a_log_that_is_closed_stops_no_work():
    log = io.StringIO()
    with Progress(1, "video", "x", every_s=0.01, out=log) as shown:
        log.close()
        time.sleep(0.05)
        shown.add()
    assert shown.done == 1


@pytest.mark.usefixtures("told_often")
def test_a_training_writes_its_progress_into_the_log(capfd):
    def work(run: str, tell) -> None:
        time.sleep(0.01)
        tell(run, {"total": 2.5})

    run_all(work, ["all-s1"], processes=1, threads=1, title="mine", total=1)
    assert re.search(r"^mine: 1 of 1 epoch,.*all-s1: loss 2\.5", capfd.readouterr().err, re.MULTILINE)


@pytest.mark.usefixtures("told_often")
def test_reading_and_copying_a_big_file_is_shown(tmp_path, monkeypatch, capfd):
    """SHA-256 of an archive of 134 GB takes minutes, in a plan, in a fetch, and in every stage that reads it."""
    path = tmp_path / "archive.tar"
    path.write_bytes(b"x" * (3 << 20))
    monkeypatch.setattr(files, "SHOWN_BYTES", 3 << 20)
    for algorithm in ("sha256", "md5", "git-blob"):
        files.digest(path, algorithm)
        assert re.search(r"^reading archive.tar: 3.1 MB of 3.1 MB", capfd.readouterr().err, re.MULTILINE)
    copy(path, tmp_path / "copy.tar")
    assert (tmp_path / "copy.tar").read_bytes() == path.read_bytes()
    said = capfd.readouterr().err
    # A file system with reflinks copies at once, and then there is nothing to show.
    assert not said or "copying archive.tar: 3.1 MB of 3.1 MB" in said


@pytest.mark.usefixtures("told_often")
def test_small_files_are_read_in_silence(tmp_path, capfd):
    path = tmp_path / "a.json"
    path.write_bytes(b"x" * (3 << 20))
    files.sha256(path)
    assert capfd.readouterr().err == ""
