"""The functions of Student's distribution that intervals need. They are written here so that the evaluation needs only
NumPy."""

from __future__ import annotations

import math
from functools import cache

LEVEL = 0.95
"""The confidence level of every interval and every test of this project."""


@cache
def student_t(freedom: int) -> float:
    """Return the t beyond which Student's distribution has 5 % in both tails together. freedom: a whole number, at
    least 1."""
    low, high = 0.0, 1.0
    while _central_mass(high, freedom) < LEVEL:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_mass(middle, freedom) < LEVEL else (low, middle)
    return high


def two_sided_p(t: float, freedom: int) -> float:
    """Return the probability P(|T| > t). t: at least 0. freedom: a whole number, at least 1."""
    return max(0.0, 1 - _central_mass(t, freedom))


def _central_mass(t: float, freedom: int) -> float:
    """Return P(|T| ≤ t) by the finite sums for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
