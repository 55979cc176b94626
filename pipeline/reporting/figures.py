"""Figures of an experiment: its learning curves and, for a sweep over numbers (λ of Figure 4), the result of each
point.

The same input files give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import asked, files, provenance
from pipeline.config import Experiment
from pipeline.errors import PipelineError
from pipeline.evaluation.selection import selected
from pipeline.layout import CARD, LOG, RunFile, RunId
from pipeline.reporting.reproduced import evaluations
from pipeline.stage_settings import Draw
from pipeline.stages import StageJob

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 5
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

    return provenance.run_asked(asked.draw(job), job.manifest, work)


def panels(experiment: Experiment) -> dict[str, list[str]]:
    """Return title → runs of each panel. Each sweep point and TVSum domain has a panel, with all its seeds."""
    found: dict[str, list[str]] = {}
    for run in experiment.runs:
        found.setdefault(RunId.parse(run).without_seed, []).append(run)
    return found


def _learning_curves(name: str, experiment: Experiment, logs: Mapping[str, Path], path: Path) -> None:
    """Draw the selection metric at every evaluation, with one line per seed and the selected epoch marked."""
    groups = panels(experiment)
    columns = min(COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    figure, axes = _figure(rows, columns)
    for axis, (title, runs) in zip(axes, groups.items(), strict=False):
        for run in runs:
            points = evaluations(logs[run], experiment.dataset)
            if points:
                epochs, values = zip(*points, strict=True)
                at = selected(values)
                (line,) = axis.plot(epochs, values, linewidth=0.9, label=f"seed {RunId.parse(run).seed}")
                axis.plot(epochs[at], values[at], "o", color=line.get_color(), markersize=4)
        axis.set_title(title, fontsize="medium")
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    figure.supxlabel("epoch")
    figure.supylabel(experiment.about.selected_by_label)
    figure.suptitle(f"{name}: at every evaluation on val; dot: selected epoch", fontsize="medium")
    if len(experiment.seeds) > 1:
        axes[0].legend(frameon=False, fontsize="small")
    _save(figure, path)


def _sweep(
    name: str, experiment: Experiment, points: Mapping[str, float], cards: Mapping[str, Any], path: Path
) -> None:
    """Draw the mean over runs of the selected and of the last epoch against the numbers of the sweep."""
    figure, (axis,) = _figure(1, 1)
    scale = experiment.about.to_percent
    for epoch, style in (("selected", "o-"), ("last", "s--")):
        means = []
        for point in points:
            values = [card[epoch]["value"] for run, card in cards.items() if RunId.parse(run).point == point]
            means.append(scale * sum(values) / len(values))
        axis.plot(list(points.values()), means, style, markersize=4, label=f"{epoch} epoch")
    axis.set(xlabel="swept value", ylabel=experiment.about.selected_by_label)
    axis.set_title(name, fontsize="medium")
    axis.legend(frameon=False, fontsize="small")
    _save(figure, path)


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
    mpl.rcParams |= {"svg.hashsalt": "pipeline", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
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
    """Return run → the named file of it, for all runs of the experiment."""
    listed = [path for manifest in manifests for path in provenance.files_of(manifest) if path.name == file]
    found = {of.run: path for path in listed if (of := RunFile.of(path))}
    if missing := [run for run in experiment.runs if run not in found]:
        raise PipelineError(
            f"no {file} of {', '.join(missing)} is listed in the {len(manifests)} manifests that are named",
            where=name,
            remedy="train these runs, and name the manifests of `train` of all runs",
        )
    return found
