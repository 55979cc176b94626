"""The valid rows of a padded batch, end to end, for layers that need not work on its padding."""

from __future__ import annotations

from torch import Tensor

WORTHWHILE = 0.05
"""Share of padded rows from which the way there and back costs less than the rows."""


class Packing:
    """The way from a padded batch to its R valid rows and back. mask: [B, L], 1 = valid."""

    def __init__(self, mask: Tensor) -> None:
        self.shape = mask.shape
        self.index = mask.flatten().nonzero().flatten()

    @property
    def is_worthwhile(self) -> bool:
        """Whether enough rows are padding."""
        return len(self.index) < (1 - WORTHWHILE) * self.shape.numel()

    def pack(self, rows: Tensor) -> Tensor:
        """[B, L, d] to [1, R, d]: one long sample."""
        return rows.flatten(0, 1).index_select(0, self.index)[None]

    def pad(self, rows: Tensor) -> Tensor:
        """[1, R, d] to [B, L, d], zeros where there was padding."""
        padded = rows.new_zeros(self.shape.numel(), rows.shape[-1])
        return padded.index_copy(0, self.index, rows[0]).view(*self.shape, -1)
