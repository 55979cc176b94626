"""Sound into stores: each track decoded once, rows of 2 s for every family that listens.

How many rows a video has is its track's affair, and may differ from its segments' clips:

- as many, one less or one more: stored as they are; training cuts to the shortest family
- more than one less: left out, with both lengths; training leaves its queries out on that record, and does not stop
- more than one more: cut to one more
- no sound stream: a row of zeros per clip, which normalisation leaves at zero

All but the first is a line in `{shard}.csv` beside the manifest or among its `skipped`, and counted.
"""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline import files, work_record
from pipeline.encoders.base import SoundEncoder
from pipeline.encoders.workers import Workers, workers
from pipeline.features import ROWS_APART
from pipeline.features.making.encode import LeftOut, Recipe, VideoFile, unencoded
from pipeline.features.making.extract import outcome, videos_of
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter, TooLargeError
from pipeline.grids import grid_seconds
from pipeline.layout import Layout
from pipeline.progress import Progress
from pipeline.provenance import Outcome
from pipeline.video.ahead import SoundEvent, sounds_ahead
from pipeline.video.audio import Ended
from pipeline.video.pieces import Pieces
from pipeline.video.supervised import Failed

REPORT_COLUMNS = ("family", "vid", "finding", "detail")


def fill_from_sounds(
    recipes: Mapping[Path, Recipe], results: Path, dataset: str, shard: str, seconds_per_video: float, device: str
) -> Outcome:
    """Encode the sound of the shard's videos into the stores at `recipes`' paths; write the report."""
    sources, skipped = videos_of(results, dataset, shard, {recipe.grid for recipe in recipes.values()})
    with ExitStack() as stack:
        writers = {path: stack.enter_context(StoreWriter(path, recipe.passport)) for path, recipe in recipes.items()}
        threads = stack.enter_context(workers(device))
        lines = [SoundLine(recipe, writers[path], device, threads) for path, recipe in recipes.items()]
        left_out = encode_sounds(sources, lines, seconds_per_video)
    report = Layout(results).sound_report(dataset, shard)
    counts = _report(recipes, report)
    return outcome([*recipes, report], counts, skipped, left_out)


class SoundLine:
    """One family at work: its store, the track being cut, and its network, built when the first row is due.

    A batch never crosses the border of two videos: a video fills one (75 rows in QVHighlights), and its numbers then do
    not depend on which others a run had still to do. left_out: the videos whose rows do not fit their segments or the
    store.
    """

    def __init__(self, recipe: Recipe, store: StoreWriter, device: str, workers: Workers) -> None:
        self.recipe, self.store = recipe, store
        self.left_out: list[LeftOut] = []
        self._device, self._workers = device, workers
        self._network: SoundEncoder | None = None
        self._batch: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._at_work: deque[Future[np.ndarray]] = deque()
        self._track: Pieces | None = None

    def take(self, event: SoundEvent, source: VideoFile) -> None:
        """Take the next event of a video."""
        n_clips = source.n_clips[self.recipe.grid]
        if self._track is None:
            self._track = Pieces(grid_seconds(self.recipe.grid), n_clips + ROWS_APART)
            self._batch, self._rows = [], []
            self._at_work.clear()
        if isinstance(event, np.ndarray):
            self._encode(self._track.push(event))
            return
        track, self._track = self._track, None
        if isinstance(event, Failed):
            return
        if event.end_s is None:
            zeros = np.zeros((n_clips, self.recipe.kind.dim), np.float32)
            self._store(source, zeros, finding="no sound", detail=f"{n_clips} rows of zeros")
            return
        self._encode(track.end(event.end_s), is_last=True)
        self._end(source, n_clips, event.end_s)

    def _end(self, source: VideoFile, n_clips: int, end_s: Fraction) -> None:
        detail = (
            f"{len(self._rows)} rows where its segments have {n_clips} clips (its sound ends at {float(end_s):.2f} s)"
        )
        if len(self._rows) < n_clips - ROWS_APART:
            self.left_out.append(LeftOut(source.vid, f"{self.recipe.family} would have {detail}"))
            return
        finding = {} if len(self._rows) == n_clips else {"finding": "one row off", "detail": detail}
        self._store(source, np.stack(self._rows), **finding)

    def _encode(self, pieces: Iterable[np.ndarray], *, is_last: bool = False) -> None:
        for piece in pieces:
            self._batch.append(piece)
            if len(self._batch) == self.recipe.kind.batch:
                self._flush()
        if is_last:
            self._flush()
            self._settle(0)

    def _flush(self) -> None:
        if self._batch:
            self._network = self._network or self.recipe.encoder(self.recipe.weights, self._device)
            self._at_work.append(self._workers.submit(self._network.encode, np.stack(self._batch)))
            self._batch = []
            self._settle(self._workers.n)

    def _settle(self, leave: int) -> None:
        """Take the rows of all batches but the last `leave`."""
        while len(self._at_work) > leave:
            rows = self._at_work.popleft().result()
            work_record.note("encoded", family=self.recipe.family, rows=len(rows))
            self._rows += list(rows)

    def _store(self, source: VideoFile, rows: np.ndarray, **attributes: Any) -> None:
        decoder = f"pyav {av.__version__}"
        try:
            self.store.add(source.vid, rows, source=source.sha256, decoder=decoder, **attributes)
        except TooLargeError as error:
            self.left_out.append(LeftOut(source.vid, f"{self.recipe.family}: {error.what}"))


def encode_sounds(sources: Iterable[VideoFile], lines: Sequence[SoundLine], seconds_per_video: float) -> list[LeftOut]:
    """Encode the sound of every video on every line that has no rows of it yet; one decode serves all of them.

    Returns what was left out.
    """
    work = unencoded(sources, lines)
    failed: list[LeftOut] = []
    with (
        closing(sounds_ahead([source.path for source, _ in work], seconds_per_video)) as events,
        Progress(len(work), "videos", ", ".join(line.recipe.family for line in lines)) as progress,
    ):
        for position, event in events:
            source, waiting = work[position]
            if isinstance(event, Ended | Failed):
                families = ", ".join(line.recipe.family for line in waiting)
                work_record.note("decoded", path=source.path, track="sound", families=families)
            if isinstance(event, Failed):
                failed.append(LeftOut(source.vid, event.why, event.fault))
            for line in waiting:
                line.take(event, source)
            progress.add(isinstance(event, Ended | Failed))
    return failed + [left_out for line in lines for left_out in line.left_out]


def _report(recipes: Mapping[Path, Recipe], report: Path) -> Counter[str]:
    """Write what the arrays say of themselves, a line each; count arrays, rows and findings."""
    counts: Counter[str] = Counter()
    lines = []
    for path, recipe in recipes.items():
        with Store([path]) as store:
            counts.update(store.counts)
            for vid in store.keys():  # noqa: SIM118 - no dict
                found = store.attributes(vid)
                if "finding" in found:
                    lines.append((recipe.family, vid, found["finding"], found["detail"]))
                    counts[f"{recipe.family}_{found['finding'].replace(' ', '_')}"] += 1
    with files.atomic(report) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(REPORT_COLUMNS)
        table.writerows(lines)
    return counts
