"""The numbers that the paper prints: every row of Tables 1 to 4, in the paper's order and with its marks.

It also computes the marks, finds the rows that experiments reproduce, and reads further published numbers: rows of
methods that the paper does not compare with, and numbers for which a method's own publication has another value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Literal

from pipeline import csv_file, methods
from pipeline.config import Experiment
from pipeline.errors import PipelineError

PUBLISHED = Path(__file__).with_name("published.csv")
BEYOND = Path(__file__).with_name("beyond.csv")
"""Rows of methods that the paper does not compare with, in the columns of PUBLISHED. Their numbers have no marks."""
REMARKS = Path(__file__).with_name("remarks.csv")
"""Remarks about rows. In a line with `own` this is the number that the method's own publication prints, and `remark`
says how it is known. A line without `own` is a sentence about the whole row."""
FILES = (PUBLISHED, BEYOND, REMARKS)
"""Every file that a table takes published numbers from."""
SWITCHES = {"LGAM": "alignment", "VFR": "refinement", "MR2HD": "mr2hd", "HD2MR": "hd2mr"}
"""Columns of Table 4 that say which modules are on (`yes` or `no`) → the keys of config.yaml's `model`."""


@dataclass(frozen=True)
class About:
    """Facts about a table. decimals: as the paper prints. queries: the number of queries of the published values. ours:
    the row of TR-DETR. headline: the column that sentences name, and by which methods are compared in pairs. note: a
    remark about its protocol. unit: what is counted. It is `video` if the table has a column for each domain, because
    each domain has a video of its own, and `query` otherwise. split: the split of the published values, by its
    name here."""

    subject: str
    decimals: int
    queries: int
    ours: str
    headline: str
    note: str = ""
    unit: Literal["query", "video"] = "query"
    split: Literal["val", "test"] = "val"


ABOUT = {
    1: About(
        "QVHighlights test, moment retrieval and highlight detection",
        2,
        1542,
        "TR-DETR V",
        "mAP Avg.",
        "The ground truth of test is public today: reproduced numbers are scored by ourselves, published ones were by "
        "the competition's server.",
        split="test",
    ),
    2: About("Charades-STA test, moment retrieval", 2, 3720, "TR-DETR SF+C", "R1@0.5"),
    3: About("TVSum val, highlight detection, top-5 mAP of each domain", 1, 10, "TR-DETR V", "Avg.", unit="video"),
    4: About("QVHighlights val, the modules one by one", 2, 1550, "(j)", "mAP Avg."),
}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    key: its name in config.yaml (`row`). features: as the paper prints them, with `+A` where audio is used. values:
    column → number as printed, '' where the paper prints none. marks: column → `best` or `second`.
    """

    key: str
    method: str
    features: str
    values: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)


@cache
def table(number: int) -> tuple[Row, ...]:
    """Return the rows of a table in the paper's order."""
    return _read(PUBLISHED, number)


@cache
def beyond(number: int) -> tuple[Row, ...]:
    """Return the rows of methods that the paper does not compare with, for a table of the paper."""
    return _read(BEYOND, number)


def known(number: int) -> tuple[Row, ...]:
    """Return every row that an experiment may reproduce: those of the paper, and those of `beyond`."""
    return (*table(number), *beyond(number))


def remarks(number: int, keys: Collection[str]) -> list[str]:
    """Return a sentence for every remark about the rows with these keys, in the order of the file."""
    rows = {row.key: row for row in known(number) if row.key in keys}
    return [_remark(rows[line["row"]], line) for line in _lines(REMARKS, number) if line["row"] in rows]


def _remark(row: Row, line: Mapping[str, str]) -> str:
    if not line["own"]:
        return f"{row.key}: {line['remark']}"
    printed = row.values[line["column"]]
    return (
        f"{row.key}, {line['column']}: the paper prints {printed}, and {row.method}'s own publication prints"
        f" {line['own']} ({line['remark']}). Differences and verdicts here are to the paper's number."
    )


