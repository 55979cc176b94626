"""Layouts of released feature archives: which file holds a family's rows of one video, under which names.

A dataset may have several archives, which agree on little; a family that stands in for a released one has that one's
place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.features import ROWS_APART


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

UMT_TVSUM: Archive = {
    "i3d-inception-rgb-tvsum": Layout("video_features/{vid}_rgb.npy"),
    "i3d-inception-flow-tvsum": Layout("video_features/{vid}_opt.npy"),
    "pann-cnn14": Layout("audio_features/{vid}.npy"),
    "clip-token-table": Layout("query_features/{vid}.npz", "token", "text", (1, -1)),
}

MOMENT_DETR_QVHIGHLIGHTS: Archive = {
    "slowfast-r50-caffe2": Layout("slowfast_features/{vid}.npz", "features"),
    "clip-vit-b32": Layout("clip_features/{vid}.npz", "features"),
    "pann-cnn14": Layout("pann_features/{vid}.npy"),
    "clip-text": Layout("clip_text_features/qid{qid}.npz", "last_hidden_state", "pooler_output"),
}
"""UMT's has the same layout, with the sound."""

UMT_CHARADES: Archive = {
    "vgg16-charades": Layout("rgb_features/{vid}.npy"),
    "vgg16-flow-charades": Layout("opt_features/{vid}.npy"),
    "pann-cnn14-charades": Layout("audio_features/{vid}.npy"),
}

CG_DETR_CHARADES: Archive = {
    "slowfast-r50-caffe2": Layout("slowfast_features/{vid}.npz", "features"),
    "clip-vit-b32": Layout("clip_features/{vid}.npz", "features"),
    "clip-text": Layout("clip_text_features/qid{qid}.npz", "last_hidden_state", "pooler_output"),
    "vgg16-charades": Layout("vgg_features/rgb_features/{vid}.npy"),
}

VSLNET_CHARADES: Archive = {
    # Two rows for each second begun, and the last one may only just have begun.
    "i3d-inception-rgb-charades": Layout("{vid}.npy", shapes="feature_shapes.json", rows_apart=2),
}

CHARADES_FRAMES: Archive = {
    "vgg16-charades": Layout("Charades_v1_features_rgb/{vid}", every=4),
    "vgg16-flow-charades": Layout("Charades_v1_features_flow/{vid}", every=4),
}
"""The dataset's own; read, never written: UMT's holds the same numbers in a hundredth of the files."""

LAYOUTS: Mapping[str, Sequence[Archive]] = {
    "tvsum": (UMT_TVSUM,),
    "qvhighlights": (MOMENT_DETR_QVHIGHLIGHTS,),
    "charades_sta": (UMT_CHARADES, CG_DETR_CHARADES, VSLNET_CHARADES, CHARADES_FRAMES),
}
"""Dataset → its archives. An export uses the first layout that has the family."""


def place_of(family: str) -> str:
    """The family whose place in an archive this one takes: its own, or that of the released one it stands in for.

    Raises PipelineError for a family that is not known.
    """
    if family not in FAMILIES:
        raise PipelineError("is no family of this pipeline", where=family, remedy=f"name one of {', '.join(FAMILIES)}")
    return FAMILIES[family].instead_of or family


def layouts_of(dataset: str, family: str) -> list[Layout]:
    """Where released archives of a dataset have a family. Raises PipelineError where none has a place for it."""
    archives = LAYOUTS.get(dataset, ())
    found = [archive[place_of(family)] for archive in archives if place_of(family) in archive]
    if not found:
        known = dict.fromkeys(name for archive in archives for name in archive)
        raise PipelineError(
            f"released archives of {dataset} have no place for it",
            where=family,
            remedy=f"name one of {', '.join(known) or 'another dataset'}",
        )
    return found
