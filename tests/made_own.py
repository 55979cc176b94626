"""Rows of a dataset of one's own, and the folder that they lie in beside videos of these names."""

from __future__ import annotations

HEADER = "video,query,start,end"
GOOD = [
    "a.mp4,a dog runs,0,2.5",
    "a,a dog runs,4,6",
    "b.mp4,somebody sits,1,3",
    "c.mkv,a door opens,0.5,7",
    "d.mp4,a car passes,2,4",
]
SCORED = [
    f"{row},{score},{split}"
    for row, score, split in zip(GOOD, "01234", ("train", "train", "val", "test", "val"), strict=True)
]
"""The same rows with a score and a split."""


def with_videos(folder):
    """Return the folder, with empty files in place of its videos."""
    (folder / "videos").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mkv", "d.mp4"):
        (folder / "videos" / name).write_bytes(b"")
    return folder


def write(folder, rows, header=HEADER, name="my.csv"):
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path