def _read(path: Path, number: int) -> tuple[Row, ...]:
    import pandas as pd  # A plan needs only the keys of rows, and this takes half a second.

    lines = pd.DataFrame(_lines(path, number))
    if lines.empty:
        return ()
    columns = lines["column"].unique()  # A row may leave columns out.
    rows = []
    for key, cells in lines.groupby("row", sort=False):
        values = dict.fromkeys(columns, "") | dict(zip(cells["column"], cells["value"], strict=True))
        marked = cells[cells["mark"] != ""]
        marks = dict(zip(marked["column"], marked["mark"], strict=True))
        rows.append(Row(str(key), cells["method"].iloc[0], cells["features"].iloc[0], values, marks))
    return tuple(rows)


def _keys(number: int) -> list[str]:
    """Return the keys of `known`."""
    return list(dict.fromkeys(line["row"] for path in (PUBLISHED, BEYOND) for line in _lines(path, number)))


@cache
def _lines(path: Path, number: int) -> list[dict[str, str]]:
    return [line for line in csv_file.read(path) if line["table"] == str(number)]


def columns(number: int) -> list[str]:
    """Return the columns with numbers, in the paper's order. The switches of Table 4 are not among them."""
    return [column for column in table(number)[0].values if column not in SWITCHES]


def keys_of(experiment: Experiment) -> dict[str, str]:
    """Return sweep point ('' without a sweep) → key of the row that it reproduces."""
    return {point: (experiment.row or "").replace("{point}", point) for point in experiment.sweep or [""]}


def check_rows(experiments: Mapping[str, Experiment], where: str) -> None:
    """Raise one PipelineError for all experiments whose table does not have their row, or whose row belongs to another
    method. They would run, but no table would show them, or one would show them as the results of that method."""
    complaints = []
    for name, experiment in experiments.items():
        keys = _keys(experiment.table) if experiment.table else []
        unknown = [key for key in keys_of(experiment).values() if keys and key not in keys]
        complaints += [
            f"`experiments.{name}.row`: Table {experiment.table} has no row {key!r}, it has "
            + ", ".join(map(repr, get_close_matches(key, keys) or keys))
            for key in unknown
        ]
        complaints += _of_other_methods(name, experiment)
    if complaints:
        remedy = "name a row of that table, or leave `table` out"
        raise PipelineError("; ".join(complaints), where=where, remedy=remedy)


def _of_other_methods(name: str, experiment: Experiment) -> list[str]:
    """Return a complaint for each row that belongs to another method than the one that is trained for it.

    A method without a row in the table may stand in any row, and the table names it there.
    """
    if not experiment.table or experiment.source == "predictions":
        return []
    lines = [line for path in (PUBLISHED, BEYOND) for line in _lines(path, experiment.table)]
    # The first of a name counts: the settings of a new method may be made from those of another one.
    registered = {methods.settings_class(name).printed: name for name in reversed(methods.METHODS)}
    method_of = {line["row"]: registered.get(line["method"]) for line in lines}
    complaints = []
    for point, key in keys_of(experiment).items():
        trained = experiment.sweep[point].model.name if point else experiment.model.name
        own = [row for row, method in method_of.items() if method == trained]
        if own and key in method_of and key not in own:
            complaints.append(
                f"`experiments.{name}.row` is {key!r}, and the method that is trained is {trained}, whose rows are"
                f" {', '.join(map(repr, own))}: correct `row`, or `model: {{name: ...}}`"
            )
    return complaints


def group(number: int, row: Row) -> str:
    """Return the name of the group of rows among which the paper marks the best.

    Rows of a group have similar features; in Table 2 rows with and without audio share a group. The C3D and I3D rows of
    Table 2 are one group, because the paper marks the I3D row of TR-DETR and no C3D row.
    """
    if number != 2:
        return row.features
    return {"C3D": "C3D or I3D", "I3D": "C3D or I3D"}.get(row.features, row.features.removesuffix("+A"))


def computed_marks(number: int) -> dict[tuple[str, str], str]:
    """Return (row key, column) → `best` or `second` by value within each group. Equal values have the same mark."""
    import pandas as pd

    printed = [
        (group(number, row), row.key, column, float(row.values[column]))
        for row in table(number)
        for column in columns(number)
        if row.values[column]
    ]
    cells = pd.DataFrame(printed, columns=["group", "row", "column", "value"])
    rank = cells.groupby(["group", "column"])["value"].rank(method="dense", ascending=False)
    marked = cells.assign(mark=rank.map({1: "best", 2: "second"})).dropna()
    return {(row, column): mark for row, column, mark in marked[["row", "column", "mark"]].itertuples(index=False)}
