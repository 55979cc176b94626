"""Where released feature archives of a dataset have a family.

The layouts stand with each dataset (`pipeline/datasets/`). A family that stands in for a released one has that one's
place.
"""

from __future__ import annotations

from pipeline import datasets
from pipeline.datasets.archives import ROWS_APART, Layout
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES

__all__ = ["ROWS_APART", "Layout", "layouts_of", "place_of"]


def place_of(family: str) -> str:
    """The family whose place in an archive this one takes: its own, or that of the released one it stands in for.

    Raises PipelineError for a family that is not known.
    """
    if family not in FAMILIES:
        raise PipelineError("is no family of this pipeline", where=family, remedy=f"name one of {', '.join(FAMILIES)}")
    return FAMILIES[family].instead_of or family


def layouts_of(dataset: str, family: str) -> list[Layout]:
    """Where released archives of a dataset have a family. Raises PipelineError where none has a place for it."""
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
