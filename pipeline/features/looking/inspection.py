"""Describes what a store holds, and draws the rows of one video as a picture.

The picture has two parts: a contact sheet with the frame in the middle of each row's clip, and the cosine of every row
with every other. If the frames change and the rows do not change at the same place, the rows are wrong or shifted.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from operator import mul
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import files
from pipeline.errors import PipelineError, printable
from pipeline.features import ROWS_APART
from pipeline.features.looking.compare import unit_rows
from pipeline.features.store import Store
from pipeline.grids import grid_seconds
from pipeline.nouns import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THUMB = 112
"""Width and height of a frame on the contact sheet in pixels: half of the size that the network gets."""

ACROSS = 10
"""Number of frames beside each other on the contact sheet."""

LONGEST_S = 900.0
"""Time to read the frames of the contact sheet, after which the video is refused."""

MAX_FRAMES = 200
"""The largest number of rows that a contact sheet shows. They are spread evenly over the video."""

MAX_ROWS = 2000
"""The largest number of rows in the matrix of cosines, spread evenly over the video. Its memory grows as the square."""


def describe(store: Store) -> str:
    """Describe as text what a store holds, and everything that is wrong with its rows. All rows are read."""
    p, keys = store.passport, store.keys()
    lengths = [store.n_rows(key) for key in keys]
    lines = [
        f"{p.family} (revision {p.revision}), grid {p.grid}, {p.dim} numbers a row, {p.dtype}",
        f"origin {p.origin}, weights {p.weights}",
        f"made by: {p.preprocessing}",
        f"{counted(len(keys), 'array')}, {counted(sum(lengths), 'row')}, at least {min(lengths, default=0)} and at most"
        f" {max(lengths, default=0)} each"
        f": {', '.join(keys[:5])}{', …' if len(keys) > 5 else ''}",
    ]
    return "\n".join([*lines, *(f"wrong: {line}" for line in store.problems())])


def describe_rows(store: Store, vid: str) -> str:
    """Describe the rows of one video in one line: number, norms, rows of zeros, and the cosine of neighbours.

    Raises PipelineError for a vid that the store lacks.
    """
    rows = store.read(vid)
    norms = np.linalg.norm(rows, axis=1)
    units = unit_rows(rows)
    beside = (units[:-1] * units[1:]).sum(axis=1)
    alike = f", cosine of neighbours {np.median(beside):.3f} (median)" if len(beside) else ""
    attributes = ", ".join(f"{name} {printable(value[:40])}" for name, value in sorted(store.attributes(vid).items()))
    return (
        f"{vid}: {counted(len(rows), 'row')}, norm {norms.min():.3g} to {norms.max():.3g},"
        f" {(norms == 0).sum()} of zeros, "
        f"{(beside > 1 - 1e-6).sum()} equal to the next{alike}; {attributes}"
    )


def draw(store: Store, vid: str, video: Path | None, folder: Path) -> Path:
    """Draw the rows of one video into `{vid}.{family}.png` and return the path.

    video: the file whose frames are shown. Without it, only the matrix of cosines is drawn.
    Raises PipelineError for a vid that the store lacks, and for a video whose number of clips does not fit the rows.
    """
    rows = store.read(vid)
    passport = store.passport
    shown = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_FRAMES)).round().astype(int))
    frames = None if video is None else _frames(video, passport.grid, len(rows), vid, shown)
    clip_s = None if passport.grid == "tokens" else float(grid_seconds(passport.grid))

    from matplotlib.figure import Figure

    height = 0 if frames is None else THUMB * 1.15 / 100 * -(-len(shown) // ACROSS)
    figure = Figure(figsize=(THUMB * ACROSS / 100, height + 8), layout="constrained", dpi=100)
    figure.suptitle(
        f"{vid}: {passport.family}, {passport.grid}, {counted(len(rows), 'row')}, weights {passport.weights[:16]}"
    )
    if frames is None:
        _matrix(figure.subplots(), rows, clip_s)
    else:
        sheet, matrix = figure.subplots(2, 1, height_ratios=(height, 8))
        _contact_sheet(sheet, frames, shown, clip_s or 0)
        _matrix(matrix, rows, clip_s)
    path = folder / f"{vid}.{passport.family}.png"
    with files.atomic_path(path) as partial:
        figure.savefig(partial)
    return path


def similarity(rows: np.ndarray) -> np.ndarray:
    """Compute the cosine of every row [n, dim] with every other: [n, n]. A row of zeros has cosine 0 with all rows."""
    units = unit_rows(rows)
    return units @ units.T


def _frames(video: Path, grid: str, n_rows: int, vid: str, shown: np.ndarray) -> np.ndarray:
    """Read the last frame before the middle of each shown row's clip: uint8 [shown, 224, 224, 3].

    Raises PipelineError for words, and if the video has another number of clips than the store has rows.
    """
    if grid == "tokens":
        raise PipelineError("words have no frames", where=vid, remedy="leave out --video")
    from pipeline.video.supervised import in_other_process

    middles = partial(_middle_frames, grid=grid, n_rows=n_rows, vid=vid, shown=shown)
    return in_other_process(middles, video, LONGEST_S, "reading its frames", video)


def _middle_frames(video: Path, grid: str, n_rows: int, vid: str, shown: np.ndarray) -> np.ndarray:
    from pipeline.video.decode import read_frames
    from pipeline.video.frame_grid import middle_frames
    from pipeline.video.probe import probe
    from pipeline.video.views import FRAMES224

    facts = probe(video)
    middles = middle_frames(facts, grid_seconds(grid))[:, 0]
    # Families with clips of half a second or less have rows for whole seconds of video, rounded up. So they can have
    # more rows than the video has clips.
    if abs(len(middles) - n_rows) > max(ROWS_APART, ceil(1 / grid_seconds(grid))):
        raise PipelineError(
            f"has {counted(len(middles), 'clip')} of {grid} where the store has {counted(n_rows, 'row')} for {vid}",
            where=video,
            remedy="name the video that these rows were made of",
        )
    wanted = middles[np.minimum(shown, len(middles) - 1)]
    indices = np.unique(wanted)
    frames = np.concatenate([chunk.frames for chunk in read_frames(facts, {FRAMES224: indices.tolist()})])
    return frames[np.searchsorted(indices, wanted)]


def _contact_sheet(axes: Axes, frames: np.ndarray, shown: np.ndarray, clip_s: float) -> None:
    lines = -(-len(frames) // ACROSS)
    step = frames.shape[1] // THUMB
    sheet = np.full((lines * THUMB, ACROSS * THUMB, 3), 255, np.uint8)
    for position, (row, frame) in enumerate(zip(shown, frames, strict=True)):
        y, x = THUMB * (position // ACROSS), THUMB * (position % ACROSS)
        sheet[y : y + THUMB - 2, x : x + THUMB - 2] = frame[::step, ::step][: THUMB - 2, : THUMB - 2]
        label = f"{row}: {row * clip_s:.4g} s"
        axes.text(x + 3, y + 4, label, color="white", size=7, va="top", backgroundcolor=(0, 0, 0, 0.6))
    axes.imshow(sheet, interpolation="none")
    axes.set_axis_off()
    axes.set_title("row: start of its clip; the frame before the clip's middle", size=9)


def _matrix(axes: Axes, rows: np.ndarray, clip_s: float | None) -> None:
    n = len(rows)
    chosen = np.unique(np.linspace(0, n - 1, min(n, MAX_ROWS)).round().astype(int))
    image = axes.imshow(
        similarity(rows[chosen]), interpolation="none", vmax=1, cmap="magma", extent=(-0.5, n - 0.5, n - 0.5, -0.5)
    )
    which = "every row" if len(chosen) == n else f"{len(chosen):,} of {n:,} rows, spread evenly, each"
    axes.set_title(f"cosine of {which} with every other", size=9)
    axes.set_xlabel("row")
    axes.set_ylabel("row")
    if axes.figure is not None:
        axes.figure.colorbar(image, ax=axes, shrink=0.8)
    if clip_s:
        seconds = axes.secondary_xaxis("top", functions=(partial(mul, clip_s), partial(mul, 1 / clip_s)))
        seconds.set_xlabel("seconds", size=8)
