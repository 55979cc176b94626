"""Combines the keys of an experiment with the defaults of its dataset and of the file, and describes what does not fit.

This works on the file's raw keys, before they are validated (`pipeline/config.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pipeline import methods
from pipeline.datasets import DATASETS
from pipeline.methods.settings import MethodSettings


def resolved(raw: Mapping[str, Any], experiment: Any, of_all: Mapping[str, Any]) -> Any:
    """Return an experiment in which missing keys are taken from its dataset and from the file. The missing keys of a
    sweep point are taken from the experiment.

    of_all: keys at the top of the file that experiments without a value of their own inherit. Raises ValueError for a
    name of a sweep point that is neither text nor a number.
    """
    if not isinstance(experiment, Mapping):
        return experiment
    of_dataset = {key: _of_dataset(raw.get(key), experiment) for key in ("training", "model_by_dataset")}
    model = over_model(raw.get("model", {}), of_dataset["model_by_dataset"])
    trainings = [of_dataset["training"], experiment.get("training", {})]
    base = _laid_over(model, trainings[:1], experiment, experiment)
    sweep = experiment.get("sweep", {})
    if isinstance(sweep, Mapping):
        for point in sweep:
            if isinstance(point, bool) or not isinstance(point, str | int | float):
                raise ValueError(f"`sweep`: YAML reads a point's name as {point!r}; write the name in quotes")  # noqa: TRY004
        if len({str(point) for point in sweep}) < len(sweep):
            raise ValueError(f"`sweep`: two points have the same name (of {', '.join(map(repr, sweep))})")
        sweep = {str(p): _laid_over(base["model"], trainings, changes, experiment) for p, changes in sweep.items()}
    return {**of_all, **base, "sweep": sweep}


def unread_settings(experiment: Any, full: Any) -> Iterator[str]:
    """Yield the settings that an experiment (or a point of its sweep) writes and that nothing reads.

    Some keys of a method are read only if a switch is on, and a method does not read some keys of `training`.
    experiment: the section as written. full: the same section, resolved. Inherited settings are not reported, because
    they are no mistake of the experiment.
    """
    if not isinstance(experiment, Mapping) or not isinstance(full, Mapping):
        return
    points = experiment.get("sweep", {}) if isinstance(experiment.get("sweep", {}), Mapping) else {}
    written = [("", experiment, full), *((f"sweep.{p}.", own, full["sweep"].get(str(p))) for p, own in points.items())]
    for place, own, whole in written:
        if experiment.get("source") == "predictions":
            yield from _without_training(place, own)
            continue
        kind = _settings_class(_at(whole, "model"))
        if kind is None:
            continue
        for key, why in _passed_over(kind, experiment).items():
            if isinstance(_at(own, "training"), Mapping) and key in own["training"]:
                yield f"`{place}training.{key}` is never read, because {why}; leave it out"
        for key, switch in kind.switched.items():
            value = _at(own, "model", *key.split("."))
            if value and _at(whole, "model", switch) is False:
                yield (
                    f"`{place}model.{key}` is {value} and is never read, because"
                    f" `model.{switch}` is false; leave it out or set it to 0"
                )


def _without_training(place: str, own: Any) -> Iterator[str]:
    """Yield the settings of an experiment that only scores predictions. It may name the method that made them."""
    for section in ("model", "training"):
        written = _at(own, section)
        for key in sorted(written.keys() - {"name"}) if isinstance(written, Mapping) else ():
            yield (
                f"`{place}{section}.{key}` is never read, because `source: predictions` trains nothing; leave it out"
            )


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _laid_over(model: Any, trainings: Sequence[Any], changes: Any, experiment: Mapping[str, Any]) -> Any:
    """Return `changes`. Keys of model and training that it lacks are inherited.

    trainings: the sections `training` that are inherited; later ones take precedence. Keys that the method never reads
    are not inherited. The values of the method's released system have the lowest precedence.
    """
    if not isinstance(changes, Mapping):
        return changes
    model = over_model(model, changes.get("model", {}))
    kind = _settings_class(model)
    passed_over, training = _passed_over(kind, experiment), _released_training(kind, experiment)
    for section in trainings:
        training = _merged(training, _without(section, passed_over))
    return {**changes, "model": model, "training": _merged(training, changes.get("training", {}))}


def _settings_class(model: Any) -> type[MethodSettings] | None:
    """Return the settings class of the method that a section `model` names, or None if there is no such method."""
    name = methods.name_in(model)
    return methods.settings_class(name) if name in methods.METHODS else None


def _passed_over(kind: type[MethodSettings] | None, experiment: Mapping[str, Any]) -> Mapping[str, str]:
    dataset = _dataset(experiment)
    return kind.ignored_training_keys(dataset) if kind and dataset else {}


def _released_training(kind: type[MethodSettings] | None, experiment: Mapping[str, Any]) -> Any:
    dataset = _dataset(experiment)
    return kind.released_training(dataset) if kind and dataset else {}


def _dataset(experiment: Mapping[str, Any]) -> str | None:
    """Return the dataset of an experiment, or None if there is no such dataset."""
    name = experiment.get("dataset")
    return name if isinstance(name, str) and name in DATASETS else None


def _without(section: Any, keys: Collection[str]) -> Any:
    return {k: v for k, v in section.items() if k not in keys} if isinstance(section, Mapping) else section


def _of_dataset(sections: Any, experiment: Mapping[str, Any]) -> Any:
    dataset = experiment.get("dataset")
    return sections.get(dataset, {}) if isinstance(sections, Mapping) and isinstance(dataset, str) else {}


def over_model(base: Any, over: Any) -> Any:
    """Return `over`. Settings that it lacks are taken from `base`.

    If `over` names another method, nothing is taken from `base`, because the keys of the two methods differ.
    """
    if isinstance(over, Mapping) and "name" in over and over["name"] != methods.name_in(base):
        return over
    return _merged(base, over)


def _merged(base: Any, over: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    return {**base, **{key: _merged(base.get(key), value) if key in base else value for key, value in over.items()}}


_NO_SECTION = ("model_type", "model_attributes_type", "dict_type")
"""pydantic's names of the error that something else stands where a section of keys must be."""


def complaint(error: Any) -> str:
    """Describe one error of pydantic's in a line: the key, what is wrong, and the value found."""
    path, method = _place(error["loc"])
    key = ".".join(path)
    if error["type"] == "union_tag_invalid":
        return f"`{key}.name`: no such method, known are {', '.join(methods.METHODS)} (found {error['ctx']['tag']!r})"
    if error["type"] == "union_tag_not_found" or error["type"] in _NO_SECTION:
        return f"`{key}`: must be a section of keys (found {error['input']!r})"
    if error["type"] == "string_type":
        return f"`{key}`: must be text; a number that is a name needs quotes (found {error['input']!r})"
    if error["type"] == "extra_forbidden":
        return f"`{key}` {_unknown(path, method)}"
    if error["type"] == "missing":
        return f"`{key}` is missing, and it has no default"
    value = "" if isinstance(error["input"], dict) else f" (found {error['input']!r})"
    return f"`{key}`: {error['msg']}{value}".replace("Value error, ", "").replace("``: ", "")


def _unknown(path: Sequence[str], method: str | None) -> str:
    """Describe what is wrong with a key that does not exist. method: the method in whose section it was written."""
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
