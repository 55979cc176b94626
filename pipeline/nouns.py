"""Writes a number with its noun, for texts that people read: `1 clip`, `2 clips`, `1,550 queries`."""

from __future__ import annotations

import re


def plural(one: str) -> str:
    """Return the plural of a noun that ends in `s`, or in `ies` for a `y` after a consonant."""
    return re.sub("(?<![aeiou])y$", "ie", one) + "s"


def counted(n: int, one: str, several: str = "") -> str:
    """Return a number with its noun. several: the plural, if it is not the one that `plural` returns."""
    return f"{n:,} {one if n == 1 else several or plural(one)}"
