"""The messages of a workflow on the terminal: jobs are named by experiment, dataset or shard, and failures are listed
at the end.

Snakemake names jobs by numbers ("Finished jobid: 34"). If it is told to be quiet about rules, it does not report failed
jobs. Otherwise it prints more about a failure than fits on a screen. So this module reads and changes its messages.
After Snakemake's last message it prints, in every profile, the error of each failed job, its log, and the command to go
on with.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.board import Board, Quiet
from pipeline.nouns import counted

GO_ON_WITH = "GO_ON_WITH"
"""The environment variable with the command to go on with, for a program that starts Snakemake. If it is empty, the
program prints the command itself."""

COMMANDS = {"extract": "features", "import_archive": "features", "score_test": "score"}
"""Rule → its command, if the two have different names. The last line of a command that fails begins with the name of
the command."""

STREAM = "DefaultStreamHandler"
"""The name of Snakemake's handler that writes to the terminal; another one writes its log file."""

LONGEST = 20
"""Largest number of failed jobs that the list names."""
TAIL_BYTES = 100_000
"""Number of bytes at the end of a log in which the error is searched."""


@dataclass(frozen=True)
class Failure:
    """A failed job. logs: the log of the rule first, then those of a cluster. why: Snakemake's own message about it."""

    job: str
    rule: str
    logs: tuple[str, ...]
    why: str

    def lines(self) -> list[str]:
        """Return the lines about a failure: the job, its error, its logs."""
        logs = [log for log in self.logs if Path(log).is_file()]
        return [
            f"  {self.job}",
            f"    {error_of(self.rule, logs, self.why)}",
            f"    log: {', '.join(logs or self.logs) or 'none'}",
        ]


class Terminal(logging.Filter):
    """Reads every message of Snakemake's logger, adds the names of jobs, and remembers failures.

    announce: whether to print which job begins, because Snakemake itself is told to be quiet about it. board: one line
    for each stage, in place of Snakemake's messages about single jobs.
    """

    def __init__(self, *, announce: bool, board: Board | None = None) -> None:
        super().__init__()
        self._announce = announce and board is None
        self._board = board
        self._rules: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self._failures: dict[int, Failure] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the text of some log records so that they are easier to understand. No record is dropped."""
        event = getattr(record, "event", None)
        match getattr(event, "value", event):
            case "run_info" if self._board:
                self._board.plan(vars(record).get("stats", {}))
            case "job_info":
                self._begin(record)
            case "job_finished":
                self._finish(record)
            case "job_error":
                self._fail(vars(record))
            case "group_error":
                for job in vars(record).get("job_error_info", ()):
                    self._fail(job)
        return True

    def summary(self, command: str) -> str:
        """Return what failed and how to go on, or '' if nothing failed. command: the command to go on with; it may be
        empty."""
        if not self._failures:
            return ""
        failures = list(self._failures.values())
        n = len(failures)
        lines = ["", f"{counted(n, 'job')} failed:"]
        for failure in failures[:LONGEST]:
            lines += failure.lines()
        if n > LONGEST:
            lines.append(f"  … and {n - LONGEST} more")
        return "\n".join([*lines, f"Correct this, then go on with: {command}"] if command else lines)

    def say_summary(self, command: str) -> None:
        """Print `summary` to stderr. $GO_ON_WITH of the environment takes precedence over `command`."""
        if self._board:
            self._board.close()
        if text := self.summary(os.environ.get(GO_ON_WITH, command)):
            print(text, file=sys.stderr, flush=True)

    def _begin(self, record: logging.LogRecord) -> None:
        job: Any = vars(record)
        self._names[job["jobid"]] = named(job["rule_name"], job["wildcards"])
        self._failures.pop(job["jobid"], None)  # tried once more
        self._rules[job["jobid"]] = job["rule_name"]
        if self._board:
            self._board.begin(job["rule_name"], job["jobid"], ", ".join(map(str, job["wildcards"].values())))
        if self._announce:
            logging.getLogger(record.name).info(f"Begun: {self._names[job['jobid']]}")

    def _finish(self, record: logging.LogRecord) -> None:
        jobid = vars(record)["job_id"]
        self._failures.pop(jobid, None)
        if self._board and jobid in self._rules:
            self._board.finish(self._rules[jobid], jobid)
        record.msg = f"Finished: {self._names.get(jobid, '')} (jobid: {jobid})"

    def _fail(self, job: Mapping[str, Any]) -> None:
        name = self._names.get(job["jobid"], job["rule_name"])
        logs = tuple(map(str, job["log"] or ()))
        if self._board:
            self._board.fail(job["rule_name"], job["jobid"], name)
        self._failures[job["jobid"]] = Failure(name, job["rule_name"], logs, first_line(job.get("rule_msg")))


def watch(logger: logging.Logger, *, announce: bool, one_line_each: bool, targets: Iterable[str]) -> Terminal:
    """Attach a Terminal to a logger of Snakemake.

    announce: as for `Terminal`. one_line_each: show a line for each stage instead of one for each job. targets: rules
    that only name targets.
    """
    streams = [handler for handler in logger.handlers if handler.get_name() == STREAM]
    board = Board(hidden=frozenset(targets)) if one_line_each and streams else None
    if board:
        for handler in streams:
            handler.addFilter(Quiet(board, handler))
    told = Terminal(announce=announce, board=board)
    logger.addFilter(told)
    return told


def named(rule: str, wildcards: Mapping[str, Any]) -> str:
    """Return the name of a job for people: `train, experiment seen, part 1of1`."""
    return ", ".join([rule, *(f"{key} {value}" for key, value in wildcards.items())])


def error_of(rule: str, logs: Iterable[str], why: str = "") -> str:
    """Return the error of a failed job from its logs, as one line. why: Snakemake's own message about it.

    rule: the name of the rule. In a workflow that uses this one as a module, it has a prefix (`trdetr_train`).
    """
    command = next((made for name, made in COMMANDS.items() if rule.endswith(name)), rule.rpartition("_")[2])
    last = ""
    for log in logs:
        lines = [line.strip() for line in _tail(Path(log)).splitlines() if line.strip()]
        if errors := [number for number, line in enumerate(lines) if line.startswith(f"{command}: ")]:
            return " ".join(lines[errors[-1] :])
        if "Traceback (most recent call last):" in lines:
            return f"a fault of this program: {lines[-1]}"
        last = last or (lines[-1] if lines else "")
    reasons = [why] if why else []
    reasons += [f"the last line of its log is: {last}"] if last else []
    return "; ".join(["it ended without a message: killed, perhaps because of memory or time, or by hand", *reasons])


def first_line(text: object) -> str:
    """Return the first line of a text that is not blank, or ''."""
    return next((line.strip() for line in str(text or "").splitlines() if line.strip()), "")


def _tail(log: Path) -> str:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
