"""Records what the jobs really did, if a user asks for it: one line for each piece of work.

The environment variable TR_DETR_WORK_RECORD names a file, and every process that does work appends lines of JSON to it.
Without the variable nothing is recorded. CONTRIBUTING.md lists the kinds of lines. The record answers questions such as
"why did this job start again", "which files did it read for their digests" and "how many rows were encoded", and the
tests count work with it. It changes no result, and no stage reads it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from pipeline.errors import PipelineError

VARIABLE = "TR_DETR_WORK_RECORD"
"""Name of the environment variable that names the file."""


def note(what: str, **fields: Any) -> None:
    """Append one line: what was done, its fields, the time in seconds since 1970, and the number of the process.

    fields: values that JSON knows; a path is written as text. Raises PipelineError when the file cannot be written.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    line = {"what": what, **fields, "time": round(time.time(), 3), "process": os.getpid()}
    text = json.dumps(line, ensure_ascii=True, default=str) + "\n"
    try:
        # One call writes the whole line at the end of the file, so the lines of several processes never mix.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
    except OSError as error:
        remedy = f"name a file in a folder that exists in the variable {VARIABLE}, or unset it"
        raise PipelineError(f"cannot be written ({error.strerror})", where=path, remedy=remedy) from error


def imported() -> list[str]:
    """Return the names of the packages that this process has imported so far."""
    return sorted(name for name in sys.modules if "." not in name)
