"""What the settings of every method have in common. Imports nothing heavy: the config is validated with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pipeline.settings import Strict


class MethodSettings(Strict):
    """The section `model` of one method. A subclass defines `name: Literal["…"] = "…"` and the method's keys.

    revision: raised when the same settings give other numbers than before, or when a default changes.
    implementation: the `Method`, `module:Class`.
    released: how its released checkpoints and golden sets are read (`release.py`), `module:name`;
    None where nothing was released.
    switched: key (with dots) → the switch of the method without which that key is never read.
    """

    revision: ClassVar[int] = 1
    implementation: ClassVar[str]
    released: ClassVar[str | None] = None
    switched: ClassVar[Mapping[str, str]] = {}

    name: str

    def never_read(self, *, moments: bool) -> list[str]:
        """Keys that were changed from their defaults and that nothing reads, as dotted names.

        moments: whether the dataset has windows to learn from. An experiment with such keys is refused.
        """
        return []

    def recorded(self) -> dict[str, Any]:
        """What a manifest says of the method: its name, its revision, and what differs from the defaults."""
        return {"name": self.name, "revision": self.revision, **self.changes()}
