"""How a released feature archive is laid out: which file holds a family's rows of one video, under which names.

A dataset may have several archives, which agree on little. Each dataset's file lists its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROWS_APART = 1
"""Streams of one video may differ by this many rows; more is an error."""


@dataclass(frozen=True)
class Layout:
    """Where an archive has a family: a file per vid (or qid), and the arrays' names in an npz.

    pooled_shape: of the vector for a whole query (Moment-DETR: a vector, UMT's TVSum archive: a row).
    every: not 0 where `file` is a folder with a text file per row, named after every n-th frame, from frame 1 on.
    shapes: a JSON file beside the arrays that counts their rows. rows_apart: rows that a file may have more or less
    than its video has clips.
    """

    file: str
    rows: str = ""
    pooled: str = ""
    pooled_shape: tuple[int, ...] = (-1,)
    every: int = 0
    shapes: str = ""
    rows_apart: int = ROWS_APART

    @property
    def marker(self) -> str:
        """What lies at the archive's top: the layout's folder; files where it has none."""
        folder, is_below, _ = self.file.partition("/")
        return folder if is_below else folder.format(vid="*", qid="*")

    @property
    def dtype(self) -> str:
        """What the archives store: npz in float16, all else in float32 (TVSum's two streams: float64)."""
        return "float16" if self.rows else "float32"

    def path(self, top: Path, vid: str, qid: object) -> Path:
        """The file (or folder) of one video or query."""
        return top / self.file.format(vid=vid, qid=qid)


Archive = Mapping[str, Layout]
"""Family → where one kind of archive has it."""
