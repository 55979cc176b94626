"""One line for each stage of a run: how many of its jobs are done, at which rate, and how long the rest will take.

On a terminal the lines are bars that move (tqdm draws them), and what else is said stands above them. Elsewhere a line
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
from pipeline.progress import length, rate

EVERY_S = 30.0
WIDTH = 15
"""Characters of the longest name of a stage."""
COUNT = "{desc:<15.15} {bar:20} {n_fmt:>4} of {total_fmt:<4} "
"""What a bar begins with. The rate stands behind it, then the time left, so that a narrow terminal cuts neither."""
NOISE = (
    "Exiting because a job execution failed",
    "Shutting down, this might take some time",
    "RuleException:\nCalledProcessError",
    "Cannot restore ",
    "WorkflowError:\nAt least one job did not complete successfully",
    "Conda environments: ignored",
)
"""How messages begin that repeat what the list of failed jobs says at the end, or that no user can act on."""
BEFORE = ("Building DAG", "Using shell", "Provided ", "Rules claiming", "host:", "Assuming unrestricted", "Job stats")
"""How messages begin that every run writes before its first job."""
ALWAYS = ("Nothing to be done", "Complete log(s)")
"""How messages below a warning begin that people want to see."""


@dataclass
class StageProgress:
    """How far one stage is. began, told: seconds of the clock. at_work: jobs that have begun and not ended."""

    total: int
    began: float
    told: float
    done: int = 0
    at_work: dict[int, str] = field(default_factory=dict)
    bar: Any = None


class Board:
    """The lines of all stages that have begun.

    out: where lines are written. live: whether lines are bars that move; None: where `out` is a terminal. hidden: rules
    that only name targets.
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
        """Take the number of jobs of every rule. Say how many there are."""
        self.is_planned = True
        self._totals = {rule: n for rule, n in stats.items() if rule != "total" and rule not in self._hidden}
        self.say(f"{counted(sum(self._totals.values()), 'job')} in {counted(len(self._totals), 'stage')}")

    def begin(self, rule: str, jobid: int, name: str) -> None:
        """A job begins. name: what tells it from others of its rule."""
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
        """A job has ended well."""
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
        """A job has failed."""
        if (line := self._lines.get(rule)) is not None:
            line.at_work.pop(jobid, None)
            self._show(line)
        self.say(f"FAILED: {name}")

    def text(self, rule: str) -> str:
        """How far a stage is, in words."""
        line = self._lines[rule]
        return f"{rule:<{WIDTH}} {line.done:>4} of {line.total}, {self._pace(line)}"

    def say(self, text: str) -> None:
        """Print a text; above the bars, where there are any."""
        if self.live:
            from tqdm import tqdm

            tqdm.write(text, file=self.out)
        else:
            print(text, file=self.out, flush=True)

    def close(self) -> None:
        """Leave the bars as they are."""
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
        """Return the rate of a stage, what is left by that rate, and how long the stage has been at work."""
        seconds = self._clock() - line.began
        parts = [rate(line.done / seconds, "job")] if line.done and seconds else []
        if line.done >= line.total:
            return ", ".join([*parts, f"done in {length(seconds)}"])
        if parts:
            parts.append(f"{length(seconds / line.done * (line.total - line.done))} left")
        return ", ".join([*parts, f"{length(seconds)} so far"])


class Quiet(logging.Filter):
    """Keeps Snakemake's talk of single jobs from its stream. Its log file has all of it.

    Warnings and errors pass, and what Snakemake says where it runs no job, of an undone lock for instance. Where bars
    move, messages are written above them.
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
