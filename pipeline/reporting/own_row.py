"""Makes a row for a user's own prediction file beside the paper's rows, with intervals and paired tests.

No workflow and no config are needed: the file is scored here, and so is every file that it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline import datasets, files
from pipeline.evaluation import Result, compare, score_files
from pipeline.evaluation.intervals import Comparison, holm, star
from pipeline.evaluation.student import LEVEL
from pipeline.nouns import counted
from pipeline.reporting import published, render, verdict
from pipeline.reporting.forms import FORMATS
from pipeline.reporting.published import ABOUT
from pipeline.reporting.render import NOTHING, Cell, Table, TableLine
from pipeline.reporting.reproduced import METRIC_OF, TOP5, values_of

ALONE = (
    "The lines beneath the last rule are scored here from prediction files. ± is half of the interval over videos, and "
    "differences are paired over videos. The published rows were printed without intervals."
)


def own_table(
    number: int,
    annotations: Path,
    rows: Mapping[str, Path],
    *,
    features: str = "",
) -> Table:
    """Return a table of the paper with the user's own rows at its end.

    rows: name → prediction file. The first is the user's own, and it is compared with the others. features: the text in
    the column of features for the user's own row. Raises PipelineError for files that cannot be scored on the table's
    dataset.
    """
    dataset = next(name for name, about in datasets.DATASETS.items() if number in about.tables)
    results = {name: score_files(dataset, path, annotations) for name, path in rows.items()}
    own, *others = results
    metrics = _metrics(number, dataset)
    pairs = {name: _compared(results[own], results[name], metrics) for name in others}
    stars = _stars(pairs)
    lines = [_published(number, row) for row in published.table(number)]
    for name, result in results.items():
        facts = _facts(number, result, rows[name].name)
        if name == own and pairs:
            facts["note"] = _paired_note(number, pairs, stars)
        cells = _cells(number, dataset, result)
        shown = features if name == own else ""
        lines.append(TableLine("reproduced", name, shown, cells, facts=facts, starts_group=name == own))
        lines.append(TableLine("interval", f"{100 * LEVEL:g} % interval", "", _intervals(number, result)))
        if name in pairs:
            label = f"{own} − {name}"
            lines.append(TableLine("difference", label, "", _differences(number, pairs[name], stars, name)))
    caption = ABOUT[number].subject
    notes = [render.BOLD, ALONE]
    return Table(f"Table {number} and {own}: {caption}", _switches(number), published.columns(number), lines, notes,
                 f"table{number}-own", caption)  # fmt: skip


def write(table: Table, folder: Path) -> list[Path]:
    """Write a table in all its forms, and return the files. Raises PipelineError if they cannot be written."""
    made = []
    for suffix, form in FORMATS.items():
        made.append(folder / f"{table.name}.{suffix}")
        with files.atomic(made[-1]) as file:
            file.write(form(table))
    return made


def _switches(number: int) -> tuple[str, ...]:
    return tuple(published.SWITCHES) if number == 4 else ()


def _metrics(number: int, dataset: str) -> dict[str, str]:
    """Return the community's name of a metric → its column, for metrics that have an interval."""
    if datasets.get(dataset).domains:
        return {TOP5: "Avg."}
    return {METRIC_OF[column]: column for column in published.columns(number)}


def _published(number: int, row: published.Row) -> TableLine:
    marks = published.computed_marks(number)
    cells = {
        column: Cell(row.values[column] or NOTHING, row.values[column], marks.get((row.key, column), ""))
        for column in published.columns(number)
    }
    rows = published.table(number)
    before = rows[rows.index(row) - 1]
    starts_group = row is not rows[0] and published.group(number, row) != published.group(number, before)
    switches = [row.values[switch] for switch in _switches(number)]
    return TableLine("published", row.method, row.features, cells, switches=switches, starts_group=starts_group)


def _cells(number: int, dataset: str, result: Result) -> dict[str, Cell]:
    decimals = ABOUT[number].decimals
    values = values_of(dataset, [result.metrics])
    texts = {column: f"{values[column]:.{decimals}f}" for column in published.columns(number) if column in values}
    return {column: Cell(text, text) for column, text in texts.items()}


def _intervals(number: int, result: Result) -> dict[str, Cell]:
    """Return half of the interval of each number."""
    bounds = result.metrics["intervals"]["percent"]
    found = {}
    for name, column in _metrics(number, result.dataset).items():
        if low_high := bounds.get(name):
            text = f"{(low_high[1] - low_high[0]) / 2:.{ABOUT[number].decimals}f}"
            found[column] = Cell(f"±{text}", text)
    return found


def _facts(number: int, result: Result, file: str) -> dict[str, str]:
    n, expected = result.metrics["n_queries"]["all"], ABOUT[number].queries
    of_videos = bool(result.metrics.get("percent"))
    videos = len({row["video"] for row in result.queries})
    other = "" if n == expected else f" (published: {expected:,}; not the same {'videos' if of_videos else 'queries'})"
    stands_on = counted(n, "video") if of_videos else counted(n, "query")
    return {
        "queries": stands_on + other + ("" if of_videos else f" of {counted(videos, 'video')}"),
        "source": f"scored here from {file}",
        "note": "; ".join(result.metrics["notes"]),
    }


def _compared(a: Result, b: Result, metrics: Mapping[str, str]) -> dict[str, Comparison]:
    """Return column → the paired comparison of two files, for the columns that both have."""
    return {metrics[row.metric]: row for row in compare(a.queries, b.queries, only=metrics)}


def _stars(pairs: Mapping[str, Mapping[str, Comparison]]) -> dict[tuple[str, str], str]:
    """Return (name, column) → `**`, `*` or '', corrected for all comparisons of the table."""
    tests = [(name, column, row.p) for name, found in pairs.items() for column, row in found.items()]
    kept = holm([p for *_, p in tests])
    return {(name, column): star(p, survives) for (name, column, p), survives in zip(tests, kept, strict=True)}


def _differences(
    number: int, found: Mapping[str, Comparison], stars: Mapping[tuple[str, str], str], name: str
) -> dict[str, Cell]:
    texts = {column: verdict.signed(row.difference.value, ABOUT[number].decimals) for column, row in found.items()}
    return {column: Cell(text + stars[name, column], text) for column, text in texts.items()}


def _paired_note(
    number: int, pairs: Mapping[str, Mapping[str, Comparison]], stars: Mapping[tuple[str, str], str]
) -> str:
    decimals = ABOUT[number].decimals
    parts = []
    for name, found in pairs.items():
        texts = []
        for column, row in found.items():
            low, high = row.difference.low, row.difference.high
            interval = "" if low is None or high is None else f" [{low:+.{decimals}f}, {high:+.{decimals}f}]"
            texts.append(f"{column} {verdict.signed(row.difference.value, decimals)}{interval}{stars[name, column]}")
        parts.append(f"minus {name}, paired over videos: {', '.join(texts)}")
    legend = f"* p < 0.05, ** also after Holm's correction for {counted(len(stars), 'comparison')}"
    return render.with_minus("; ".join([*parts, legend]))
