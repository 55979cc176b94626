"""Sums numbers in the order of the community's scorer, so that the last printed digit is the same.

That scorer puts the terms of one average precision into an array of their own and sums it with NumPy. NumPy adds up to
seven numbers one after the other, and more of them in eight partial sums. So a sum over an array with zeros between the
terms can differ in its last bit. If the exact value is a tie of rounding, this bit decides the last printed digit.
"""

from __future__ import annotations

import numpy as np


def sums(terms: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Sum the wanted terms of each row, as if the row had no other terms.

    terms: float64 [rows, length]. wanted: bool [rows, length]. Returns [rows]; 0 for a row without wanted terms.
    """
    counts = wanted.sum(axis=1)
    ends = np.cumsum(counts)
    alone = terms[wanted]
    total = np.zeros(len(terms))
    for count in np.unique(counts[counts > 0]).tolist():
        rows = np.flatnonzero(counts == count)
        total[rows] = alone[(ends[rows] - count)[:, None] + np.arange(count)].sum(axis=1)
    return total
