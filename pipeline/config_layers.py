"""How an experiment's lines lie over the defaults of its dataset and of the file, and how a misfit is told.

Works on the file's raw keys, before they are validated (`pipeline/config.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SWITCHED = {"global_alignment": "alignment", "local_alignment": "alignment"}
"""Loss weight → the switch of `model` without which it is never read."""


def resolved(raw: Mapping[str, Any], experiment: Any) -> Any:
    """An experiment with the defaults of the file, of its dataset and (per sweep point) of itself laid under it.

    Raises ValueError for a name of a sweep point that is neither text nor a number.
    """
    if not isinstance(experiment, Mapping):
        return experiment
    schedules = raw.get("training")
    dataset = experiment.get("dataset")
    schedule = schedules.get(dataset, {}) if isinstance(schedules, Mapping) and isinstance(dataset, str) else {}
    base = _laid_over({"model": raw.get("model", {}), "training": schedule}, experiment)
    sweep = experiment.get("sweep", {})
    if isinstance(sweep, Mapping):
        for point in sweep:
            if isinstance(point, bool) or not isinstance(point, str | int | float):
                raise ValueError(f"`sweep`: YAML reads a point's name as {point!r}; write the name in quotes")  # noqa: TRY004
        if len({str(point) for point in sweep}) < len(sweep):
            raise ValueError(f"`sweep`: two points have one name (of {', '.join(map(repr, sweep))})")
        sweep = {str(point): _laid_over(base, changes) for point, changes in sweep.items()}
    return {**base, "sweep": sweep}


def unread_weights(experiment: Any, full: Any) -> Iterator[str]:
    """Loss weights that an experiment (or a point of its sweep) writes itself and that its network never reads.

    experiment: as written. full: the same, resolved. Inherited weights are no mistake of the experiment.
    """
    if not isinstance(experiment, Mapping) or not isinstance(full, Mapping):
        return
    points = experiment.get("sweep", {}) if isinstance(experiment.get("sweep", {}), Mapping) else {}
    written = [("", experiment, full), *((f"sweep.{p}.", own, full["sweep"].get(str(p))) for p, own in points.items())]
    for place, own, whole in written:
        weights = _at(own, "training", "loss_weights")
        for weight, switch in SWITCHED.items():
            if isinstance(weights, Mapping) and weights.get(weight) and _at(whole, "model", switch) is False:
                yield (
                    f"`{place}training.loss_weights.{weight}` is {weights[weight]} and is never read, because"
                    f" `model.{switch}` is false; leave it out or set it to 0"
                )


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _laid_over(base: Mapping[str, Any], changes: Any) -> Any:
    """`changes` with the model and training of `base` where they say nothing."""
    if not isinstance(changes, Mapping):
        return changes
    return {**changes, **{key: _merged(base[key], changes.get(key, {})) for key in ("model", "training")}}


def _merged(base: Any, over: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    return {**base, **{key: _merged(base.get(key), value) if key in base else value for key, value in over.items()}}


def complaint(error: Any) -> str:
    """One error of pydantic's as a line: key, what is wrong, the value found."""
    key = ".".join(str(part) for part in error["loc"] if part != "[key]")
    if error["type"] == "extra_forbidden":
        return f"`{key}` is an unknown key"
    if error["type"] == "missing":
        return f"`{key}` is missing"
    value = "" if isinstance(error["input"], dict) else f" (found {error['input']!r})"
    return f"`{key}`: {error['msg']}{value}".replace("Value error, ", "").replace("``: ", "")
