"""The methods that can be trained here, by the names that config.yaml uses. The first is the default.

A method is one folder (or one file) of this room and one line of `METHODS`. The settings of a method import nothing
heavy, because every command and the Snakefile validate the config. The network is imported when a job builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.methods.settings import MethodSettings

if TYPE_CHECKING:
    from pipeline.methods.contract import Inputs, Method

METHODS: dict[str, str] = {
    "tr_detr": "pipeline.methods.tr_detr.settings:TrDetrSettings",
    "moment_detr": "pipeline.methods.moment_detr.settings:MomentDetrSettings",
    "qd_detr": "pipeline.methods.qd_detr.settings:QdDetrSettings",
    "eatr": "pipeline.methods.eatr.settings:EatrSettings",
    "cg_detr": "pipeline.methods.cg_detr.settings:CgDetrSettings",
    "univtg": "pipeline.methods.univtg.settings:UniVtgSettings",
    "umt": "pipeline.methods.umt.settings:UmtSettings",
}
"""The registry: the name of a method in config.yaml → the place of its settings, `module:Class`."""

DEFAULT = next(iter(METHODS))


def settings_class(name: str) -> type[MethodSettings]:
    """Return the settings of a method that is in the registry. Nothing heavy is imported."""
    return imported(METHODS[name])


def is_current(recorded: Mapping[str, Any]) -> bool:
    """Return whether the record of a method in a manifest (`MethodSettings.recorded`) has the revision that the method
    has now."""
    name = recorded.get("name")
    return name in METHODS and recorded.get("revision") == settings_class(name).revision


def build(settings: MethodSettings, inputs: Inputs) -> Method:
    """Return a method with a freshly initialised network on the CPU. This imports torch."""
    return imported(settings.implementation)(settings, inputs)


def name_in(section: Any) -> str | None:
    """Return the name of the method that a section `model` configures. A section without `name` configures the default
    method."""
    if isinstance(section, Mapping):
        return str(section.get("name", DEFAULT))
    return getattr(section, "name", None)


def imported(place: str) -> Any:
    """Import a module and return one of its objects. place: `module:name`."""
    module, name = place.split(":")
    return getattr(import_module(module), name)
