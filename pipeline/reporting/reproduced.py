"""The results of our runs for a row of a table: one value per seed and column, and the facts behind the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pipeline import datasets, files
from pipeline.config import Experiment, SweepPoint
from pipeline.errors import PipelineError
from pipeline.evaluation.selection import luck, still_rising
from pipeline.layout import queries_path_of
from pipeline.layout.places import MetricsFile, RunFile
from pipeline.layout.runs import CARD, LOG, RELEASED_RUN, RunId
from pipeline.manifests import files_of_all
from pipeline.nouns import counted
from pipeline.recorded_settings import recorded_settings, skipped_in
from pipeline.reporting import published

if TYPE_CHECKING:
    import pandas as pd

METRIC_OF = {
    "R1@0.5": "MR-full-R1@0.5",
    "R1@0.7": "MR-full-R1@0.7",
    "mAP@0.5": "MR-full-mAP@0.5",
    "mAP@0.75": "MR-full-mAP@0.75",
    "mAP Avg.": "MR-full-mAP",
    "HD mAP": "HL-min-VeryGood-mAP",
    "HIT@1": "HL-min-VeryGood-Hit1",
}
"""Column of Tables 1, 2 and 4 → the community's name. The columns of Table 3 are domains and their mean, `Avg.`."""

TOP5 = "top5-mAP"
"""The metric of each video behind the columns of Table 3. It is the only metric of TVSum with an interval. Tables print
it under `Avg.`, the mean of the columns."""

Scores = dict[str, list[float]]
"""Column → one value per seed, in percent at full precision. A column without values is absent."""


@dataclass
class Reproduced:
    """The runs of one experiment (or of one sweep point) for one row.

    label: the experiment's name, with the point's name if several points belong to the row. settings: the settings of
    the training, from the manifests of the runs; None for released predictions. selected, last: scores of the selected
    and of the last epoch; released predictions have no last epoch. luck: one value per seed, in percent. still_rising:
    runs whose last evaluation is the selected one; they have no luck. n_queries: the number of queries behind the
    values (TVSum: videos; the largest number of any seed). half_widths: column → half of the 95 % interval over videos,
    of the first run. queries: per-query results of that run. notes: remarks of the scorer, each once.
    """

    label: str
    experiment: Experiment
    settings: SweepPoint | None = None
    selected: Scores = field(default_factory=dict)
    last: Scores = field(default_factory=dict)
    luck: list[float] = field(default_factory=list)
    still_rising: int = 0
    seeds: list[str] = field(default_factory=list)
    n_queries: int = 0
    half_widths: dict[str, float] = field(default_factory=dict)
    n_videos: int = 0
    queries: Path | None = None
    notes: list[str] = field(default_factory=list)


def collect(
    experiments: Mapping[str, Experiment],
    metrics: Iterable[Path],
    runs: Iterable[Path],
    keys_of: Callable[[Experiment], Mapping[str, str]] = published.keys_of,
) -> dict[str, list[Reproduced]]:
    """Return row key → what was reproduced for it, in the order of the experiments.

    keys_of: a function that returns the sweep points of an experiment ('' without a sweep), each with the key of its
    row. metrics, runs: manifests of the score and train stages. An experiment that they do not list is left out. The
    settings of a run come from the manifest of its training, never from `experiments`. Raises PipelineError for a
    metrics file without the numbers of its dataset, and as `recorded_settings` does.
    """
    runs = list(runs)
    scored = {of_run: path for path in files_of_all(metrics) if (of_run := MetricsFile.of(path))}
    of_runs = {path: of for path in files_of_all(runs) if (of := RunFile.of(path))}
    logs = {of: path for path, of in of_runs.items() if path.name == LOG}
    cards = {of: path for path, of in of_runs.items() if path.name == CARD}
    rows: dict[str, list[Reproduced]] = {}
    for name, experiment in experiments.items():
        keys = keys_of(experiment)
        for point, key in keys.items():
            several = list(keys.values()).count(key) > 1
            found = Reproduced(f"{name} {point}" if several else name, experiment)
            _add_runs(found, name, _runs_by_seed(experiment, point), scored, logs)
            if found.selected and experiment.source != "predictions":
                made_with = recorded_settings(name, experiment, runs)
                # All runs of a point have the same settings, because each was compared with what the point asks for.
                found.settings = made_with[next(iter(_runs_by_seed(experiment, point).values()))[0]]
            of_runs_here = _cards_of(name, experiment, point, cards)
            found.notes += [*_skipped_in_training(experiment, of_runs_here), *_filled(of_runs_here)]
            if found.selected:
                rows.setdefault(key, []).append(found)
    return rows


