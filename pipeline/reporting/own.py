"""The table of a user's own dataset: a line for each experiment with mean ± standard deviation over seeds, and
intervals.

There is no published number to compare with, so there is no difference and no verdict. Below the means there is half of
the 95 % interval over videos of the first run. It shows how much the number may change with other videos of the same
kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from pipeline.config import Experiment
from pipeline.errors import PipelineError
from pipeline.layout import OWN_TABLE
from pipeline.nouns import counted
from pipeline.reporting.render import NOTHING, Cell, Table, TableLine, half_width
from pipeline.reporting.reproduced import METRIC_OF, Reproduced, collect

DECIMALS = 2

NOTES = (
    "Numbers are means over seeds (± standard deviation from two seeds on), in per cent, on the split that the"
    " experiment reports.",
    "The line of the 95 % interval has half of the interval over the videos of the reported split, for the run of the"
    " first seed only. A smaller difference of two runs on the same queries can be real. The command `compare` tests"
    " it.",
)


def build(
    name: str, title: str, experiments: Mapping[str, Experiment], metrics: Sequence[Path], runs: Sequence[Path]
) -> Table:
    """Return the table of all experiments of one dataset. name: `own_DATASET`.

    Raises PipelineError if no experiment has numbers.
    """
    found = gather(experiments, metrics, runs)
    columns = [column for column in METRIC_OF if any(column in row.selected for row in found)]
    if not columns:
        raise PipelineError(
            "no experiment has numbers", where=name, remedy="run an experiment of that dataset to its metrics first"
        )
    lines = [line for row in found for line in _lines(row, columns)]
    caption = f"Dataset {name.removeprefix(OWN_TABLE)}"
    return Table(f"{title}, {caption}", (), columns, lines, NOTES, name, caption)


def gather(experiments: Mapping[str, Experiment], metrics: Sequence[Path], runs: Sequence[Path]) -> list[Reproduced]:
    """Return what the table shows, a line for each experiment and point of a sweep."""
    return [row for rows in collect(experiments, metrics, runs, _points).values() for row in rows]


def _points(experiment: Experiment) -> dict[str, str]:
    """Return the points of a sweep, each under its own name. An experiment without a sweep has the point ''."""
    return dict.fromkeys(experiment.sweep or [""], "all")


def _lines(row: Reproduced, columns: Sequence[str]) -> list[TableLine]:
    features = " + ".join(row.experiment.features.all) if row.experiment.features else ""
    lines = [TableLine("reproduced", row.label, features, _means(row, columns), facts=_facts(row), heads=True)]
    if row.half_widths:
        cells = {c: half_width(row.half_widths[c], DECIMALS) for c in columns if c in row.half_widths}
        lines.append(TableLine("interval", "95 % interval", "", cells, remark=f"over {counted(row.n_videos, 'video')}"))
    return lines


def _means(row: Reproduced, columns: Sequence[str]) -> dict[str, Cell]:
    cells = {}
    for column in columns:
        values = row.selected.get(column, [])
        mean = f"{fmean(values):.{DECIMALS}f}" if values else ""
        spread = f"{stdev(values):.{DECIMALS}f}" if len(values) > 1 else ""
        cells[column] = Cell(f"{mean} ± {spread}" if spread else mean or NOTHING, mean, spread=spread)
    return cells


def _facts(row: Reproduced) -> dict[str, str]:
    experiment, n = row.experiment, len(row.seeds)
    training = row.settings.training if row.settings else experiment.training
    model = row.settings.model if row.settings else experiment.model
    return {
        "luck": f"{fmean(row.luck):.2f}" if row.luck else "still rising" if row.still_rising else "",
        "runs": f"{counted(n, 'seed')} ({', '.join(row.seeds)})",
        "queries": counted(row.n_queries, "query"),
        "source": "from raw videos",
        "settings": f"method {model.name}, {counted(training.epochs, 'epoch')}, batch {training.batch_size}",
        "selection": "selected on the reported split" if experiment.report == "val" else "epoch selected on val",
        "note": " ".join("; ".join(filter(None, [experiment.note, *row.notes])).split()),
    }
