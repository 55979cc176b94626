"""Sound into stores: each track decoded once, rows of 2 s for every family that listens.

How many rows a video has is its track's affair, and may differ from its segments' clips (features.md 2.3, 3.7):

- as many, one less or one more: stored as they are; training cuts to the shortest family
- more than one less: left out, with both lengths; training leaves its queries out on that record, and does not stop
- more than one more: cut to one more
- no sound stream: a row of zeros per clip, which normalisation leaves at zero

All but the first is a line in `{shard}.csv` beside the manifest or among its `skipped`, and counted.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from tqdm import tqdm

from pipeline import files
from pipeline.encoders.base import SoundEncoder
from pipeline.features.encode import Recipe, Source
from pipeline.features.extract import videos_of
from pipeline.features.store import ROWS_APART, Store
from pipeline.features.store_writer import StoreWriter
from pipeline.provenance import FAMILIES, Outcome
from pipeline.video.ahead import SoundEvent, sounds_ahead
from pipeline.video.audio import Ended
from pipeline.video.pieces import Pieces
from pipeline.video.segment import grid_seconds
from pipeline.video.supervised import Failed

REPORT_COLUMNS = ("family", "vid", "finding", "detail")


def fill_from_sounds(
    recipes: Mapping[Path, Recipe], results: Path, dataset: str, shard: str, seconds_per_video: float, device: str
) -> Outcome:
    """Encode the sound of the shard's videos into the stores at `recipes`' paths; write the report."""
    sources, skipped = videos_of(results, dataset, shard, {recipe.grid for recipe in recipes.values()})
    with ExitStack() as stack:
        writers = {path: stack.enter_context(StoreWriter(path, recipe.passport)) for path, recipe in recipes.items()}
        lines = [Line(recipe, writers[path], device) for path, recipe in recipes.items()]
        skipped += encode_sounds(sources, lines, seconds_per_video)
    report = results / "features" / dataset / "sound" / f"{shard}.csv"
    counts = _report(recipes, report)
    return Outcome([*recipes, report], counts, sorted(skipped, key=lambda row: row["vid"]))


class Line:
    """One family at work: its store, the track being cut, and its network, built when the first row is due.

    A batch never crosses the border of two videos: a video fills one (75 rows in QVHighlights), and its numbers then do
    not depend on which others a run had still to do.
    """

    def __init__(self, recipe: Recipe, store: StoreWriter, device: str) -> None:
        self.recipe, self.store = recipe, store
        self._device = device
        self._network: SoundEncoder | None = None
        self._batch: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._track: Pieces | None = None

    def take(self, event: SoundEvent, source: Source) -> str | None:
        """Take the next event of a video. Returns why the video is left out, when that shows."""
        n_clips = source.n_clips[self.recipe.grid]
        if self._track is None:
            self._track = Pieces(grid_seconds(self.recipe.grid), n_clips + ROWS_APART)
            self._batch, self._rows = [], []
        if isinstance(event, np.ndarray):
            self._encode(self._track.push(event))
            return None
        track, self._track = self._track, None
        if isinstance(event, Failed):
            return event.why
        if event.end_s is None:
            zeros = np.zeros((n_clips, FAMILIES[self.recipe.family].dim), np.float32)
            self._store(source, zeros, finding="no sound", detail=f"{n_clips} rows of zeros")
            return None
        self._encode(track.end(event.end_s), is_last=True)
        return self._end(source, n_clips, event.end_s)

    def _end(self, source: Source, n_clips: int, end_s: Fraction) -> str | None:
        detail = (
            f"{len(self._rows)} rows where its segments have {n_clips} clips (its sound ends at {float(end_s):.2f} s)"
        )
        if len(self._rows) < n_clips - ROWS_APART:
            return f"{self.recipe.family} would have {detail}"
        finding = {} if len(self._rows) == n_clips else {"finding": "one row off", "detail": detail}
        self._store(source, np.stack(self._rows), **finding)
        return None

    def _encode(self, pieces: Iterable[np.ndarray], *, is_last: bool = False) -> None:
        for piece in pieces:
            self._batch.append(piece)
            if len(self._batch) == self.recipe.encoder.batch:
                self._flush()
        if is_last:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            self._network = self._network or self.recipe.encoder(self.recipe.weights, self._device)
            self._rows += list(self._network.encode(np.stack(self._batch)))
            self._batch = []

    def _store(self, source: Source, rows: np.ndarray, **attributes: Any) -> None:
        self.store.add(source.vid, rows, source=source.sha256, decoder=f"pyav {av.__version__}", **attributes)


def encode_sounds(sources: Iterable[Source], lines: Sequence[Line], seconds_per_video: float) -> list[dict[str, str]]:
    """Encode the sound of every video on every line that has no rows of it yet; one decode serves all of them.

    Returns what was left out, `{"vid": …, "why": …}`.
    """
    work = [(source, _stale(source, lines)) for source in sources]
    work = [(source, waiting) for source, waiting in work if waiting]
    skipped: dict[tuple[str, str], None] = {}
    with (
        closing(sounds_ahead([source.path for source, _ in work], seconds_per_video)) as events,
        tqdm(total=len(work), unit="video", disable=None) as bar,
    ):
        for position, event in events:
            source, waiting = work[position]
            reasons = [line.take(event, source) for line in waiting]
            skipped.update({(source.vid, why): None for why in reasons if why})
            bar.update(isinstance(event, Ended | Failed))
    return [{"vid": vid, "why": why} for vid, why in skipped]


def _stale(source: Source, lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if not line.store.keep(source.vid, source=source.sha256)]


def _report(recipes: Mapping[Path, Recipe], report: Path) -> Counter[str]:
    """Write what the arrays say of themselves, a line each; count arrays, rows and findings."""
    counts: Counter[str] = Counter()
    lines = []
    for path, recipe in recipes.items():
        with Store([path]) as store:
            vids = store.keys()
            counts[f"{recipe.family}_arrays"] = len(vids)
            counts[f"{recipe.family}_rows"] = sum(map(store.n_rows, vids))
            for vid in vids:
                found = store.attributes(vid)
                if "finding" in found:
                    lines.append((recipe.family, vid, found["finding"], found["detail"]))
                    counts[f"{recipe.family}_{found['finding'].replace(' ', '_')}"] += 1
    with files.atomic(report) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(REPORT_COLUMNS)
        table.writerows(lines)
    return counts
