"""Writes a number with its noun, for texts that people read: `1 clip`, `2 clips`, `1,550 queries`."""

from __future__ import annotations


def counted(n: int, one: str, several: str = "") -> str:
    """Return a number with its noun. several: the plural, if it is not the noun with an `s`."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"
