"""An experiment's keys are laid over the defaults of its dataset and of the file, and misfits are described.

This works on the file's raw keys, before they are validated (`pipeline/config.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline import methods


def resolved(raw: Mapping[str, Any], experiment: Any) -> Any:
    """Return an experiment with the defaults of the file, of its dataset and (per sweep point) of itself laid under it.

    Raises ValueError for a name of a sweep point that is neither text nor a number.
    """
    if not isinstance(experiment, Mapping):
        return experiment
    of_dataset = {key: _of_dataset(raw.get(key), experiment) for key in ("training", "model_by_dataset")}
    model = over_model(raw.get("model", {}), of_dataset["model_by_dataset"])
    base = _laid_over({"model": model, "training": of_dataset["training"]}, experiment)
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
    """Yield settings that an experiment (or a point of its sweep) writes and that a switch of its method makes useless.

    experiment: the section as written. full: the same section, resolved. Inherited weights are not reported, because
    they are no mistake of the experiment.
    """
    if not isinstance(experiment, Mapping) or not isinstance(full, Mapping):
        return
    points = experiment.get("sweep", {}) if isinstance(experiment.get("sweep", {}), Mapping) else {}
    written = [("", experiment, full), *((f"sweep.{p}.", own, full["sweep"].get(str(p))) for p, own in points.items())]
    for place, own, whole in written:
        name = methods.name_in(_at(whole, "model"))
        switched = methods.settings_class(name).switched if name in methods.METHODS else {}
        for key, switch in switched.items():
            value = _at(own, "model", *key.split("."))
            if value and _at(whole, "model", switch) is False:
                yield (
                    f"`{place}model.{key}` is {value} and is never read, because"
                    f" `model.{switch}` is false; leave it out or set it to 0"
                )


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _laid_over(base: Mapping[str, Any], changes: Any) -> Any:
    """Return `changes`, with the model and training of `base` where `changes` says nothing."""
    if not isinstance(changes, Mapping):
        return changes
    model = over_model(base["model"], changes.get("model", {}))
    return {**changes, "model": model, "training": _merged(base["training"], changes.get("training", {}))}


def _of_dataset(sections: Any, experiment: Mapping[str, Any]) -> Any:
    dataset = experiment.get("dataset")
    return sections.get(dataset, {}) if isinstance(sections, Mapping) and isinstance(dataset, str) else {}


def over_model(base: Any, over: Any) -> Any:
    """Return `over` with the settings of `base` under it.

    When `over` names another method it is returned alone, because the keys of the two methods differ.
    """
    if isinstance(over, Mapping) and "name" in over and over["name"] != methods.name_in(base):
        return over
    return _merged(base, over)


def _merged(base: Any, over: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    return {**base, **{key: _merged(base.get(key), value) if key in base else value for key, value in over.items()}}


def complaint(error: Any) -> str:
    """Describe one error of pydantic's in a line: the key, what is wrong, and the value found."""
    path, method = _place(error["loc"])
    key = ".".join(path)
    if error["type"] == "union_tag_invalid":
        return f"`{key}.name`: no such method, known are {', '.join(methods.METHODS)} (found {error['ctx']['tag']!r})"
    if error["type"] == "union_tag_not_found":
        return f"`{key}`: must be a section of keys (found {error['input']!r})"
    if error["type"] == "extra_forbidden":
        return f"`{key}` {_unknown(path, method)}"
    if error["type"] == "missing":
        return f"`{key}` is missing, and it has no default"
    value = "" if isinstance(error["input"], dict) else f" (found {error['input']!r})"
    return f"`{key}`: {error['msg']}{value}".replace("Value error, ", "").replace("``: ", "")


def _unknown(path: Sequence[str], method: str | None) -> str:
    """Describe what is wrong with a key that does not exist. method: the method whose section it stands in."""
    if method is not None:
        return f"is no key of the method {method}"
    if "training" in path and path[-1] in _KEYS_OF_METHODS:
        return f"is no key of `training`: it belongs to the method, write it under `{_under_model(path)}`"
    return "is an unknown key"


_KEYS_OF_METHODS = {key for name in methods.METHODS for key in methods.settings_class(name).model_fields} - {"name"}


def _place(loc: Sequence[str | int]) -> tuple[list[str], str | None]:
    """Return the keys that lead to a value, and the method that a section `model` was read as.

    pydantic puts the name of that method among the keys; here it is removed, because the file does not have it there.
    """
    path = [str(part) for part in loc if part != "[key]"]
    for at, part in enumerate(path[1:], start=1):
        is_model = path[at - 1] == "model" or (at > 1 and path[at - 2] == "model_by_dataset")
        if is_model and part in methods.METHODS:
            return [*path[:at], *path[at + 1 :]], part
    return path, None


def _under_model(path: Sequence[str]) -> str:
    """Return where a key of `training` that belongs to the method must stand: in the experiment, or for the dataset."""
    at = list(path).index("training")
    return ".".join([*path[:at], "model", *path[at + 1 :]] if at else ["model_by_dataset", *path[1:]])
