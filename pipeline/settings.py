"""What every section of config.yaml is made of: a strict pydantic model, and the kinds of numbers that sections share.

Methods define their own sections (`pipeline/methods/`), so these stand below them and below `config`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline.grids import GRIDS, KNOWN, is_grid

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]


def _known_grid(name: str) -> str:
    if not is_grid(name):
        raise ValueError(f"no such clip grid; {KNOWN}")
    return name


Grid = Annotated[str, AfterValidator(_known_grid), Field(json_schema_extra={"examples": list(GRIDS)})]
"""The name of a clip grid."""


class Strict(BaseModel):
    """A section of the file: unknown keys are refused, values never change after loading. Keys' docstrings go into the
    JSON schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def changes(self) -> dict[str, Any]:
        """The values that differ from the defaults, as JSON values.

        Runs are recorded by these, so that a key that is added with a default makes no run stale. A default that
        changes must therefore raise a revision: the method's own, or that of the stage `train`.
        """
        return self.model_dump(mode="json", exclude_defaults=True)
