"""A packing joins the valid rows of a padded batch to one long sample, so that layers need not compute padding."""

from __future__ import annotations

from torch import Tensor

WORTHWHILE = 0.05
"""Share of padded rows above which packing and unpacking take less time than computing the padding."""


class Packing:
    """The conversion of a padded batch to its R valid rows and back. mask: [B, L], 1 = valid."""

    def __init__(self, mask: Tensor) -> None:
        self.shape = mask.shape
        self.index = mask.flatten().nonzero().flatten()

    @property
    def is_worthwhile(self) -> bool:
        """Tell whether enough rows are padding to make packing faster."""
        return len(self.index) < (1 - WORTHWHILE) * self.shape.numel()

    def pack(self, rows: Tensor) -> Tensor:
        """Convert [B, L, d] to [1, R, d]: one long sample."""
        return rows.flatten(0, 1).index_select(0, self.index)[None]

    def pad(self, rows: Tensor) -> Tensor:
        """Convert [1, R, d] to [B, L, d], with zeros as padding."""
        padded = rows.new_zeros(self.shape.numel(), rows.shape[-1])
        return padded.index_copy(0, self.index, rows[0]).view(*self.shape, -1)
