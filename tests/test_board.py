"""The board shows one line for each stage: counts, time left and failures. Messages of Snakemake about single jobs are
left out."""

from __future__ import annotations

import io
import logging

import pytest

from pipeline.board import Board, Quiet
from pipeline.progress import duration_text
from pipeline.terminal import STREAM, watch


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def board(clock):
    return Board(io.StringIO(), live=False, hidden=["report"], clock=clock)


def said(board):
    return board.out.getvalue().splitlines()


def test_a_stage_has_a_line_when_it_is_done_and_rules_that_only_name_targets_have_none(board, clock):
    board.plan({"train": 2, "report": 1, "total": 3})
    for jobid in (1, 2):
        board.begin("train", jobid, "seen")
        clock.now += 10
        board.finish("train", jobid)
    board.begin("report", 3, "")
    board.finish("report", 3)
    assert said(board) == ["2 jobs in 1 stage", "train              2 of 2, 6.0 jobs/min, done in 20 s"]


def test_a_long_stage_says_how_far_it_is_every_half_a_minute_and_what_is_left(board, clock):
    board.plan({"train": 10})
    for jobid in range(4):
        board.begin("train", jobid, "seen")
        clock.now += 20
        board.finish("train", jobid)
    assert said(board)[1:] == [
        "train              2 of 10, 3.0 jobs/min, 2 min 40 s left, 40 s so far",
        "train              4 of 10, 3.0 jobs/min, 2 min 0 s left, 1 min 20 s so far",
    ]


def test_a_job_that_failed_is_named_at_once_and_does_not_count_as_done(board):
    board.plan({"train": 2})
    board.begin("train", 1, "seen")
    board.fail("train", 1, "train, experiment seen")
    board.begin("train", 1, "seen")
    board.finish("train", 1)
    assert said(board)[-1] == "FAILED: train, experiment seen"
    assert board.text("train").startswith("train              1 of 2")


def test_bars_move_on_a_terminal_and_messages_stand_above_them(clock):
    out = io.StringIO()
    board = Board(out, live=True, clock=clock)
    board.plan({"train": 2})
    board.begin("train", 1, "seen")
    assert "   0 of 2    0 s so far, seen" in out.getvalue().splitlines()[-1]  # no rate before the first job has ended
    clock.now = 40
    board.finish("train", 1)
    assert "   1 of 2    1.5 jobs/min, 40 s left, 40 s so far" in out.getvalue().splitlines()[-1]
    board.say("a warning")
    clock.now = 70
    board.begin("train", 2, "seen")
    board.finish("train", 2)
    clock.now = 500
    board.close()
    assert "   2 of 2    1.7 jobs/min, done in 1 min 10 s" in out.getvalue().splitlines()[-1]
    assert "a warning\n" in out.getvalue()


@pytest.mark.parametrize(
    ("level", "text", "event", "shown"),
    [
        (logging.INFO, "Select jobs to execute...", None, False),
        (logging.INFO, "Finished jobid: 3", "job_finished", False),
        (logging.INFO, "Nothing to be done (all requested files are present).", None, True),
        (logging.WARNING, "The file system is slow", None, True),
        (logging.ERROR, "MissingInputException", None, True),
        (logging.ERROR, "Error in rule train", "job_error", False),
        (logging.ERROR, "RuleException:\nCalledProcessError in file x", None, False),
        (logging.ERROR, "RuleException:\nKeyError in file x", None, True),
        (logging.ERROR, "Exiting because a job execution failed. Look above for error message", None, False),
    ],
)
def test_only_what_people_can_use_reaches_the_terminal(board, level, text, event, shown):
    board.plan({"train": 1})
    record = logging.makeLogRecord({"msg": text, "levelno": level, "event": event})
    assert Quiet(board, logging.NullHandler()).filter(record) is shown


@pytest.mark.parametrize(("text", "shown"), [("Unlocked working directory.", True), ("Building DAG of jobs...", False)])
def test_what_a_command_without_jobs_says_is_shown(board, text, shown):
    assert (
        Quiet(board, logging.NullHandler()).filter(logging.makeLogRecord({"msg": text, "levelno": logging.INFO}))
        is shown
    )


def test_the_log_file_keeps_what_the_terminal_leaves_out():
    logger = logging.Logger("snakemake-like")
    streams = {STREAM: io.StringIO(), "DefaultLogFileHandler": io.StringIO()}
    for name, stream in streams.items():
        handler = logging.StreamHandler(stream)
        handler.set_name(name)
        logger.addHandler(handler)
    watch(logger, announce=True, one_line_each=True, targets=[])
    logger.info("Building DAG of jobs...")
    assert streams[STREAM].getvalue() == ""
    assert "Building DAG" in streams["DefaultLogFileHandler"].getvalue()


def test_rate_and_time_left_stand_within_80_columns(clock):
    out = io.StringIO()
    board = Board(out, live=True, clock=clock)
    board.plan({"train": 1200})
    for jobid in range(7):
        board.begin("train", jobid, "an experiment with a name {of} some length")
    clock.now = 60
    board.finish("train", 0)
    line = out.getvalue().splitlines()[-1].rpartition("\r")[2]
    board.close()
    begins, found, _ = line.partition("1 of 1200 1.0 jobs/min, 19 h 59 min left")
    assert found
    assert len(begins + found) <= 80  # tqdm cuts what stands behind at the terminal's edge
    assert line.endswith("{of} some length; an experiment wi")


def test_durations_are_said_as_people_say_them():
    assert [duration_text(seconds) for seconds in (5, 65, 3660)] == ["5 s", "1 min 5 s", "1 h 1 min"]
