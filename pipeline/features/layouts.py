"""Layouts of released feature archives: which file holds a family's rows of one video, under which names.

UMT's TVSum archive, and Moment-DETR's and UMT's QVHighlights archives (features.md 4, datasets.md 1.2, 3.4).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.features.passports import passport_from
from pipeline.provenance import Passport

PASSPORTS = "passports.json"
"""At the top of an archive that we exported: family → passport, so that what we made never passes for published."""


@dataclass(frozen=True)
class Layout:
    """Where an archive has a family: a file per vid (or qid), and the arrays' names in an npz.

    pooled_shape: of the vector for a whole query (Moment-DETR: a vector, UMT's TVSum archive: a row).
    """

    file: str
    rows: str = ""
    pooled: str = ""
    pooled_shape: tuple[int, ...] = (-1,)

    @property
    def folder(self) -> str:
        """The folder that marks the archive's top."""
        return self.file.split("/", maxsplit=1)[0]

    @property
    def dtype(self) -> str:
        """What the archives store: npz in float16, plain arrays in float32 (TVSum's two streams: float64)."""
        return "float16" if self.rows else "float32"

    def path(self, top: Path, vid: str, qid: object) -> Path:
        """The file of one video or query."""
        return top / self.file.format(vid=vid, qid=qid)


LAYOUTS: Mapping[str, Mapping[str, Layout]] = {
    "tvsum": {
        "i3d-inception-rgb-tvsum": Layout("video_features/{vid}_rgb.npy"),
        "i3d-inception-flow-tvsum": Layout("video_features/{vid}_opt.npy"),
        "pann-cnn14": Layout("audio_features/{vid}.npy"),
        "clip-token-table": Layout("query_features/{vid}.npz", "token", "text", (1, -1)),
    },
    "qvhighlights": {
        "slowfast-r50-caffe2": Layout("slowfast_features/{vid}.npz", "features"),
        "clip-vit-b32": Layout("clip_features/{vid}.npz", "features"),
        "pann-cnn14": Layout("pann_features/{vid}.npy"),
        "clip-text": Layout("clip_text_features/qid{qid}.npz", "last_hidden_state", "pooler_output"),
    },
}


def layout_of(dataset: str, family: str) -> Layout:
    """Where released archives of a dataset have a family. Raises PipelineError where they have no place for it."""
    known = LAYOUTS.get(dataset, {})
    if family not in known:
        raise PipelineError(
            f"released archives of {dataset} have no place for it",
            where=family,
            remedy=f"name one of {', '.join(known) or 'another dataset'}",
        )
    return known[family]


def read_passports(top: Path) -> dict[str, Passport]:
    """Passports of an archive that we exported, by family; empty for everybody else's. Raises PipelineError."""
    path = top / PASSPORTS
    content = files.read_json(path) if path.exists() else {}
    try:
        return {family: passport_from(values, path) for family, values in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise PipelineError(f"lists no passports ({error})", where=path, remedy="export again") from error


def read_released(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows [n, dim] and the pooled vector [dim] of one released file, as stored.

    Raises ValueError with the reason for a file that cannot be read or has no such array; nothing is unpickled.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if not layout.rows:
            return np.asarray(loaded), None
        with loaded as arrays:
            if lacking := {layout.rows, layout.pooled} - {"", *arrays}:
                raise ValueError(f"has no array {', '.join(sorted(lacking))}")
            return arrays[layout.rows], arrays[layout.pooled].reshape(-1) if layout.pooled else None
    except (OSError, EOFError, RuntimeError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot be read ({error})") from error


def write_released(path: Path, layout: Layout, rows: np.ndarray, pooled: np.ndarray | None) -> None:
    """Write one file as the archives have it: rows [n, dim] and, where the layout has a place for it, pooled [dim]."""
    with files.atomic_path(path) as partial:
        if not layout.rows:
            np.save(partial, rows, allow_pickle=False)
        elif pooled is None:
            np.savez(partial, **{layout.rows: rows})  # type: ignore[arg-type]
        else:
            np.savez(partial, **{layout.rows: rows, layout.pooled: pooled.reshape(layout.pooled_shape)})  # type: ignore[arg-type]
