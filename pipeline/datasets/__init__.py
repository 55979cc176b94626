"""The datasets: one frozen object each, in a file of its own, and what is known about annotations and archives.

The config takes the names of datasets from here, so this imports nothing heavy. The benchmarks that the demo makes for
itself (`synthetic*.py`) stand here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from pipeline.datasets import own
from pipeline.datasets.definition import Dataset, OwnFiles
from pipeline.errors import PipelineError

FILES = (
    "qvhighlights",
    "charades_sta",
    "tvsum",
)
"""The registry: modules of this package, each of which defines `DATASET`."""

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset for dataset in (import_module(f"{__name__}.{file}").DATASET for file in FILES)
}

PAPERS = tuple(DATASETS)
"""Names of the datasets of the papers. A dataset of one's own has another name."""


def register(datasets: Mapping[str, OwnFiles]) -> None:
    """Let this process know these datasets of one's own, and no others of that kind."""
    for name in [name for name, dataset in DATASETS.items() if dataset.own]:
        del DATASETS[name]
    DATASETS.update((name, own.definition(name, files)) for name, files in datasets.items())


def learn(name: str, facts: Mapping[str, object]) -> None:
    """Let this process know one more dataset of one's own, unless it knows one of that name.

    facts: as `OwnFiles`. Raises PipelineError where they are not.
    """
    if name in DATASETS:
        return
    DATASETS[name] = own.definition(name, own.files_of(facts, name))


register(own.known_here())


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
