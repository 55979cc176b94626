"""Names that come out of files, before they become part of a path or a line on a terminal.

A vid, a qid, a family or an archive's name may be written by anybody. Whoever reads one asks here, once; what passes is
a plain name of a file, which leads to no other folder and does nothing to a terminal.
"""

from __future__ import annotations

import re

from pipeline.errors import PipelineError, is_printable, printable

MOST_BYTES = 200
"""Largest number of bytes of a name in UTF-8. File systems allow 255, and suffixes are added to the name."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def name_problem(name: object) -> str:
    """What keeps a name from being that of a file in a folder of ours; '' where nothing does."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not a text"
    if name in ("", ".", "..") or "/" in name:
        return "names no file of its own"
    if not is_printable(name):
        return "holds characters that cannot be printed"
    if len(name.encode()) > MOST_BYTES:
        return f"is longer than {MOST_BYTES} bytes"
    return ""


def file_name(name: object, what: str, where: object, remedy: str) -> str:
    """A name that may become part of a path. what: what it names, for the error. Raises PipelineError."""
    if problem := name_problem(name):
        raise PipelineError(f"{what} `{_short(name)}` {problem}", where=where, remedy=remedy)
    return str(name)


def word(name: object, what: str, where: object, remedy: str) -> str:
    """A name of our own kind: letters, digits, `.`, `_` and `-`, a letter or digit first. Raises PipelineError."""
    if problem := name_problem(name):
        raise PipelineError(f"{what} `{_short(name)}` {problem}", where=where, remedy=remedy)
    if not _WORD.fullmatch(str(name)):
        allowed = "letters, digits, `.`, `_` and `-`"
        raise PipelineError(f"{what} `{_short(name)}` holds more than {allowed}", where=where, remedy=remedy)
    return str(name)


def one_line(text: object, what: str, where: object, remedy: str) -> str:
    """A text that may stand on a terminal as it is. Raises PipelineError."""
    if not isinstance(text, str):
        raise PipelineError(f"{what} is a {type(text).__name__}, not a text", where=where, remedy=remedy)
    if not is_printable(text):
        why = f"{what} `{_short(text)}` holds characters that cannot be printed"
        raise PipelineError(why, where=where, remedy=remedy)
    return text


def _short(name: object) -> str:
    return printable(str(name)[:80])
