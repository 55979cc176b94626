"""Output that a terminal or a file of any encoding takes: a character that it lacks is written in plain ones."""

from __future__ import annotations

import codecs
import io
import sys

PLAIN = {
    "→": "->",
    "–": "-",
    "—": "-",
    "−": "-",
    "±": "+-",
    "×": "x",
    "…": "...",
    "≥": ">=",
    "≤": "<=",
    "·": ".",
    "λ": "lambda",
}
"""What stands for a character that a terminal does not have; any other one is escaped."""


def print_anywhere() -> None:
    """Let a terminal or file of any encoding take every character: what it has not is written in plain ones."""
    codecs.register_error("plainly", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plainly")


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(char) or ascii(char)[1:-1] for char in text), error.end
