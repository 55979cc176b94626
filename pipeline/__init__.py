"""The pipeline from videos to the tables of the TR-DETR paper. It can be used without Snakemake.

    from pipeline import Moments, evaluate

Both names are imported only when they are used, so importing this package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.asking.moments import Moments
    from pipeline.evaluation import evaluate

__all__ = ["Moments", "evaluate"]

_PLACES = {"Moments": "pipeline.asking.moments", "evaluate": "pipeline.evaluation"}
"""Name that this package offers → the module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
