"""Figures of an experiment: its learning curves and, for a sweep over numbers (λ of Figure 4), the result of each
point.

The same input files give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import files, provenance, stage_requests
from pipeline.config import Experiment
from pipeline.errors import PipelineError
from pipeline.evaluation.selection import selected
from pipeline.layout.places import RunFile
from pipeline.layout.runs import CARD, EVERYTHING, LOG, RunId
from pipeline.manifests import files_of
from pipeline.nouns import counted
from pipeline.reporting import published
from pipeline.reporting.reproduced import METRIC_OF, evaluations
from pipeline.stage_settings import Draw
from pipeline.stages import StageJob

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLUMNS = 5
COLOUR, SECOND, PUBLISHED_COLOUR = "#0072b2", "#c14a00", "#3d444d"
"""Colours that people with any kind of sight can tell apart (after Okabe and Ito)."""
COLUMN_OF = {metric: column for column, metric in METRIC_OF.items()}
PANEL_INCHES = (2.4, 1.9)


def draw(job: StageJob[Draw]) -> bool:
    """Write {results}/figures/{experiment}.svg and, for a sweep over numbers, {experiment}-sweep.svg.

    Returns whether there was work to do. Raises PipelineError when the manifests of `train` lack a run.
    """
    name, experiment = job.about["experiment"], job.settings.experiment
    layout, runs = job.layout, job.inputs["runs"]

    def work() -> provenance.Outcome:
        logs = _by_run(name, experiment, runs, LOG)
        made = [layout.learning_curves(name)]
        _learning_curves(name, experiment, logs, made[0])
        if (numbers := _numbers(experiment)) and len(numbers) > 1:
            cards = {run: files.read_json(path) for run, path in _by_run(name, experiment, runs, CARD).items()}
            made.append(layout.sweep_curve(name))
            _sweep(name, experiment, numbers, cards, made[1])
        return provenance.Outcome(made, {"runs": len(logs)})

    return provenance.run_request(stage_requests.draw(job), job.manifest, work)


def panels(experiment: Experiment) -> dict[str, list[str]]:
    """Return title → runs of each panel. There is a panel for each sweep point and each domain of TVSum, with all its
    seeds.

    The title is the row of the table, or the name of the point, and the domain.
    """
    found: dict[str, list[str]] = {}
    rows = published.keys_of(experiment) if "{point}" in (experiment.row or "") else {}
    for run in experiment.runs:
        of = RunId.parse(run)
        domain = "" if of.domain == EVERYTHING else of.domain
        found.setdefault(" ".join(filter(None, [rows.get(of.point, of.point), domain])), []).append(run)
    return found


def _learning_curves(name: str, experiment: Experiment, logs: Mapping[str, Path], path: Path) -> None:
    """Draw the selection metric at every evaluation: each seed, their mean, selected epochs, the published number."""
    groups = panels(experiment)
    columns = min(COLUMNS, len(groups))
    figure, axes = _figure(-(-len(groups) // columns), columns)
    for axis, (title, runs) in zip(axes, groups.items(), strict=False):
        curves = {run: curve for run in runs if len(curve := evaluations(logs[run], experiment.dataset))}
        if curves:
            _seeds(axis, curves)
            if (value := published_beside(experiment, RunId.parse(runs[0]))) is not None:
                axis.axhline(value, color=PUBLISHED_COLOUR, linestyle=":", linewidth=1)
                _label(axis, value)
        else:
            axis.text(0.5, 0.5, "not trained: 0 epochs", transform=axis.transAxes, ha="center", color=PUBLISHED_COLOUR)
            axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize="medium")
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    figure.supxlabel("epoch")
    figure.supylabel(f"{experiment.about.selected_by_label} on val, %")
    figure.suptitle(f"{name}: every evaluation on val; dot: selected epoch", fontsize="medium")
    _save(figure, path)


def _seeds(axis: Axes, curves: Mapping[str, pd.Series]) -> None:
    """Draw every seed as a thin line with its selected epoch. For several seeds draw also their mean and range."""
    import pandas as pd  # A job without work draws nothing, and needs no table.

    for run, curve in curves.items():
        epochs, values = curve.index.tolist(), curve.tolist()
        at = selected(values)
        axis.plot(epochs, values, linewidth=0.6 if len(curves) > 1 else 1.2, color=COLOUR, alpha=0.6, label=run)
        axis.plot(epochs[at], values[at], "o", color=COLOUR, markersize=4)
    table = pd.DataFrame(curves).dropna().sort_index()  # the epochs at which every seed was evaluated
    if len(curves) > 1 and len(table):
        means = table.mean(axis=1)
        axis.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=COLOUR, alpha=0.15, linewidth=0)
        axis.plot(means, linewidth=1.6, color=COLOUR)
        end = means.index[-1], means.iloc[-1]
        axis.annotate(f"mean of {len(curves)} seeds", end, (0, -9), textcoords="offset points", ha="right",
                      color=COLOUR, fontsize="small")  # fmt: skip


def published_beside(experiment: Experiment, run: RunId) -> float | None:
    """Return the published number that a learning curve may be compared with.

    This is the number of its row in the metric that selects the epoch, if the paper reports val. Otherwise it is None.
    """
    if not experiment.table or not experiment.report == published.ABOUT[experiment.table].split == "val":
        return None
    key = published.keys_of(experiment).get(run.point)
    column = run.domain if experiment.about.domains else COLUMN_OF.get(experiment.about.selected_by, "")
    values = {row.key: row.values for row in published.known(experiment.table)}.get(key or "", {})
    return float(values[column]) if values.get(column) else None


def _label(axis: Axes, value: float) -> None:
    """Name the line of the published number where it ends."""
    axis.text(0.99, value, "published", transform=axis.get_yaxis_transform(), ha="right", va="bottom",
              color=PUBLISHED_COLOUR, fontsize="small")  # fmt: skip


def _sweep(
    name: str, experiment: Experiment, points: Mapping[str, float], cards: Mapping[str, Any], path: Path
) -> None:
    """Draw the mean over seeds of the selected and of the last epoch against the numbers of the sweep, with their
    range."""
    import pandas as pd

    figure, (axis,) = _figure(1, 1)
    numbers = [points[RunId.parse(run).point] for run in cards]
    for epoch, style, colour in (("selected", "o-", COLOUR), ("last", "s--", SECOND)):
        values = pd.Series([experiment.about.to_percent * card[epoch]["value"] for card in cards.values()])
        of_points = values.groupby(numbers).agg(["mean", "min", "max"])
        axis.fill_between(of_points.index, of_points["min"], of_points["max"], color=colour, alpha=0.15, lw=0)
        axis.plot(of_points["mean"], style, markersize=4, color=colour)
        end = of_points.index[-1], of_points["mean"].iloc[-1]
        axis.annotate(f"{epoch} epoch", end, (0, 5), textcoords="offset points", ha="right", color=colour,
                      fontsize="small")  # fmt: skip
    axis.set(xlabel=keys_of_sweep(experiment), ylabel=f"{experiment.about.selected_by_label} on val, %")
    seeds = f"{len(experiment.seeds)} seeds, band: their range" if len(experiment.seeds) > 1 else "1 seed"
    axis.set_title(f"{name}: {seeds}", fontsize="medium")
    _save(figure, path)


def keys_of_sweep(experiment: Experiment) -> str:
    """Return the keys of the config that the points of a sweep over numbers change."""
    models = [point.model.model_dump() for point in experiment.sweep.values()]
    trainings = [point.training.model_dump() for point in experiment.sweep.values()]
    keys = [key for dumps in (models, trainings) for key in _changed(dumps)]
    return ", ".join(keys) or "point of the sweep"


def _changed(dumps: Sequence[Mapping[str, Any]], prefix: str = "") -> list[str]:
    found = []
    for key, first in dumps[0].items():
        values = [one.get(key) for one in dumps]
        if isinstance(first, dict) and all(isinstance(value, dict) for value in values):
            found += _changed(values, f"{prefix}{key}.")  # type: ignore[arg-type]
        elif any(value != first for value in values):
            found.append(f"{prefix}{key}")
    return found


def _numbers(experiment: Experiment) -> dict[str, float]:
    """Return sweep point → its name as a number, sorted. The result is empty when a name is not a number."""
    try:
        numbers = {point: float(point) for point in experiment.sweep}
    except ValueError:
        return {}
    return dict(sorted(numbers.items(), key=lambda item: item[1])) if all(map(isfinite, numbers.values())) else {}


def _figure(rows: int, columns: int) -> tuple[Any, list[Axes]]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {
        "svg.hashsalt": "pipeline",
        "svg.fonttype": "none",
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    from matplotlib import pyplot as plt

    width, height = PANEL_INCHES if columns > 1 else (4.2, 2.8)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns + 0.4, height * rows + 0.5),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    return figure, list(axes.flat)


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    with files.atomic_path(path) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None})
    plt.close(figure)


def _by_run(name: str, experiment: Experiment, manifests: Sequence[Path], file: str) -> dict[str, Path]:
    """Return run → its file of this name, for all runs of the experiment."""
    listed = [path for manifest in manifests for path in files_of(manifest) if path.name == file]
    found = {of.run: path for path in listed if (of := RunFile.of(path))}
    if missing := [run for run in experiment.runs if run not in found]:
        raise PipelineError(
            f"no {file} of {', '.join(missing)} is listed in the {counted(len(manifests), 'manifest')} named",
            where=name,
            remedy="train these runs, and name the manifests of `train` of all runs",
        )
    return found
