"""Checks names that come from files, before they become part of a path or a line on a terminal.

A vid, a qid, the name of a family or of an archive may be written by anybody. Code that reads one checks it here, once.
A name that passes is a plain file name: it leads to no other folder and contains no control characters for a terminal.
"""

from __future__ import annotations

import re

from pipeline.errors import PipelineError, is_printable, printable

MOST_BYTES = 200
"""Largest number of bytes of a name in UTF-8. File systems allow 255, and suffixes are added to the name."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def name_problem(name: object) -> str:
    """Return why a name cannot be a file name in a folder of ours, or '' if it can."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not a text"
    if name in ("", ".", "..") or "/" in name:
        return "cannot be the name of a file"
    if not is_printable(name):
        return "holds characters that cannot be printed"
    if len(name.encode()) > MOST_BYTES:
        return f"is longer than {MOST_BYTES} bytes"
    return ""


def file_name(name: object, what: str, where: object, remedy: str) -> str:
    """Return a name that may become part of a path. what: the kind of thing that it names, for the error. Raises
    PipelineError for any other name."""
    if problem := name_problem(name):
        raise PipelineError(f"{what} `{_short(name)}` {problem}", where=where, remedy=remedy)
    return str(name)


def word(name: object, what: str, where: object, remedy: str) -> str:
    """Return a name that has only letters, digits, `.`, `_` and `-`, and a letter or digit first. Raises PipelineError
    for any other name."""
    if problem := name_problem(name):
        raise PipelineError(f"{what} `{_short(name)}` {problem}", where=where, remedy=remedy)
    if not _WORD.fullmatch(str(name)):
        allowed = "letters, digits, `.`, `_` and `-`"
        raise PipelineError(f"{what} `{_short(name)}` holds more than {allowed}", where=where, remedy=remedy)
    return str(name)


def one_line(text: object, what: str, where: object, remedy: str) -> str:
    """Return a text that can be printed on a terminal unchanged. Raises PipelineError for any other text."""
    if not isinstance(text, str):
        raise PipelineError(f"{what} is a {type(text).__name__}, not a text", where=where, remedy=remedy)
    if not is_printable(text):
        why = f"{what} `{_short(text)}` holds characters that cannot be printed"
        raise PipelineError(why, where=where, remedy=remedy)
    return text


def _short(name: object) -> str:
    return printable(str(name)[:80])
