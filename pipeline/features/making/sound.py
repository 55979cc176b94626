"""Fills stores with rows of sound. Each sound track is decoded once for all families.

The length of the sound track decides how many rows a video has. This number may differ from the number of clips in the
video's segments:

- If both are equal, or one row apart, the rows are stored as they are. Training cuts to the shortest family.
- If there are more than one row too few, the video is skipped, and the reason gives both lengths. Training skips its
  queries, too, because the manifest says why.
- If there are more than one row too many, all but one of them are cut off.
- If there is no sound stream, each clip gets a row of zeros. Normalisation leaves such a row at zero.

Every video whose numbers are not equal is counted in the manifest. It is listed among `skipped` or in the report
`{shard}.csv` beside the manifest.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline import csv_file, work_record
from pipeline.encoders.base import SoundEncoder
from pipeline.encoders.workers import Workers, workers
from pipeline.features import ROWS_APART
from pipeline.features.making.extract import outcome, videos_of
from pipeline.features.making.recipe import Recipe, Skipped, VideoFile, unencoded
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter, TooLargeError
from pipeline.grids import grid_seconds
from pipeline.layout import Layout
from pipeline.nouns import counted
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
    """Encode the sound of the videos of a shard, fill the stores and write the report.

    recipes: for the path of each store, how its rows are made.
    seconds_per_video: the time after which the decoding of a video is given up.
    Raises PipelineError for a video whose file is gone or whose decoder was killed.
    """
    sources, upstream = videos_of(results, dataset, shard, {recipe.grid for recipe in recipes.values()})
    with ExitStack() as stack:
        writers = {path: stack.enter_context(StoreWriter(path, recipe.passport)) for path, recipe in recipes.items()}
        threads = stack.enter_context(workers(device))
        makers = [SoundRowMaker(recipe, writers[path], device, threads) for path, recipe in recipes.items()]
        skipped = encode_sounds(sources, makers, seconds_per_video)
    report = Layout(results).sound_report(dataset, shard)
    counts = _report(recipes, report)
    return outcome([*recipes, report], counts, upstream, skipped)


class SoundRowMaker:
    """Makes the rows of one family from sound tracks. The network is built when the first row is due.

    A batch never holds rows of two videos, so that a video's numbers do not depend on which other videos a run still
    had to do. In QVHighlights one video (75 rows) fills a batch.
    skipped: videos whose rows fit neither their segments nor the store's dtype, with the reason.
    """

    def __init__(self, recipe: Recipe, store: StoreWriter, device: str, workers: Workers) -> None:
        self.recipe, self.store = recipe, store
        self.skipped: list[Skipped] = []
        self._device, self._workers = device, workers
        self._network: SoundEncoder | None = None
        self._batch: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._submitted: deque[Future[np.ndarray]] = deque()
        self._track: Pieces | None = None

    def add_event(self, event: SoundEvent, source: VideoFile) -> None:
        """Take the next event of a video: some of its samples, its end, or its failure."""
        n_clips = source.n_clips[self.recipe.grid]
        if self._track is None:
            self._track = Pieces(grid_seconds(self.recipe.grid), n_clips + ROWS_APART)
            self._batch, self._rows = [], []
            self._submitted.clear()
        if isinstance(event, np.ndarray):
            self._encode(self._track.push(event))
            return
        track, self._track = self._track, None
        if isinstance(event, Failed):
            return
        if event.end_s is None:
            zeros = np.zeros((n_clips, self.recipe.kind.dim), np.float32)
            self._store(source, zeros, finding="no sound", detail=f"{counted(n_clips, 'row')} of zeros")
            return
        self._encode(track.end(event.end_s), is_last=True)
        self._end(source, n_clips, event.end_s)

    def _end(self, source: VideoFile, n_clips: int, end_s: Fraction) -> None:
        rows, clips = counted(len(self._rows), "row"), counted(n_clips, "clip")
        detail = f"{rows} where its segments have {clips} (its sound ends at {float(end_s):.2f} s)"
        if len(self._rows) < n_clips - ROWS_APART:
            self.skipped.append(Skipped(source.vid, f"{self.recipe.family} would have {detail}"))
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
            self._collect(0)

    def _flush(self) -> None:
        if self._batch:
            self._network = self._network or self.recipe.encoder(self.recipe.weights, self._device)
            self._submitted.append(self._workers.submit(self._network.encode, np.stack(self._batch)))
            self._batch = []
            self._collect(self._workers.n)

    def _collect(self, n_left: int) -> None:
        """Wait for the oldest batches and keep their rows, until only `n_left` batches are still at work."""
        while len(self._submitted) > n_left:
            rows = self._submitted.popleft().result()
            work_record.note("encoded", family=self.recipe.family, rows=len(rows))
            self._rows += list(rows)

    def _store(self, source: VideoFile, rows: np.ndarray, **attributes: Any) -> None:
        decoder = f"pyav {av.__version__}"
        try:
            self.store.add(source.vid, rows, source=source.sha256, decoder=decoder, **attributes)
        except TooLargeError as error:
            self.skipped.append(Skipped(source.vid, f"{self.recipe.family}: {error.what}"))


def encode_sounds(
    sources: Iterable[VideoFile], makers: Sequence[SoundRowMaker], seconds_per_video: float
) -> list[Skipped]:
    """Encode the sound of every video with every maker whose store lacks its rows. One decode serves all makers.

    seconds_per_video: the time after which the decoding of a video is given up.
    Returns the videos that were skipped, with reasons.
    """
    work, failed = unencoded(sources, makers)
    with (
        closing(sounds_ahead([source.to_read for source, _ in work], seconds_per_video)) as events,
        Progress(len(work), "video", ", ".join(maker.recipe.family for maker in makers)) as progress,
    ):
        for position, event in events:
            source, waiting = work[position]
            if isinstance(event, Ended | Failed):
                families = ", ".join(maker.recipe.family for maker in waiting)
                work_record.note("decoded", path=source.path, track="sound", families=families)
            if isinstance(event, Failed):
                failed.append(Skipped(source.vid, event.why, event.fault))
            for maker in waiting:
                maker.add_event(event, source)
            progress.add(isinstance(event, Ended | Failed))
    return failed + [skipped for maker in makers for skipped in maker.skipped]


def _report(recipes: Mapping[Path, Recipe], report: Path) -> Counter[str]:
    """Write the report: a line for each array that has a finding. Returns the numbers of arrays, rows and findings."""
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
    csv_file.write(report, REPORT_COLUMNS, lines)
    return counts
