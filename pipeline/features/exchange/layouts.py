"""Finds the layouts of released archives that contain a family.

Each dataset lists its layouts in its own file (`pipeline/datasets/`). A family that stands in for a released family has
the same place in an archive.
"""

from __future__ import annotations

from pipeline import datasets
from pipeline.datasets.archives import ROWS_APART, Layout
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES

__all__ = ["ROWS_APART", "Layout", "layouts_of", "place_of"]


def place_of(family: str) -> str:
    """Return the family whose place in an archive this family has.

    This is the family itself, or the released family that it stands in for.
    Raises PipelineError for an unknown family.
    """
    if family not in FAMILIES:
        raise PipelineError("is no family of this pipeline", where=family, remedy=f"name one of {', '.join(FAMILIES)}")
    return FAMILIES[family].instead_of or family


def layouts_of(dataset: str, family: str) -> list[Layout]:
    """Return the layouts of a dataset's released archives that contain a family.

    Raises PipelineError if no archive of the dataset has a place for the family.
    """
    archives = datasets.get(dataset).archives
    found = [archive[place_of(family)] for archive in archives if place_of(family) in archive]
    if not found:
        known = dict.fromkeys(name for archive in archives for name in archive)
        raise PipelineError(
            f"released archives of {dataset} have no place for it",
            where=family,
            remedy=f"name one of {', '.join(known) or 'another dataset'}",
        )
    return found
