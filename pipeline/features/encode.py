"""Many videos through a few networks: each video decoded once, rows in batches that cross video borders.

A video's rows reach the store when the video was read to its end and all its rows are encoded; a video that fails on
the way leaves nothing but the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.encoders.base import FrameEncoder, Weights, WordEncoder, encoder_class
from pipeline.features.store import ROWS_APART, StoreWriter
from pipeline.provenance import FAMILIES, REVISIONS, Passport
from pipeline.video.ahead import Done, Failed, Plan, Request, decode_ahead
from pipeline.video.decode import Chunk
from pipeline.video.segment import grid_seconds


@dataclass(frozen=True)
class Recipe:
    """One family on one grid, by these weights, stored in this dtype."""

    family: str
    grid: str
    weights: Weights
    dtype: str

    @property
    def encoder(self) -> Any:
        """The class that makes the family; its network is built when it is called."""
        return encoder_class(self.family)

    @property
    def passport(self) -> Passport:
        """What the store says of rows made this way."""
        return Passport(
            family=self.family,
            revision=REVISIONS[self.family],
            origin="raw",
            weights=self.weights.passport,
            grid=self.grid,
            dim=FAMILIES[self.family].dim,
            dtype=self.dtype,
            preprocessing=self.encoder.preprocessing,
        )


@dataclass(frozen=True)
class Source:
    """One video to encode. sha256: of the file, kept with its rows. n_clips: what its segments say, by grid."""

    vid: str
    path: Path
    sha256: str
    n_clips: Mapping[str, int]


@dataclass
class _Video:
    """One video on its way through one network. rows: source frames of each row, int64 [rows, frames per row]."""

    source: Source
    rows: np.ndarray
    encoded: list[np.ndarray] = field(default_factory=list)
    decoder: str = ""
    gathered: int = 0
    is_whole: bool = False


class Line:
    """One family at work: its store, the batch being filled, and its network, built when the first batch is full."""

    def __init__(self, recipe: Recipe, store: StoreWriter, device: str) -> None:
        self.recipe, self.store = recipe, store
        self._device = device
        self._network: FrameEncoder | None = None
        self._batch: list[tuple[_Video, np.ndarray]] = []
        self._frames: dict[int, np.ndarray] = {}
        self._video: _Video | None = None

    def begin(self, source: Source, rows: np.ndarray) -> str | None:
        """Begin a video; or say why not, when its rows do not fit its segments."""
        n_clips = source.n_clips[self.recipe.grid]
        if abs(len(rows) - n_clips) > ROWS_APART:
            return f"{self.recipe.family} would have {len(rows)} rows where its segments have {n_clips} clips"
        self._video = _Video(source, rows)
        self._frames.clear()
        return None

    def take(self, chunk: Chunk) -> None:
        """Gather every row whose frames have all come, and forget the frames that no later row needs."""
        video = self._video
        if video is None:
            return
        video.decoder = chunk.decoder
        self._frames.update(zip(chunk.indices, chunk.frames, strict=True))
        last = chunk.indices[-1]
        while video.gathered < len(video.rows) and video.rows[video.gathered].max() <= last:
            self._gather(video)
        needed = video.rows[video.gathered :].min(initial=last + 1)
        self._frames = {index: frame for index, frame in self._frames.items() if index >= needed}

    def end(self, *, is_whole: bool) -> None:
        """The video was read to its end, or failed: then its rows go nowhere."""
        if self._video is not None and is_whole:
            self._video.is_whole = True
            self._store_if_complete(self._video)
        self._video = None

    def flush(self) -> None:
        """Encode the batch as it stands."""
        if not self._batch:
            return
        if self._network is None:
            self._network = self.recipe.encoder(self.recipe.weights, self._device)
        rows = self._network.encode(np.stack([frames for _, frames in self._batch]))
        videos = [video for video, _ in self._batch]
        self._batch = []
        for video, row in zip(videos, rows, strict=True):
            video.encoded.append(row)
            self._store_if_complete(video)

    def _gather(self, video: _Video) -> None:
        indices = video.rows[video.gathered].tolist()
        self._batch.append((video, np.stack([self._frames[index] for index in indices])))
        video.gathered += 1
        if len(self._batch) == self.recipe.encoder.batch:
            self.flush()

    def _store_if_complete(self, video: _Video) -> None:
        if video.is_whole and len(video.encoded) == len(video.rows):
            source, rows = video.source, np.stack(video.encoded)
            self.store.add(source.vid, rows, source=source.sha256, decoder=video.decoder)


def encode_videos(sources: Iterable[Source], lines: Sequence[Line], seconds_per_video: float) -> list[dict[str, str]]:
    """Encode every video on every line that has no rows of it yet; one decode serves all of them.

    Returns what was left out, `{"vid": …, "why": …}`.
    """
    work = [(source, _stale(source, lines)) for source in sources]
    work = [(source, waiting) for source, waiting in work if waiting]
    requests = [
        Request(source.path, {line.recipe.family: _wanted(line) for line in waiting}) for source, waiting in work
    ]
    skipped: list[dict[str, str]] = []
    n_frames = 0
    with (
        closing(decode_ahead(requests, seconds_per_video)) as events,
        tqdm(total=len(work), unit="video", disable=None) as bar,
    ):
        for position, event in events:
            source, waiting = work[position]
            if isinstance(event, Chunk):
                n_frames += len(event.indices)
                bar.set_postfix_str(f"{n_frames / max(bar.format_dict['elapsed'], 1e-9):.1f} frames/s", refresh=False)
            skipped += [{"vid": source.vid, "why": why} for why in _pass_on(event, source, waiting)]
            bar.update(isinstance(event, Done | Failed))
        for line in lines:
            line.flush()
    return skipped


def encode_words(queries: Mapping[str, str], recipe: Recipe, store: StoreWriter, device: str) -> None:
    """Encode queries (qid → text) that the store has not, in batches."""
    waiting = [(qid, query) for qid, query in queries.items() if not store.keep(qid, query=query)]
    network: WordEncoder | None = None
    size = recipe.encoder.batch
    for start in tqdm(range(0, len(waiting), size), unit="batch", disable=None):
        network = network or recipe.encoder(recipe.weights, device)
        part = waiting[start : start + size]
        for (qid, query), words in zip(part, network.encode([query for _, query in part]), strict=True):
            store.add(qid, words.tokens, pooled=words.pooled, query=query)


def _stale(source: Source, lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if not line.store.keep(source.vid, source=source.sha256)]


def _wanted(line: Line) -> tuple[str, Any]:
    return line.recipe.encoder.sampling, grid_seconds(line.recipe.grid)


def _pass_on(event: Plan | Chunk | Done | Failed, source: Source, lines: Sequence[Line]) -> list[str]:
    """Give an event to the lines that wait for it. Returns why (a line of) the video is left out."""
    reasons: list[str] = []
    for line in lines:
        if isinstance(event, Plan):
            reasons += filter(None, [line.begin(source, event.rows[line.recipe.family])])
        elif isinstance(event, Chunk):
            line.take(event)
        else:
            line.end(is_whole=isinstance(event, Done))
    return [*reasons, event.why] if isinstance(event, Failed) else reasons
