"""Makes Tables 1 to 4: every row of the paper with its published numbers, and our numbers below each row that has runs.
A row without runs shows only published numbers. Below a row with runs there is a line of reproduced numbers, a line of
differences and, if the epoch was selected on the reported split, a line of the last epoch's numbers. Below the table
there is a sentence for each of these results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import TypeVar

from pipeline import datasets, files, provenance, records, stage_requests
from pipeline.config import Experiment
from pipeline.errors import PipelineError
from pipeline.evaluation.yardsticks import yardsticks
from pipeline.layout import OWN_TABLE, Layout
from pipeline.manifests import files_of, refuse_damaged
from pipeline.nouns import counted
from pipeline.recorded_settings import check_chain
from pipeline.reporting import comparisons, own, paired, paired_forms, published, render, verdict
from pipeline.reporting.comparisons import Judged, Key
from pipeline.reporting.forms import FORMATS
from pipeline.reporting.published import ABOUT
from pipeline.reporting.render import NOTHING, Cell, Table, TableLine, half_width
from pipeline.reporting.reproduced import Reproduced, Scores, collect
from pipeline.reporting.sentences import sentence, summary_of
from pipeline.reporting.stands_on import ON_REPORTED_SPLIT, facts, one_line
from pipeline.stage_settings import Tabulate
from pipeline.stages import StageJob

T = TypeVar("T")

BEYOND = "beyond the paper"
"""The heading above rows of methods that the paper does not compare with."""
LEGEND = (
    "↳ reproduced numbers: means over seeds (± standard deviation from two seeds on); difference = reproduced - "
    "published (with all its digits where the authors' predictions beside it re-derive it). Verdict: does the "
    "published number lie where 95 % of further runs would fall (three seeds at least)?"
)
LUCK = (
    "Luck: how far the selected evaluation stands above its neighbours (equally many on each side, five at most), in "
    "points of the metric it was selected by; still rising: the last evaluation is the selected one."
)


def tabulate(job: StageJob[Tabulate]) -> bool:
    """Write a table into {results}/tables/{table}.{csv,md,tex,html,txt}.

    table: `table1` … `table4`, `peers1` … `peers4`, `evidence`, or `own_DATASET` for a user's own dataset.

    A table of `peers` also shows methods that the paper does not compare with, and matrices of paired differences are
    written beside it. The annotations are those of TVSum val, for the yardsticks below Table 3. The manifests of
    predictions connect metrics with runs. `evidence` has only the rows with runs, from all tables. Returns whether
    there was work to do. Raises PipelineError when metrics, predictions and runs do not belong together, or when the
    runs were trained with other settings than the experiments have.
    """
    name, settings = job.about["table"], job.settings
    metrics, predictions, runs = (job.inputs[kind] for kind in ("metrics", "predictions", "runs"))

    def work() -> provenance.Outcome:
        check_chain(settings.experiments, metrics, predictions, runs)
        if name.startswith(OWN_TABLE):
            table = own.build(name, settings.title, settings.experiments, metrics, runs)
        else:
            table = build(name, settings.title, settings.experiments, metrics, runs, job.inputs["annotations"])
        made = _written(job.layout, name, table, FORMATS)
        if is_of_peers(name):
            for matrix in paired.matrices(int(name[-1]), settings.title, settings.experiments, metrics):
                made += _written(job.layout, matrix.name, matrix, paired_forms.FORMATS)
            for left in set(job.layout.matrices(int(name[-1]))) - set(made):
                left.unlink()  # A matrix of an earlier config was computed from other runs than the table beside it.
        reproduced = sum(line.kind == "reproduced" for line in table.lines)
        return provenance.Outcome(made, {"lines": len(table.lines), "reproduced": reproduced})

    return provenance.run_request(stage_requests.tabulate(job, published.FILES), job.manifest, work)


def is_of_peers(name: str) -> bool:
    """Tell whether a table also shows the other methods that are trained here."""
    return name.startswith("peers")


def _written(layout: Layout, name: str, table: T, formats: Mapping[str, Callable[[T], str]]) -> list[Path]:
    made = []
    for suffix, write in formats.items():
        made.append(layout.table(name, suffix))
        with files.atomic(made[-1]) as file:
            file.write(write(table))
    return made


def texts(manifest: Path) -> str:
    """Return the text form of the table behind a manifest, for a terminal. Raises PipelineError for any other file, and
    if the text was changed."""
    try:
        found = [path for path in files_of(manifest) if path.suffix == ".txt"]
    except (KeyError, TypeError):
        found = []
    if not found:
        raise PipelineError(
            "is no manifest of a table, because it lists no table as text",
            where=manifest,
            remedy="name the manifest of a table, for example results/tables/table1.json",
        )
    refuse_damaged([manifest], found.__contains__)
    try:
        return "\n".join(path.read_text("utf-8") for path in found)
    except OSError as error:
        raise files.cannot_read(found[0], error) from error


def build(
    name: str,
    title: str,
    experiments: Mapping[str, Experiment],
    metrics: Sequence[Path],
    runs: Sequence[Path],
    annotations: Sequence[Path] = (),
) -> Table:
    """Put a table together as `tabulate` describes.

    Raises PipelineError for a row that the paper does not have, and when there is no row to show.
    """
    published.check_rows(experiments, "--settings")
    numbers = [int(name[-1])] if name != "evidence" else sorted({e.table for e in experiments.values() if e.table})
    if not numbers:
        remedy = "give an experiment with `source: predictions` its `table` and `row`"
        raise PipelineError("none of these experiments is in a table", where=name, remedy=remedy)
    lines: list[TableLine] = []
    notes: list[str] = []
    remarks: list[str] = []
    found, judged = gather(numbers, experiments, metrics, runs)
    for number, rows in found.items():
        marks = published.computed_marks(number)
        group = ""
        shown = [row for row in published.table(number) if name != "evidence" or row.key in rows]
        further = [row for row in published.beyond(number) if is_of_peers(name) or row.key in rows]
        for row in (*shown, *further):
            starts_group = bool(group) and published.group(number, row) != group
            group = published.group(number, row)
            if further and row is further[0]:
                lines.append(TableLine("group", BEYOND, "", {}, starts_group=True))
                starts_group = False
            line = _published_line(number, row, marks, in_evidence=name == "evidence")
            lines.append(replace(line, starts_group=starts_group))
            lines += [
                line
                for of in rows.get(row.key, ())
                for line in _lines_under(number, row, of, judged[row.key, of.label])
            ]
        remarks += published.remarks(number, {row.key for row in (*shown, *further)})
        notes += _resolution(number, rows)
    notes += [*comparisons.note(judged), *remarks]
    lines += _yardstick_lines(annotations)
    caption = "The authors' released predictions, scored here" if name == "evidence" else ABOUT[numbers[0]].subject
    if is_of_peers(name):
        caption += ", with the other methods that are trained here"
    heading = caption if name == "evidence" else f"Table {numbers[0]}: {caption}"
    switches = tuple(published.SWITCHES) if name == "table4" else ()
    columns = list(dict.fromkeys(column for number in numbers for column in published.columns(number)))
    notes = [*(ABOUT[number].note for number in numbers if ABOUT[number].note), *notes, *_legend(lines)]
    return Table(one_line(f"{title}, {heading}"), switches, columns, lines, notes, name, caption)


def gather(
    numbers: Sequence[int], experiments: Mapping[str, Experiment], metrics: Sequence[Path], runs: Sequence[Path]
) -> tuple[dict[int, dict[str, list[Reproduced]]], dict[Key, Judged]]:
    """Return table → row key → what was reproduced for it, and (row key, label) → its verdicts and comparisons."""
    found = {n: collect({key: e for key, e in experiments.items() if e.table == n}, metrics, runs) for n in numbers}
    return found, comparisons.judge(found)


def _yardstick_lines(annotations: Sequence[Path]) -> list[TableLine]:
    """Return the scores of orders of clips that no model made (yardsticks), on the videos of Table 3's annotations.
    Without annotations there are no lines."""
    paths = [path for manifest in annotations for path in files_of(manifest)]
    rows = [row for path in paths for _, row in records.read_jsonl(path)]
    if not rows:
        return []
    lines: list[TableLine] = []
    for name, values in yardsticks(rows).items():
        numbers = {d: v for d, v in values.items() if d != "average"}
        if set(numbers) in [set(dataset.domains) for dataset in datasets.DATASETS.values()]:
            numbers["Avg."] = values["average"]
        cells = {column: Cell(f"{value:.1f}", f"{value:.1f}") for column, value in numbers.items()}
        remark = f"no model; {counted(len(rows), 'video')}"
        lines.append(TableLine("yardstick", name, "", cells, remark=remark, starts_group=not lines))
    return lines


def _legend(lines: Sequence[TableLine]) -> list[str]:
    explained = {render.BOLD: True, LEGEND: any(line.facts for line in lines)}
    explained[LUCK] = any(line.facts.get("luck") for line in lines)
    return [note for note, is_needed in explained.items() if is_needed]


def _published_line(
    number: int, row: published.Row, marks: Mapping[tuple[str, str], str], *, in_evidence: bool
) -> TableLine:
    cells = {
        column: Cell(row.values[column] or NOTHING, row.values[column], marks.get((row.key, column), ""))
        for column in published.columns(number)
    }
    method = f"Table {number}, {row.key}" if in_evidence else row.method
    switches = [row.values[switch] for switch in published.SWITCHES] if number == 4 and not in_evidence else []
    return TableLine("published", method, row.features, cells, switches=switches)


def _lines_under(number: int, row: published.Row, found: Reproduced, judged: Judged) -> list[TableLine]:
    """Return the lines of reproduced numbers, their spread (CSV), differences, verdicts (CSV) and, if the epoch was
    selected on the reported split, the numbers of the last epoch."""
    about, columns = ABOUT[number], published.columns(number)
    lines = [
        TableLine(
            "reproduced",
            found.label,
            "",
            _means(found.selected, columns, about.decimals),
            facts=facts(number, row, found, judged),
            row=row.key,
        ),
        *_interval_line(number, found),
        TableLine(
            "difference", "difference", "", _differences(judged, about.decimals), remark=summary_of(judged, found)
        ),
        TableLine(
            "verdict",
            found.label,
            "",
            {c: Cell(v, v) for c, v in judged.verdicts.items()},
            remark=sentence(number, row, found, judged),
            only_csv=True,
        ),
    ]
    if ON_REPORTED_SPLIT in lines[0].facts.values() and found.last:
        lines.append(TableLine("last epoch", "last epoch", "", _means(found.last, columns, about.decimals)))
    return lines


def _interval_line(number: int, found: Reproduced) -> list[TableLine]:
    """Return half of the 95 % interval over videos of each number, for a prediction file, because it has no seeds."""
    if found.experiment.source != "predictions" or not found.half_widths:
        return []
    widths = {c: width for c, width in found.half_widths.items() if c in found.selected}
    cells = {column: half_width(width, ABOUT[number].decimals) for column, width in widths.items()}
    label = f"95 % interval over {counted(found.n_videos, 'video')}"
    return [TableLine("interval", label, "", cells)]


def _means(scores: Scores, columns: Sequence[str], decimals: int) -> dict[str, Cell]:
    cells = {}
    for column in columns:
        values = scores.get(column, [])
        mean = f"{fmean(values):.{decimals}f}" if values else ""
        spread = f" ± {stdev(values):.{decimals}f}" if len(values) > 1 else ""
        cells[column] = Cell(mean + spread or NOTHING, mean, spread=spread.removeprefix(" ± "))
    return cells


def _differences(judged: Judged, decimals: int) -> dict[str, Cell]:
    """Return reproduced - published, rounded once: subtracting the printed numbers may give another last digit."""
    texts = {column: verdict.signed(value, decimals) for column, value in judged.differences.items()}
    return {column: Cell(text, text) for column, text in texts.items()}


def _resolution(number: int, rows: Mapping[str, Sequence[Reproduced]]) -> list[str]:
    """Return one line with half of the 95 % interval over videos of one file, for each metric of the table. Two files
    on the same queries can be told apart by a smaller difference, because their difference is more certain than each
    number alone. `python -m pipeline compare`, and the notes of a row with released predictions, give this difference.
    """
    found = next((f for f in rows.get(ABOUT[number].ours, ()) if f.half_widths), None)
    if found is None:
        return []
    shown = found.half_widths
    widths = ", ".join(
        f"{column} " + (f"±{shown[column]:.2f}" if round(shown[column], 2) else "none (all videos are equal)")
        for column in published.columns(number)
        if column in shown
    )
    return [
        f"Resolution of the benchmark of Table {number} (half of the 95 % interval of one file alone, over "
        f"{counted(found.n_videos, 'video')}, {counted(found.n_queries, 'query')}, from {found.label}; two files"
        f" on the same queries are told apart by less: `compare`): {widths}."
    ]
