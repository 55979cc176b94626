"""The error that is written for users: it says what is wrong, where, and what to do now. It is raised where the fact is
known. The command line prints it once, or a stage that goes on turns it into a row with a `status`. Any other exception
that reaches the command line is a bug of this project.
"""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that move a terminal's cursor, change its colours or reverse its lines, and halves of surrogate pairs."""


def readable(text: object) -> str:
    r"""Return text that can be written to every UTF-8 file and terminal.

    A byte of a file's name that is no UTF-8 becomes `\xff`.
    """
    try:
        return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that represents no byte of a name
        return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: object) -> str:
    """Return a stranger's text as one line without control characters. A terminal would obey them, so they are written
    as escapes.
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], readable(text))


def is_printable(text: str) -> bool:
    """Tell whether a text is one line without control characters."""
    return not _UNPRINTABLE.search(text)


class PipelineError(Exception):
    """An error that a user can act on.

    what: the fact, with the value found and what it was compared with. where: file, row, vid, qid or config key; the
    user's own name for the place. remedy: what to do now, as an instruction. All three may quote a stranger's file. So
    control characters are written as escapes, except the ends of lines.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str | None = None) -> None:
        self.what = _printable_lines(what)
        self.where = None if where is None else _printable_lines(str(where))
        self.remedy = None if remedy is None else _printable_lines(remedy)
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" → {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{advice}"


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
