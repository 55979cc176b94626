"""The one error a user is meant to read: what is wrong, where, and what to do now.

Raised where the fact is known, printed once by the command line (or turned into a row with a
`status` by a stage that goes on). Anything else that reaches the command line is a bug of ours.
"""

from __future__ import annotations


def readable(text: object) -> str:
    r"""Text that every UTF-8 file and terminal can take: a byte that is no UTF-8 in a file's name becomes `\xff`."""
    try:
        return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a pair that stands for no byte
        return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


class PipelineError(Exception):
    """Something a user can act on.

    what: the fact, with the value found and what it was compared with.
    where: file, row, vid, qid or config key; the user's own name for the place.
    remedy: what to do now, as an instruction.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str | None = None) -> None:
        self.what = readable(what)
        self.where = None if where is None else readable(where)
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" → {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{advice}"
