"""The datasets: one frozen object each, in a file of its own, and what is known about annotations and archives.

The config takes the names of datasets from here, so this imports nothing heavy. The benchmarks that the demo makes for
itself (`synthetic*.py`) stand here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from pipeline.datasets.definition import Dataset
from pipeline.errors import PipelineError

FILES = (
    "qvhighlights",
    "charades_sta",
    "tvsum",
)
"""The registry: modules of this package, each of which defines `DATASET`."""

DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset for dataset in (import_module(f"{__name__}.{file}").DATASET for file in FILES)
}


def get(name: str) -> Dataset:
    """The dataset of a name. Raises PipelineError, naming the known ones, for another."""
    if name not in DATASETS:
        raise PipelineError("is no dataset", where=name, remedy=f"name one of {', '.join(DATASETS)}")
    return DATASETS[name]


def of_table(number: int) -> Dataset:
    """The dataset that a table of the paper is about. Raises PipelineError for a table that no dataset has."""
    for dataset in DATASETS.values():
        if number in dataset.tables:
            return dataset
    raise PipelineError(f"there is no table {number}", where="table", remedy="name a table of the paper")
