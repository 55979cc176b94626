"""The definition of a dataset: one frozen object with everything that differs between datasets.

A new dataset is a file that defines such an object. Its name is added to the registry
(`pipeline/datasets/__init__.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pipeline.datasets.archives import Archive
from pipeline.grids import grid_seconds
from pipeline.records import Query

Complaint = Callable[[Mapping[str, Any]], str]
"""A rule for annotation rows: a function that returns what is wrong with a row, or '' if nothing is wrong."""


class Released(NamedTuple):
    """The counted content of a released annotation file.

    split: our name of the split. queries: number of rows. videos: number of different videos.
    hours: total length of these videos.
    """

    split: str
    queries: int
    videos: int
    hours: float


@dataclass(frozen=True)
class Highlights:
    """The rules by which highlights are annotated and scored.

    clip: the grid of the clips that people rated.
    raters: the number of people who rated each clip.
    scored_by: `levels` or `top5`. `levels` computes mean average precision and HIT@1 at the ratings Fair, Good and
    VeryGood from the `saliency_scores` of the `relevant_clip_ids`. `top5` computes the average precision among the five
    best clips from the `label` of every clip.
    """

    clip: str
    raters: int
    scored_by: Literal["levels", "top5"]

    @property
    def clip_s(self) -> float:
        """Length of a rated clip in seconds."""
        return float(grid_seconds(self.clip))


class OwnFiles(NamedTuple):
    """The place of a user's own dataset, and facts about its file.

    annotations, videos: paths of the file and of the folder. clip: the grid of its labels. raters: the number of people
    who rated a clip; 0 if nobody did.
    """

    annotations: str
    videos: str
    clip: str
    raters: int


@dataclass(frozen=True)
class Dataset:
    """Everything that differs between datasets.

    name: the name in the config, on the command line and in the folders under `results/`.

    Annotations: truth_keys: keys that a row with ground truth must have. usable: rules that a row must follow to be
    used as ground truth. They get its times in seconds. `annotate` and everything that scores apply them.
    released_form: further rules that every released row follows. Only `annotate` applies them, to rows that are usable
    and with the times as they were released. hides_truth: whether one of the released files comes without ground truth.
    Only `released_form` is applied to it. qid_is_vid: whether the qid of a query is the vid of its video. A qid is then
    a text and not an integer. to_seconds: a function that takes a query of a released file and returns it with its
    times in seconds. released: the counted content of the released files. The key is the SHA-256 of a file. video_of: a
    function that returns the video that a vid was cut from. Intervals and tests treat the queries of one such video as
    one cluster.

    Tasks: moments: whether a query has windows. highlights: how clips are rated; None if no clips are rated. domains:
    categories that are trained and scored one by one. It is empty if the dataset is trained as a whole. tables: numbers
    of the paper's tables that show this dataset. figure: the number of the paper's figure that shows queries of the
    split val; None if there is none. also_scored: further blocks of metrics that papers print for this dataset: name in
    the metrics file → kind of block (`BLOCKS` in `evaluation/official.py`).

    Training:
    selected_by: a column of `log.csv`. The epoch with its largest value on the watched split is selected.
    to_percent: the factor that turns this number into percent.
    selected_by_label: the name of this number on a figure.
    longest_s: if it is a number, predicted windows are clamped to this many seconds and then rounded to clips. If it is
    None, they are rounded first and then clamped to the annotated duration (CG-DETR clamps them first).
    one_video_vector: whether the rows of all video families are normalised together, as one vector.
    normalise_text: whether the vectors of words are scaled to length 1 unless the config says otherwise.
    padded_s: average length in seconds that samples are padded to in a training batch. `estimate` uses it.

    Released files:
    predictions_end: the end of the names in sources.csv that are prediction files of a split, with `{split}` in it. It
    is empty if none are known.
    archives: layouts of the released feature archives. An export uses the first one that contains the family.
    name_in_options: the name that released programs use for this dataset in their options.
    options_cut_text: whether the option `max_q_l` of released programs shortens the queries of this dataset.

    own: the files of a user's own dataset; None for the datasets of the papers.
    """

    name: str
    truth_keys: tuple[str, ...]
    usable: tuple[Complaint, ...]
    moments: bool
    highlights: Highlights | None = None
    released_form: tuple[Complaint, ...] = ()
    hides_truth: bool = False
    qid_is_vid: bool = False
    to_seconds: Callable[[Query], Query] = field(default=lambda query: query)
    released: Mapping[str, Released] = field(default_factory=dict)
    video_of: Callable[[str], str] = str
    domains: tuple[str, ...] = ()
    tables: tuple[int, ...] = ()
    figure: int | None = None
    also_scored: Mapping[str, str] = field(default_factory=dict)
    selected_by: str = "MR-full-mAP"
    to_percent: float = 1.0
    selected_by_label: str = "mAP Avg."
    longest_s: float | None = None
    one_video_vector: bool = False
    normalise_text: bool = True
    padded_s: float = 150.0
    predictions_end: str = ""
    archives: Sequence[Archive] = ()
    name_in_options: str = ""
    options_cut_text: bool = True
    own: OwnFiles | None = None

    @property
    def run_domains(self) -> tuple[str, ...]:
        """The domains for which there are runs: each domain, or `all` if one run uses everything."""
        return self.domains or ("all",)

    @property
    def rates_every_clip(self) -> bool:
        """Tell whether people rated every clip of a video (`label`) and not only the clips inside the windows of a
        query."""
        return self.highlights is not None and self.highlights.scored_by == "top5"
