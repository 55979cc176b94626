"""The definition of a family of features, its passport, and the cost of a row.

The families of the papers are listed in `families.py`. Those of the config are made in `own_families.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """The cost of one row, or of one query for families of words.

    cpu_s: seconds of one core. macs: multiply-adds, in 10⁹. known: `measured`, or `assumed` if nobody measured it.
    """

    cpu_s: float
    macs: float
    known: str = "measured"


@dataclass(frozen=True, kw_only=True)
class Family:
    """One exact kind of feature. Only `dim`, the length of a row, is given for every family.

    reader: `frames224`, `native`, `sound` or `words`; None for families that only an archive has ("released only").
    encoder: the class that makes the rows, `module:Class`; None for families that only an archive has. options: keyword
    arguments of that class beside weights and device; every value can be written in a config file. weights: names in
    sources.csv, in the order the encoder takes them; empty if nobody has the weights. `random:SEED` in place of a name
    stands for seeded random numbers. sampling: the frames of one input, by a name that `video.frame_grid.sampling_of`
    knows. view: how these frames are scaled and cropped: `frames224`, or a name that `video.views.view_of` knows. Both
    are empty for sound and words. batch: the largest number of inputs (frames, pieces of sound, queries) that the
    encoder gets at a time; 1 for words that a network encodes. rows_per_input: how many rows one input gives, in order
    of time. preprocessing: one line for the passport that names sampling, resize filter, crop and normalisation. grid:
    the only grid on which it can be made; None if it can be made on any grid, or by nobody. instead_of: the released
    family that this one stands in for, because nobody can make that one again. from_word_table: whether the released
    systems take the rows of such words from a table while they train. No archive holds these rows, so every experiment
    makes them. cost: the cost of one row; None if nobody measured it (`cost_of` then assumes one). revision: a number
    that is raised when the numbers of the rows change. is_own: whether a config defines it. The line `preprocessing`
    then describes the whole definition except its weights.
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
    """The exact kind of the arrays in a feature store. These are the root attributes of every store. Only arrays with
    equal passports may be mixed.

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
