"""What a dataset is: one frozen object that everything asks which depends on the dataset.

A new dataset is a file with such an object, and its name in the registry (`pipeline/datasets/__init__.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pipeline.datasets.archives import Archive
from pipeline.grids import Grid, grid_seconds
from pipeline.records import Query

Complaint = Callable[[Mapping[str, Any]], str]
"""A rule for annotation rows: says what is wrong with a row, or '' where nothing is."""


class Released(NamedTuple):
    """What a released annotation file holds, counted: queries, different videos, and hours that these last."""

    split: str
    queries: int
    videos: int
    hours: float


@dataclass(frozen=True)
class Highlights:
    """How highlights are annotated and scored.

    clip: the grid of the clips that people rated. raters: people who rated each clip. scored_by: how they are scored.
    `levels` is the mean average precision and HIT@1 at the ratings Fair, Good and VeryGood, from the
    `saliency_scores` of the `relevant_clip_ids`. `top5` is the average precision among the five best clips, from the
    `label` of every clip.
    """

    clip: Grid
    raters: int
    scored_by: Literal["levels", "top5"]

    @property
    def clip_s(self) -> float:
        """Seconds of a rated clip."""
        return float(grid_seconds(self.clip))


@dataclass(frozen=True)
class Dataset:
    """All that depends on the dataset.

    name: as the config, the command line and folders under `results/` have it.

    Annotations. truth_keys: keys that a row with ground truth must have. usable: what is wrong with a row as ground
    truth, its times in seconds; asked by `annotate` and by everything that scores. released_form: what else released
    files never contain; asked by `annotate` alone, of rows that are usable, with their times as released. hides_truth:
    whether a released file comes without ground truth; its rows are asked for the released form alone. qid_is_vid:
    whether a query is named by its video, so that its qid is a text. to_seconds: a query of a released file with its
    times in seconds. released: what the files hold that we know, by their SHA-256. video_of: the video that a vid was
    cut from; videos are the clusters of intervals and tests.

    Tasks. moments: whether a query has windows. highlights: None where no clip is rated. domains: the categories that
    are trained and scored one by one; none where the dataset is trained as a whole. tables: tables of the paper that
    show it. figure: the paper's figure that shows queries of val. also_scored: further blocks of metrics that papers on
    this dataset print (`evaluation/official.py`).

    Training. selected_by: the headline number of the watched split whose largest value selects an epoch, a column of
    `log.csv`. to_percent: what that number is multiplied by to be in percent. selected_by_label: its name on a figure.
    longest_s: predicted windows are clamped to so many seconds and then rounded to clips; None rounds them and then
    clamps them to the annotated duration. one_video_vector: whether all video families are normalised as one vector.
    normalise_text: whether words are scaled to length 1 unless the config says otherwise. padded_s: seconds that a
    sample is padded to in a training batch, on average; `estimate` multiplies with it.

    Released files. predictions_end: how names in sources.csv end that are prediction files of a split, with `{split}`
    in it; '' where none are known. archives: the layouts of feature archives; an export uses the first that has the
    family. name_in_options: its name in the options of released programs. options_cut_text: whether their `max_q_l`
    shortens its queries.
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
    also_scored: tuple[str, ...] = ()
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

    @property
    def run_domains(self) -> tuple[str, ...]:
        """What its runs are of: one domain each, or everything (`all`)."""
        return self.domains or ("all",)

    @property
    def rates_every_clip(self) -> bool:
        """Whether people rated every clip of a video (`label`), rather than the clips of the query's windows."""
        return self.highlights is not None and self.highlights.scored_by == "top5"
