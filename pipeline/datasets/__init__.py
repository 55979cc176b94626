"""The registry of datasets.

Each dataset is one frozen object in a file of its own. The package also holds the rules for ground truth and the
layouts of released feature archives. The config takes the names of datasets from here, so this package imports nothing
heavy. The benchmarks that the demo makes for itself (`synthetic*.py`) are here, too.
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
"""Names of the modules of this package that define `DATASET`. A new dataset is added to this list."""

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset for dataset in (import_module(f"{__name__}.{file}").DATASET for file in FILES)
}

PAPERS = tuple(DATASETS)
"""Names of the datasets of the papers. A user's own dataset must have another name."""


def register(datasets: Mapping[str, OwnFiles]) -> None:
    """Register these datasets of the user's own in this process, and remove all earlier ones."""
    for name in [name for name, dataset in DATASETS.items() if dataset.own]:
        del DATASETS[name]
    DATASETS.update((name, own.definition(name, files)) for name, files in datasets.items())


def learn(name: str, facts: Mapping[str, object]) -> None:
    """Register one more dataset of the user's own in this process.

    facts: the fields of `OwnFiles`. Raises PipelineError if they are not, and if this process knows a dataset of this
    name with other labels: another clip length, with or without ratings, or a dataset of the papers. The places of its
    files may differ.
    """
    new = own.definition(name, own.files_of(facts, name))
    known = DATASETS.setdefault(name, new)
    if own.labels(known) != own.labels(new):
        raise PipelineError(
            f"is already registered with other labels ({own.labels(known)}; new: {own.labels(new)})",
            where=f"dataset {name}",
            remedy="use one process for each",
        )


register(own.known_here())


def get(name: str) -> Dataset:
    """Return the dataset that has this name.

    Raises PipelineError for an unknown name; the error lists the known ones.
    """
    if name not in DATASETS:
        raise PipelineError("is no dataset", where=name, remedy=f"name one of {', '.join(DATASETS)}")
    return DATASETS[name]


def of_table(number: int) -> Dataset:
    """Return the dataset that this table of the paper is about.

    number: the number of the table in the paper.
    Raises PipelineError if no dataset names this table.
    """
    for dataset in DATASETS.values():
        if number in dataset.tables:
            return dataset
    known = ", ".join(str(table) for dataset in DATASETS.values() for table in dataset.tables)
    raise PipelineError(f"there is no table {number}", where="table", remedy=f"name one of {known}")
