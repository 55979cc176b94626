"""What a family of features is, what its passport says, and what a row of it costs.

The families of the papers are listed in `families.py`. Those of the config are made in `own_families.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """What one row costs; where words are encoded, what one query costs.

    cpu_s: seconds of one core. macs: multiply-adds, in 10⁹. known: `measured`, or `assumed` where nobody measured it.
    """

    cpu_s: float
    macs: float
    known: str = "measured"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One exact kind of feature. Only `dim`, the length of a row, is said of every family.

    reader: `frames224`, `native`, `sound` or `words`; None for families that only an archive has ("released only").
    encoder: the class that makes the rows, `module:Class`; None for families that only an archive has.
    options: what that class is given beside weights and device; every value is one that a config file can hold.
    weights: names in sources.csv, in the order the encoder takes them; none where nobody has them. `random:SEED` in
    place of a name stands for seeded random numbers.
    sampling: which frames one input holds, a name that `video.frame_grid.sampling_of` knows. view: what those frames
    look like, `frames224` or a name that `video.views.view_of` knows. Both are empty for sound and words.
    batch: the most inputs (frames, pieces of sound, queries) that the encoder is given at a time; 1 for words whose
    numbers are computed. rows_per_input: how many rows one input gives, in order of time.
    preprocessing: one line for the passport that names sampling, resize filter, crop and normalisation.
    grid: the only grid it can be made on; None where it can be made on any, or by nobody.
    instead_of: the released family that this one stands in for, because nobody can make that one again.
    from_word_table: whether the released systems take the rows of such words from a table while they train. No archive
    holds these rows, so every experiment makes them.
    cost: of one row; None where nobody measured it (`cost_of` then assumes one).
    revision: a number that is raised when the numbers of the rows change.
    is_own: whether a config defines it. The line `preprocessing` then says all of the definition but its weights.
    """

    dim: int
    reader: str | None = None
    encoder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    sampling: str = ""
    view: str = ""
    batch: int = 1
    rows_per_input: int = 1
    preprocessing: str = ""
    grid: str | None = None
    instead_of: str | None = None
    from_word_table: bool = False
    cost: Cost | None = None
    revision: int = 1
    is_own: bool = False


@dataclass(frozen=True)
class Passport:
    """What says that two arrays are of one kind: the root attributes of every feature store.

    origin: `raw`, or the released archive's name in sources.csv. weights: digest of the weight file, `random:{seed}`,
    `none` or `released`. grid: `2s`, `1s`, `0.5s`, `1-6s` or `tokens`. dim: length of a row. dtype: `float16` or
    `float32`. preprocessing: one line that names sampling, resize filter, crop and normalisation.
    """

    family: str
    revision: int
    origin: str
    weights: str
    grid: str
    dim: int
    dtype: str
    preprocessing: str
