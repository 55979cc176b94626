"""Prints text in every encoding. A character that the terminal cannot show is replaced by plain characters."""

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
"""Character → the plain characters that replace it where the terminal cannot show it. Any other one is escaped."""


def print_anywhere() -> None:
    """Let stdout and stderr accept every character, in any encoding.

    A character that the terminal cannot show is replaced by plain characters.
    """
    codecs.register_error("plainly", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plainly")


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(char) or ascii(char)[1:-1] for char in text), error.end
