"""Shows one line for each stage of a run: how many of its jobs are done, at which rate, and how long the rest will
take.

On a terminal the lines are moving bars (tqdm draws them), and other messages are printed above them. Elsewhere a line
is written when a stage is done, and every half a minute while jobs of a stage end.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from pipeline.nouns import counted
from pipeline.progress import duration_text, rate

EVERY_S = 30.0
WIDTH = 15
"""Number of characters of the longest name of a stage."""
COUNT = "{desc:<15.15} {bar:20} {n_fmt:>4} of {total_fmt:<4} "
"""The beginning of a bar. The rate and the time left follow it, so that a narrow terminal does not cut them off."""
NOISE = (
    "Exiting because a job execution failed",
    "Shutting down, this might take some time",
    "RuleException:\nCalledProcessError",
    "Cannot restore ",
    "WorkflowError:\nAt least one job did not complete successfully",
    "Conda environments: ignored",
)
"""Beginnings of messages that repeat the list of failed jobs at the end, or on which a user cannot act."""
BEFORE = ("Building DAG", "Using shell", "Provided ", "Rules claiming", "host:", "Assuming unrestricted", "Job stats")
"""Beginnings of messages that every run writes before its first job."""
ALWAYS = ("Nothing to be done", "Complete log(s)")
"""Beginnings of messages below the level of a warning that users need."""


@dataclass
class StageProgress:
    """The progress of one stage. began, told: seconds of the clock at its start and at its last line. at_work: jobs
    that have begun and not ended."""

    total: int
    began: float
    told: float
    done: int = 0
    at_work: dict[int, str] = field(default_factory=dict)
    bar: Any = None


class Board:
    """The lines of all stages that have begun.

    out: the stream to which lines are written. live: whether lines are moving bars; with None they are if `out` is a
    terminal. hidden: rules that only name targets.
    """

    def __init__(
        self,
        out: IO[str] | None = None,
        *,
        live: bool | None = None,
        hidden: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.out = out or sys.stderr
        self.live = self.out.isatty() if live is None else live
        self._hidden, self._clock = set(hidden), clock
        self.is_planned = False
        self._totals: dict[str, int] = {}
        self._lines: dict[str, StageProgress] = {}

    def plan(self, stats: Mapping[str, int]) -> None:
        """Store the number of jobs of every rule, and print the total."""
        self.is_planned = True
        self._totals = {rule: n for rule, n in stats.items() if rule != "total" and rule not in self._hidden}
        self.say(f"{counted(sum(self._totals.values()), 'job')} in {counted(len(self._totals), 'stage')}")

    def begin(self, rule: str, jobid: int, name: str) -> None:
        """Note that a job begins. name: the part of its name that differs from other jobs of its rule."""
        if rule in self._hidden:
            return
        if rule not in self._lines:
            now = self._clock()
            self._lines[rule] = StageProgress(self._totals.get(rule, 1), now, now)
            if self.live:
                self._lines[rule].bar = self._bar(rule, self._lines[rule].total)
        line = self._lines[rule]
        line.at_work[jobid] = name
        self._show(line)

    def finish(self, rule: str, jobid: int) -> None:
        """Note that a job has ended without an error."""
        if (line := self._lines.get(rule)) is None or line.at_work.pop(jobid, None) is None:
            return
        line.done += 1
        if line.bar is not None:
            line.bar.update(1)
            self._show(line)
        elif line.done >= line.total or self._clock() - line.told >= EVERY_S:
            line.told = self._clock()
            self.say(self.text(rule))

    def fail(self, rule: str, jobid: int, name: str) -> None:
        """Note that a job has failed."""
        if (line := self._lines.get(rule)) is not None:
            line.at_work.pop(jobid, None)
            self._show(line)
        self.say(f"FAILED: {name}")

    def text(self, rule: str) -> str:
        """Return the progress of a stage in words."""
        line = self._lines[rule]
        return f"{rule:<{WIDTH}} {line.done:>4} of {line.total}, {self._pace(line)}"

    def say(self, text: str) -> None:
        """Print a text. If there are bars, it is printed above them."""
        if self.live:
            from tqdm import tqdm

            tqdm.write(text, file=self.out)
        else:
            print(text, file=self.out, flush=True)

    def close(self) -> None:
        """Stop drawing, and leave the bars on the terminal."""
        for line in self._lines.values():
            if line.bar is not None:
                line.bar.close()
                line.bar = None

    def _bar(self, rule: str, total: int) -> Any:
        from tqdm import tqdm

        position = sum(line.bar is not None for line in self._lines.values())
        return tqdm(total=total, desc=rule, position=position, bar_format=COUNT, file=self.out, dynamic_ncols=True)

    def _show(self, line: StageProgress) -> None:
        if line.bar is not None:
            line.bar.bar_format = f"{COUNT}{self._pace(line)}{{postfix}}"
            line.bar.set_postfix_str("; ".join(line.at_work.values())[:60])

    def _pace(self, line: StageProgress) -> str:
        """Return the rate of a stage, the time left at this rate, and the time since the stage began."""
        seconds = self._clock() - line.began
        parts = [rate(line.done / seconds, "job")] if line.done and seconds else []
        if line.done >= line.total:
            return ", ".join([*parts, f"done in {duration_text(seconds)}"])
        if parts:
            parts.append(f"{duration_text(seconds / line.done * (line.total - line.done))} left")
        return ", ".join([*parts, f"{duration_text(seconds)} so far"])


class Quiet(logging.Filter):
    """Keeps Snakemake's messages about single jobs from the terminal. Its log file has all of them. Warnings and errors
    pass, and so do messages of a Snakemake that runs no job, for example about a removed lock. If there are moving
    bars, messages are written above them.
    """

    def __init__(self, board: Board, handler: logging.Handler) -> None:
        super().__init__()
        self._board, self._handler = board, handler

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether Snakemake's own handler writes the record."""
        text = str(record.msg or "")
        event = getattr(record, "event", None)
        if event in ("job_error", "group_error", "run_info", "workflow_started") or text.startswith((*NOISE, *BEFORE)):
            return False
        if record.levelno < logging.WARNING and self._board.is_planned and not text.startswith(ALWAYS):
            return False
        if self._board.live:
            self._board.say(self._handler.format(record))
            return False
        return True
