"""The facts behind reproduced numbers, in words: runs, queries, source, settings, selection, and further notes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pipeline import methods
from pipeline.config import Experiment
from pipeline.families import FAMILIES
from pipeline.nouns import counted
from pipeline.reporting import published, verdict
from pipeline.reporting.comparisons import PAIRED, Judged
from pipeline.reporting.published import ABOUT
from pipeline.reporting.reproduced import Reproduced
from pipeline.settings import Strict

SOURCES = {
    "raw": "from raw videos",
    "features": "from released features ({archive})",
    "predictions": "prediction file ({prediction})",
}
ON_REPORTED_SPLIT = "selected on the reported split"


def facts(number: int, row: published.Row, found: Reproduced, judged: Judged) -> dict[str, str]:
    """Return the facts behind reproduced numbers, in the order of the CSV columns."""
    instead = [f"stand-in: {used} for {released}" for used, released in stand_ins(found.experiment).items()]
    experiment, n = found.experiment, found.n_queries
    prediction = experiment.predictions.get(experiment.report, "")
    expected, split = ABOUT[number].queries, ABOUT[number].split
    other = "" if n == expected else f" (published: {expected:,}; not comparable)"
    if experiment.report != split:
        other = f" of {experiment.report} (published: {expected:,} of {split}; not comparable)"
    return {
        "luck": f"{fmean(found.luck):.2f}" if found.luck else "still rising" if found.still_rising else "",
        "runs": "" if experiment.source == "predictions" else _seeds(found.seeds),
        "queries": counted(n, ABOUT[number].unit) + other,
        "source": SOURCES[experiment.source].format(archive=experiment.archive, prediction=prediction),
        "settings": _settings(row, found),
        "selection": _selection(experiment),
        "note": one_line("; ".join(filter(None, [*instead, experiment.note, *found.notes, _paired(judged, found)]))),
    }


def _paired(judged: Judged, found: Reproduced) -> str:
    """Compare the first seed's run with the authors' predictions for the same queries, by the metric that selects."""
    if judged.paired is None:
        return ""
    difference = verdict.paired_text(judged.paired, judged.star(PAIRED))
    ours = found.label if found.experiment.source == "predictions" else f"seed {found.seeds[0]}"
    return f"{ours} - {judged.against}, paired over videos: {difference}"


def _settings(row: published.Row, found: Reproduced) -> str:
    """Return the schedule, the features, and the settings of the network that differ from those of its row, or '' for
    released predictions."""
    features = found.experiment.features
    if found.settings is None or features is None:
        return ""
    training = found.settings.training
    switches = {name: row.values[column] for column, name in published.SWITCHES.items() if column in row.values}
    model = found.settings.model
    fields = type(model).model_fields
    stands_for = type(model).model_validate({name: on for name, on in switches.items() if name in fields})
    other = {
        name: value
        for name, value in model
        # The weights of losses would make the line too long, and the manifest has them.
        if value != getattr(stands_for, name) and not isinstance(value, Strict)
    }
    parts = [
        counted(training.epochs, "epoch"),
        f"batch {training.batch_size}",
        f"learning rate {training.learning_rate:g}",
    ]
    parts += [f"method {model.name}"] if model.name != methods.DEFAULT else []
    parts += [training.precision] if training.precision != "float32" else []
    parts += [f"{name} {str(value).lower()}" for name, value in other.items()]
    return ", ".join([*parts, " + ".join(features.all)])


def one_line(text: str) -> str:
    """Return text of the config without line ends, which would break a cell or a heading."""
    return " ".join(text.split())


def stand_ins(experiment: Experiment) -> dict[str, str]:
    """Return family that was used → the family in whose place it stands, because nobody can make that one again."""
    instead = {family: FAMILIES[family].instead_of for family in experiment.made}
    return {family: released for family, released in instead.items() if released}


def _selection(experiment: Experiment) -> str:
    """Return how the epoch was chosen, or '' for released predictions, for which only their authors know it."""
    if experiment.report == "val":
        return ON_REPORTED_SPLIT
    return "" if experiment.source == "predictions" else "epoch selected on val"


def _seeds(seeds: Sequence[str]) -> str:
    return f"{counted(len(seeds), 'seed')} ({', '.join(seeds)})"
