"""The limits that text files of strangers are held to: how long a line is, and how deeply JSON is nested.

A line is read as a whole and JSON is read by recursion. So without a limit a file of one endless line would take all
memory, and a deeply nested one would break whatever walks through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, AnyStr

MOST_NESTED = 100
"""The largest accepted number of lists and objects that lie inside each other, in JSON and in YAML. Our own files and
the released ones have six at most."""


TOO_DEEP = f"has more than {MOST_NESTED} lists and objects inside each other"
"""The text of the error for JSON that is nested too deeply."""

_CONTAINERS = (list, dict)


class TooLongError(ValueError):
    """A line of a file is longer than its kind of file may have."""


def lines_of(readline: Callable[[int], AnyStr], longest: int) -> Iterator[AnyStr]:
    """Yield the lines of an open file, each with its end.

    readline: the method of that name of the file. longest: characters of a text file, bytes of another. Raises
    TooLongError for a longer line, of which no more than that was read.
    """
    number = 0
    while line := readline(longest + 1):
        number += 1
        if len(line) > longest:
            unit = "characters" if isinstance(line, str) else "bytes"
            raise TooLongError(f"its line {number:,} is longer than {longest:,} {unit}")
        yield line


def is_too_deep(value: Any) -> bool:
    """Tell whether a value that was read from JSON has more than MOST_NESTED lists and objects inside each other."""
    level = [value]
    for _ in range(MOST_NESTED):
        inside = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, _CONTAINERS))
        level = [one for among in inside for one in among if isinstance(one, _CONTAINERS)]
        if not level:
            return False
    return True
