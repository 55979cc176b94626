"""Runs a check that may hang or crash in a separate process with a time limit. If it fails, it becomes a line of the
table. Checks with torch and with the driver of a GPU may hang or crash. A driver that lost its GPU can block a process
so that it cannot be killed. So a process that did not end in time is not waited for (`programs.answer`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline import programs
from pipeline.errors import PipelineError, printable

MARK = "DOCTOR: "
"""The beginning of the last line of such a process. Libraries print lines of their own before it."""
_START = "import sys; sys.path.insert(0, sys.argv[1]); from pipeline.doctor.isolated import serve; serve(*sys.argv[2:])"
_ROOT = Path(__file__).resolve().parents[2]
LONGEST = 300
"""Largest number of characters that are shown of the output of a crashed process."""


class IsolatedError(PipelineError):
    """A check in a separate process did not end, crashed, or raised an error."""


def run(function: str, argument: Any, limit_s: float, doing: str, remedy: str) -> Any:
    """Call `module:function` with one JSON value in a separate process, and return its JSON value.

    doing, remedy: the name of the work, and what to do if it fails. Raises IsolatedError with both if there is no
    answer.
    """
    command = [sys.executable, "-c", _START, str(_ROOT), function, json.dumps(argument)]
    try:
        told = programs.answer(command, limit_s)
    except subprocess.TimeoutExpired as error:
        raise IsolatedError(f"{doing} does not end within {limit_s:g} s", remedy=remedy) from error
    except OSError as error:
        raise IsolatedError(f"{doing} cannot be started ({error.strerror})", remedy=remedy) from error
    *_, last = ["", *told.stdout.splitlines()]
    if told.returncode or not last.startswith(MARK):
        *_, said = ["", *filter(None, map(str.strip, told.stderr.splitlines()))]
        why = f" ({printable(said)[:LONGEST]})" if said else ""
        raise IsolatedError(f"{doing} ended with code {told.returncode}{why}", remedy=remedy)
    return json.loads(last.removeprefix(MARK))


def serve(function: str, argument: str) -> None:
    """Call the function and print its value. This runs in the other process."""
    module, _, name = function.partition(":")
    print(MARK + json.dumps(getattr(import_module(module), name)(json.loads(argument))))