def _add_runs(
    found: Reproduced,
    name: str,
    runs_by_seed: Mapping[str, Sequence[str]],
    scored: Mapping[MetricsFile, Path],
    logs: Mapping[RunFile, Path],
) -> None:
    experiment = found.experiment
    for seed, runs in runs_by_seed.items():
        split = experiment.report
        selected = [scored[k] for run in runs if (k := MetricsFile(name, run, split, "selected")) in scored]
        if not selected:
            continue
        found.seeds.append(seed)
        contents = [_read(path, experiment.dataset) for path in selected]
        _add(found.selected, values_of(experiment.dataset, contents))
        last = [scored[k] for run in runs if (k := MetricsFile(name, run, split, "last")) in scored]
        _add(found.last, values_of(experiment.dataset, [_read(path, experiment.dataset) for path in last]))
        curves = [curve(logs[key], experiment.dataset) for run in runs if (key := RunFile(name, run)) in logs]
        found.still_rising += sum(map(still_rising, curves))
        of_runs = [luck(values) for values in curves]
        if any(map(math.isfinite, of_runs)):
            found.luck.append(fmean(filter(math.isfinite, of_runs)))
        found.notes = list(dict.fromkeys([*found.notes, *(note for m in contents for note in m.get("notes", ()))]))
        found.n_queries = max(found.n_queries, sum(metrics["n_queries"]["all"] for metrics in contents))
        if len(found.seeds) == 1 and not experiment.about.domains:
            found.queries = queries_path_of(selected[0])
            _add_intervals(found, contents[0])


def _cards_of(name: str, experiment: Experiment, point: str, cards: Mapping[RunFile, Path]) -> list[dict[str, Any]]:
    """Return the content of the cards of a point's runs, for cards that exist."""
    of_runs = (RunFile(name, run) for runs in _runs_by_seed(experiment, point).values() for run in runs)
    return [files.read_json(cards[of], files.MADE_HERE) for of in of_runs if of in cards]


def _filled(cards: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one sentence that says how many videos have released rows in place of rows made here, or nothing."""
    filled = [card["filled"] for card in cards if card.get("filled")]
    if not filled:
        return []
    vids = {split: set().union(*(one["vids"][split] for one in filled)) for split in ("train", "val", "others")}
    n_videos = len(set().union(*vids.values()))
    by_split = ", ".join(f"{split} {len(found):,}" for split, found in vids.items())
    return [f"released rows of {filled[0]['archive']} fill {counted(n_videos, 'missing video')} ({by_split})"]


def _skipped_in_training(experiment: Experiment, contents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one sentence about the queries of train that the runs did not learn from, or nothing if there are none.
    contents: the cards of the runs."""
    n_seeds = len(experiment.seeds)
    without = sum(len(skipped_in(card).get("train", ())) for card in contents) // n_seeds
    learned = sum(card.get("n_train", 0) for card in contents) // n_seeds
    return [f"trained on {learned:,} of {counted(learned + without, 'query')}"] if without else []


def curve(log: Path, dataset: str) -> list[float]:
    """Return the selection metric at every evaluation of a run, in percent."""
    values: list[float] = evaluations(log, dataset).tolist()
    return values


def evaluations(log: Path, dataset: str) -> pd.Series:
    """Return epoch → selection metric (percent) of every evaluation of a run, from its `log.csv`.

    It is empty for a run of 0 epochs, whose log has no row. Raises PipelineError if the log cannot be read.
    """
    import pandas as pd  # This takes half a second, and a job without work needs no table.

    column, scale = datasets.get(dataset).selected_by, datasets.get(dataset).to_percent
    try:
        with files.open_text(log) as file:
            table = pd.read_csv(file, index_col="epoch")
    except pd.errors.EmptyDataError:
        return pd.Series(dtype=float)
    except OSError as error:
        raise files.cannot_read(log, error) from error
    return scale * table[column].dropna() if column in table else pd.Series(dtype=float)


def _runs_by_seed(experiment: Experiment, point: str) -> dict[str, list[str]]:
    """Return seed → runs of a sweep point ('' without a sweep). TVSum has one run per domain."""
    if experiment.source == "predictions":
        return {"": [RELEASED_RUN]}
    seeds: dict[str, list[str]] = {str(seed): [] for seed in experiment.seeds}
    for run in experiment.runs:
        of = RunId.parse(run)
        if point in ("", of.point):
            seeds[str(of.seed)].append(run)
    return seeds


def _read(path: Path, dataset: str) -> dict[str, Any]:
    """Read a metrics file. Raises PipelineError when it lacks a key that every metrics file has."""
    metrics: dict[str, Any] = files.read_json(path, files.MADE_HERE)
    try:
        dict(metrics["unrounded"]["brief"]), int(metrics["n_queries"]["all"])
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"is no metrics file of {dataset}: it lacks {error}, which every metrics file has",
            where=path,
            remedy="delete it, and run `evaluate` again",
        ) from error
    return metrics


def values_of(dataset: str, contents: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return column → value in percent of one seed, from its metrics files.

    The files of all domains make one row; without all of them there is no average.
    """
    domains = datasets.get(dataset).domains
    values: dict[str, float] = {}
    for metrics in contents:
        brief = metrics["unrounded"]["brief"]
        if domains:
            values |= {domain: 100 * brief[domain] for domain in domains if domain in brief}
        else:
            values |= {column: brief[name] for column, name in METRIC_OF.items() if brief.get(name) is not None}
    if domains and all(domain in values for domain in domains):
        values["Avg."] = fmean(values[domain] for domain in domains)
    return values


def _add(scores: Scores, values: Mapping[str, float]) -> None:
    for column, value in values.items():
        scores.setdefault(column, []).append(value)


def _add_intervals(found: Reproduced, metrics: Mapping[str, Any]) -> None:
    block = metrics.get("intervals") or {"percent": {}, "videos": 0}
    found.n_videos = block["videos"]
    for column, name in METRIC_OF.items():
        low_high = block["percent"].get(name)
        if low_high and all(map(math.isfinite, low_high)):
            found.half_widths[column] = (low_high[1] - low_high[0]) / 2
