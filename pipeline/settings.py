"""The base of every section of config.yaml: a strict pydantic model, and the types of values that sections share.

Methods define their own sections (`pipeline/methods/`), so this module lies below them and below `config`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.grids import GRIDS, KNOWN, is_grid


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not true or false")  # noqa: TRY004 - pydantic reports ValueError
    return value


NO_SWITCH = BeforeValidator(_no_switch)
"""Refuses true and false, which pydantic would read as the numbers 1 and 0. Every number of the config has it."""

Positive = Annotated[int, Field(gt=0), NO_SWITCH]
Weight = Annotated[float, Field(ge=0), NO_SWITCH]
Rate = Annotated[float, Field(ge=0, lt=1), NO_SWITCH]


def _known_grid(name: str) -> str:
    if not is_grid(name):
        raise ValueError(f"no such clip grid; {KNOWN}")
    return name


Grid = Annotated[str, AfterValidator(_known_grid), Field(json_schema_extra={"examples": list(GRIDS)})]
"""The name of a clip grid."""


class Strict(BaseModel):
    """A section of the config. Unknown keys and numbers that are not finite are refused, and values never change after
    loading. The docstrings of keys are written into the JSON schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    def changes(self) -> dict[str, Any]:
        """Return the values that differ from the defaults, as JSON values.

        Runs are recorded by these values, so that a new key with a default makes no run stale. If a default changes, a
        revision must therefore be raised: that of the method, or that of the stage `train`.
        """
        return self.model_dump(mode="json", exclude_defaults=True)
