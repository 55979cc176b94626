"""The layouts of released feature archives.

A layout says which file holds the rows of one video, and under which name. A dataset may have several archives with
different layouts. The file of each dataset lists its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROWS_APART = 1
"""The largest accepted difference between the numbers of rows that two families have of one video."""


@dataclass(frozen=True)
class Layout:
    """The place of the rows of one family in an archive. There is one file for each vid or for each qid.

    file: path of the file below the archive's top, with `{vid}` or `{qid}` in it. rows: name of the array with the rows
    in an `.npz` file. It is empty for a `.npy` file. pooled: name of the array with one vector for the whole query. It
    is empty if the archive has none. pooled_shape: shape of that vector. Moment-DETR writes [dim], UMT's TVSum archive
    writes [1, dim]. every: 0, except if `file` is a folder with one text file for each row. The text files are then
    named after every n-th frame, beginning with frame 1, and `every` is that n. shapes: name of a JSON file beside the
    arrays that says how many rows each of them has. rows_apart: how many rows a file may have more or fewer than its
    video has clips.
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
        """The pattern of what lies directly in the top folder of the archive: the folder of the layout, or its files if
        it has no folder."""
        folder, is_below, _ = self.file.partition("/")
        return folder if is_below else folder.format(vid="*", qid="*")

    @property
    def dtype(self) -> str:
        """The dtype in which an export writes the rows.

        Released `.npz` files hold float16. The other files hold float32, except for the two video families of TVSum,
        which are released as float64.
        """
        return "float16" if self.rows else "float32"

    def path(self, top: Path, vid: str, qid: object) -> Path:
        """Return the file of one video or query. It is a folder if the layout has a text file for each row."""
        return top / self.file.format(vid=vid, qid=qid)


Archive = Mapping[str, Layout]
"""The layout of one kind of archive: it maps the name of a family to where the archive keeps that family."""
