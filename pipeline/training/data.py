"""Reads the features and annotations of one run once and keeps them in memory as packed tensors.

All rows of all videos lie in one tensor and all tokens of all queries in another, at the precision of their stores. A
sample is a slice (`packed.py`), and a batch costs one gather (`batches.py`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import config, files
from pipeline.errors import PipelineError
from pipeline.features import ROWS_APART
from pipeline.features.store import Store
from pipeline.grids import grid_seconds
from pipeline.layout.places import StorePlace
from pipeline.manifests import files_of
from pipeline.methods.settings import Normalisation
from pipeline.nouns import counted
from pipeline.records import Query
from pipeline.training.cut import cut_query, has_moments
from pipeline.training.packed import SHOWN, Packed, as_array, as_tensor, exact, pack, released

BY_CHOICE = ("skipped: ", "length: ")
"""Beginnings of the reasons that no fetching can remove: the config skips the vid, or its annotations do not fit it."""


@dataclass(frozen=True)
class Data:
    """The queries of one split (and domain), with their features as a network gets them.

    video: one sample per vid, its families side by side, audio last. text: one sample per query. video_of: [queries]
    (CPU), the position of a query's video in `video`. video_dim, audio_dim, text_dim: widths without the endpoint
    columns. video_blocks: number of blocks of `video` that come before the audio's. clip_s: seconds per clip of the
    features' grid. skipped: queries whose features earlier stages skipped, and the reasons. cut: vids that `max_clips`
    shortened; a network sees only their first clips, and spans are fractions of those.
    """

    queries: list[Query]
    video: Packed
    text: Packed
    video_of: Tensor
    video_blocks: int
    video_dim: int
    audio_dim: int
    text_dim: int
    clip_s: float
    skipped: list[dict[str, str]]
    cut: frozenset[str] = frozenset()

    @property
    def n_clips(self) -> list[int]:
        """Number of clips of each query's video."""
        return [int(n) for n in self.video.lengths[self.video_of]]

    def to(self, device: str) -> Data:
        """Return the same data with its tensors on `device`."""
        return replace(self, video=self.video.to(device), text=self.text.to(device))

    def __getstate__(self) -> dict[str, Any]:
        return {name: as_array(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update((name, as_tensor(value)) for name, value in state.items())


@dataclass(frozen=True)
class OpenFeatures:
    """The open feature stores of an experiment.

    stores: the store of each family. skipped: the reason for each vid or qid that an earlier stage skipped. filled: the
    same reason for each vid whose rows come from the archive that fills missing videos. released: the stores of that
    archive, by family.
    """

    stores: Mapping[str, Store]
    skipped: Mapping[str, str]
    filled: Mapping[str, str] = field(default_factory=dict)
    released: Mapping[str, Store] = field(default_factory=dict)


@contextmanager
def open_features(
    places: Mapping[str, StorePlace], manifests: Sequence[Path], fill: Mapping[str, StorePlace] | None = None
) -> Iterator[OpenFeatures]:
    """Open the stores that feature manifests list, until the end of a block.

    places: family → where its stores lie. fill: family → where the stores of the archive lie that fills missing videos
    (`missing: fill`). A missing video is filled in all these families or in none, so that no video has rows of two
    origins. Raises PipelineError for a family that no manifest lists.
    """
    fill = fill or {}
    listed = [path for manifest in manifests for path in files_of(manifest)]
    paths = {family: place.stores_among(listed) for family, place in places.items()}
    fill_paths = {family: place.stores_among(listed) for family, place in fill.items()}
    wanted = [*zip(places.values(), paths.values(), strict=True), *zip(fill.values(), fill_paths.values(), strict=True)]
    for place, found in wanted:
        if not found:
            raise PipelineError(
                f"no store of {place.family} (…{place}) is listed in {counted(len(manifests), 'feature manifest')}",
                where=manifests[0].parent if manifests else "features",
                remedy="extract or import that family first",
            )
    of_archive = {path for found in fill_paths.values() for path in found}
    ours = [m for m in manifests if not of_archive.intersection(files_of(m))]
    rows = [row for manifest in ours for row in files.read_json(manifest).get("skipped", [])]
    skipped = {str(row.get("vid", row.get("qid"))): str(row["why"]) for row in rows}
    with ExitStack() as stack:
        stores = {family: stack.enter_context(Store(found)) for family, found in paths.items()}
        released = {family: stack.enter_context(Store(found)) for family, found in fill_paths.items()}
        yield OpenFeatures(stores, skipped, _fill(stores, released, skipped), released)


def _fill(stores: Mapping[str, Store], released: Mapping[str, Store], skipped: Mapping[str, str]) -> dict[str, str]:
    """Fill missing videos from the stores of an archive, and return them with the reasons why they are missing."""
    filled = {
        vid: why
        for vid, why in skipped.items()
        if released
        and not why.startswith(BY_CHOICE)
        and any(vid not in stores[family] for family in released)
        and all(vid in store for store in released.values())
    }
    for family, store in released.items():
        stores[family].fill_from(store, filled)
    return filled


def load(
    opened: OpenFeatures,
    features: config.Features,
    queries: Sequence[Query],
    *,
    training: config.Training,
    normalisation: Normalisation,
    learns: bool = False,
    shared: bool = False,
) -> Data:
    """Read what `queries` need: cut to the shortest family, `max_clips` and `max_tokens`, packed, with norms.

    normalisation: how the method normalises them. learns: whether to leave out queries whose moments all lie beyond the
    clips that `max_clips` keeps, because they have nothing to learn from. All other queries see their moments as far as
    these clips go. shared: whether the rows lie in memory that workers started later have in common with this process.
    Raises PipelineError for families on two grids, for queries without features (all at once; queries whose extraction
    was skipped on record are left out instead), and for lengths more than one row apart. Source: the released loaders.
    They compute x / (|x| + 1e-5) per family, or as `normalisation` says.
    """
    visual = [*features.video, *features.audio]
    clip_s = _clip_seconds({family: opened.stores[family].passport.grid for family in visual})
    kept, skipped = with_features(opened, features, queries)
    cut: frozenset[str] = frozenset()
    if training.max_clips is not None:
        cut = _longer_than(training.max_clips, opened, visual, {query.vid for query in kept})
        if learns and cut:
            kept, beyond = _within(kept, cut, training.max_clips, clip_s)
            skipped = skipped + beyond
    if not kept:
        remedy = "see the manifests under features/ for what was skipped and why, or raise `max_clips`"
        raise PipelineError(f"none of {counted(len(queries), 'query')} can be used", where="features", remedy=remedy)
    dims = {family: opened.stores[family].passport.dim for family in features.all}
    video_dim, audio_dim = (sum(dims[family] for family in group) for group in (features.video, features.audio))
    vids = {vid: index for index, vid in enumerate(dict.fromkeys(query.vid for query in kept))}
    qids = [str(query.qid) for query in kept]
    streams = [video_dim] if normalisation.video == "one" else [dims[family] for family in features.video]
    counts = _clip_counts(opened, visual, list(vids), training.max_clips)
    if normalisation.within_duration:
        durations = {query.vid: query.duration for query in kept}
        counts = [min(n, max(int(durations[vid] / clip_s), 1)) for n, vid in zip(counts, vids, strict=True)]
    words = normalisation.words if training.normalise_text is None else training.normalise_text
    return Data(
        queries=kept,
        video=pack(
            list(vids),
            counts,
            [opened.stores[family] for family in visual],
            (*streams, *(dims[family] for family in features.audio)),
            norm=None if normalisation.video == "stored" else exact if normalisation.exact else released,
            shared=shared,
        ),
        text=pack(
            qids,
            [_cut(opened.stores[features.text].n_rows(qid), training.max_tokens) for qid in qids],
            [opened.stores[features.text]],
            (dims[features.text],),
            norm=(exact if normalisation.exact else released) if words else None,
            shared=shared,
        ),
        video_of=torch.tensor([vids[query.vid] for query in kept]),
        video_blocks=len(streams),
        video_dim=video_dim,
        audio_dim=audio_dim,
        text_dim=dims[features.text],
        clip_s=clip_s,
        skipped=skipped,
        cut=cut,
    )


def _clip_seconds(grids: Mapping[str, str]) -> float:
    if len(set(grids.values())) > 1:
        raise PipelineError(
            f"families are on different grids ({', '.join(f'{family} {grid}' for family, grid in grids.items())})",
            where="features",
            remedy="name families of one grid, or set `grids:` of the dataset",
        )
    return float(grid_seconds(next(iter(grids.values()))))


def with_features(
    opened: OpenFeatures, features: config.Features, queries: Sequence[Query]
) -> tuple[list[Query], list[dict[str, str]]]:
    """Return the queries that every family has, and a row (qid, vid, why) for each whose absence is on record.

    Raises PipelineError for queries whose absence nothing explains.
    """
    visual, text = [*features.video, *features.audio], features.text
    kept, skipped, missing = [], [], []
    for query in queries:
        keys = [(family, query.vid) for family in visual] + [(text, str(query.qid))]
        absent = [family for family, key in keys if key not in opened.stores[family]]
        why = opened.skipped.get(query.vid) or opened.skipped.get(str(query.qid))
        if not absent:
            kept.append(query)
        elif why:
            skipped.append({"qid": str(query.qid), "vid": query.vid, "why": why})
        else:
            missing.append(f"qid {query.qid} (vid {query.vid}) in {', '.join(absent)}")
    if missing:
        raise PipelineError(
            f"{len(missing):,} of {counted(len(queries), 'query')} have no features: {_first(missing)}",
            where="features",
            remedy="extract or import them, or name their vids under `skip` of the dataset",
        )
    return kept, skipped


def _longer_than(max_clips: int, opened: OpenFeatures, families: Sequence[str], vids: Iterable[str]) -> frozenset[str]:
    """Return the vids that have more rows than `max_clips` in every family."""
    return frozenset(vid for vid in vids if min(opened.stores[f].n_rows(vid) for f in families) > max_clips)


def _within(
    queries: Sequence[Query], cut: Container[str], max_clips: int, clip_s: float
) -> tuple[list[Query], list[dict[str, str]]]:
    """Return the queries with something to learn in the first `max_clips` clips, and a row for each of the others."""
    kept, beyond = [], []
    for query in queries:
        if query.vid not in cut or has_moments(cut_query(query, max_clips, clip_s)):
            kept.append(query)
        else:
            why = f"max_clips: its moments lie beyond the first {counted(max_clips, 'clip')}"
            beyond.append({"qid": str(query.qid), "vid": query.vid, "why": why})
    return kept, beyond


def _clip_counts(
    opened: OpenFeatures, families: Sequence[str], vids: Sequence[str], max_clips: int | None
) -> list[int]:
    """Return the number of rows to keep of each video: that of the shortest family, and at most `max_clips`.

    Families may disagree by any number beyond `max_clips`.
    """
    counts, apart = [], []
    for vid in vids:
        lengths = {family: _cut(opened.stores[family].n_rows(vid), max_clips) for family in families}
        if max(lengths.values()) - min(lengths.values()) > ROWS_APART:
            found = ", ".join(
                f"{counted(lengths[family], 'clip')} in {opened.stores[family].file_of(vid)}" for family in families
            )
            apart.append(f"vid {vid} has {found}")
        counts.append(min(lengths.values()))
    if apart:
        raise PipelineError(
            f"clip counts of {counted(len(apart), 'video')} differ by more than {ROWS_APART}: {_first(apart)}",
            where="features",
            remedy="extract those videos again, because features may be cut short or on another grid",
        )
    return counts


def _cut(length: int, limit: int | None) -> int:
    return length if limit is None else min(length, limit)


def _first(complaints: Sequence[str]) -> str:
    rest = len(complaints) - SHOWN
    return "; ".join(complaints[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
