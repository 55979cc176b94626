"""A table is written in several forms: CSV, Markdown, LaTeX, HTML, and aligned text for a terminal."""

from __future__ import annotations

import csv
import html
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

NOTHING = "–"
"""The text in place of a number that does not exist."""

BOLD = "Bold: best published number, underlined: second best, computed within the rows of one kind of feature."
"""The one note that is left out on a terminal."""

AT_THE_LEFT = ("published", "yardstick", "group", "paired")
"""Kinds of lines that belong under no line above them."""

FACTS = ("luck", "runs", "queries", "source", "settings", "selection", "note")
"""CSV columns that say what reproduced numbers stand on."""


@dataclass(frozen=True)
class Cell:
    """One number of a table. text: as people read it. plain: as a CSV reader needs it. mark: `best`, `second` or ''."""

    text: str
    plain: str
    mark: str = ""
    spread: str = ""


@dataclass(frozen=True)
class TableLine:
    """One line of a table.

    kind: `published`; under a published line `reproduced`, `difference`, `verdict` or `last epoch`; `group` above rows
    that belong together, which has no cells; `yardstick` at the end; `paired` in a matrix of differences. label: method
    or experiment. cells: column → cell; a column without a cell has no number. switches: those of Table 4, `yes` or
    `no`. facts: what the numbers stand on. remark: words at the end of the line. only_csv: whether the line is left out
    of the forms for people, because it is too detailed.
    """

    kind: str
    label: str
    features: str
    cells: dict[str, Cell]
    switches: Sequence[str] = ()
    facts: dict[str, str] = field(default_factory=dict)
    remark: str = ""
    only_csv: bool = False


@dataclass(frozen=True)
class Table:
    """A whole table. switches: names of Table 4's extra columns. notes: lines under the table."""

    title: str
    switches: Sequence[str]
    columns: Sequence[str]
    lines: Sequence[TableLine]
    notes: Sequence[str]


def to_csv(table: Table) -> str:
    """Return CSV text: a header, and one line per line of the table. Numbers are plain, and the spread has its own
    line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["line", "label", "features", *table.switches, *table.columns, *FACTS])
    for line in table.lines:
        start, switches = [line.label, line.features], list(line.switches) or [""] * len(table.switches)
        cells = [line.cells.get(column, Cell("", "")) for column in table.columns]
        facts = [line.facts.get(name, "") for name in FACTS]
        if line.remark:
            facts[-1] = line.remark
        writer.writerow([line.kind, *start, *switches, *(cell.plain for cell in cells), *facts])
        if any(cell.spread for cell in cells):
            writer.writerow(
                ["standard deviation", *start, *switches, *(cell.spread for cell in cells), *[""] * len(FACTS)]
            )
    return buffer.getvalue()


def to_markdown(table: Table) -> str:
    """Return Markdown text: the title, a pipe table, and the notes below."""
    emphasis = {"best": "**{}**", "second": "<u>{}</u>", "": "{}", None: "{}"}
    rows = [
        [emphasis[mark].format(text.replace("|", r"\|")) for text, mark in _texts(table, line)]
        for line in _for_people(table)
    ]
    header = _header(table)
    body = ["| " + " | ".join(row) + " |" for row in [header, [":--", *["--:"] * (len(header) - 2), ":--"], *rows]]
    return "\n".join([f"### {table.title}", "", *body, "", *(f"- {note}" for note in table.notes)]) + "\n"


def to_latex(table: Table) -> str:
    """Return a LaTeX `table` environment for booktabs. It is wide: use `table*` or a landscape page in narrow text."""
    emphasis = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}", None: "{}"}
    header = _header(table)
    lines = [
        r"% needs \usepackage{booktabs} and, for Table 4, \usepackage{amssymb}",
        r"\begin{table}",
        rf"\caption{{{_tex(table.title)}}}",
        r"\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 2)}p{{0.3\linewidth}}}}",
        r"\toprule",
        " & ".join(map(_tex, header)) + r" \\",
        r"\midrule",
    ]
    lines += [
        (r"\midrule " if line.kind == "group" else "")
        + " & ".join(emphasis[mark].format(_tex(text)) for text, mark in _texts(table, line))
        + r" \\"
        for line in _for_people(table)
    ]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par {_tex(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_html(table: Table) -> str:
    """Return a complete HTML page."""
    emphasis = {"best": "<b>{}</b>", "second": "<u>{}</u>", "": "{}", None: "{}"}
    head = "".join(f"<th>{html.escape(name)}</th>" for name in _header(table))
    body = "\n".join(
        f'<tr class="{line.kind.split()[0]}">'
        + "".join(f"<td>{emphasis[mark].format(html.escape(text))}</td>" for text, mark in _texts(table, line))
        + "</tr>"
        for line in _for_people(table)
    )
    notes = "\n".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    title = html.escape(table.title)
    return PAGE.format(title=title, head=head, body=body, notes=notes)


TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%_#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {
        "±": r"$\pm$",
        "√": r"$\surd$",
        "✓": r"$\checkmark$",
        "↳": r"$\hookrightarrow$",
        "–": "--",
        "·": r"$\cdot$",
        "…": r"\dots{}",
    }
)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }}
h1 {{ font-size: 17px; max-width: 60em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 3px 9px; text-align: right; white-space: nowrap; }}
th {{ border-top: 2px solid; border-bottom: 1px solid; }}
tr:last-child td {{ border-bottom: 2px solid; }}
th:first-child, td:first-child, th:last-child, td:last-child {{ text-align: left; }}
td:last-child {{ white-space: normal; min-width: 22em; font-size: 12px; }}
tr.group td {{ border-top: 1px solid; font-style: italic; }}
tr.reproduced td {{ background: #eef4fb; }}
tr.difference td, tr.last td {{ background: #f7fafd; color: #555; }}
ul {{ max-width: 70em; color: #555; font-size: 12px; }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
<ul>
{notes}
</ul>
</body>
</html>
"""


def terminal(markdown: str, width: int = 118) -> str:
    """Return the Markdown of a table as aligned text. What numbers stand on is printed below it, numbered."""
    title, *lines = markdown.splitlines()
    rows = [[_unmarked(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]
    header, body = rows[0], rows[2:]
    remarks = list(dict.fromkeys(row[-1] for row in body if row[-1]))
    number = {remark: f"[{i}]" for i, remark in enumerate(remarks, start=1)} | {"": ""}
    shown = [[*header[:-1], ""], *([*row[:-1], number[row[-1]]] for row in body)]
    widths = [max(len(row[i]) for row in shown) for i in range(len(header))]
    text = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in shown
    ]
    rule = "-" * min(width, max(map(len, text)))
    below = [f"{number[remark]} {remark}" for remark in remarks]
    below += [line.removeprefix("- ") for line in lines if line.startswith("- ") and BOLD not in line]
    wrapped = [part for line in below for part in textwrap.wrap(line, width, subsequent_indent="    ")]
    head = textwrap.wrap(title.lstrip("# "), width)
    return (
        "\n".join([*head, rule, text[0].rstrip(), rule, *(line.rstrip() for line in text[1:]), rule, *wrapped]) + "\n"
    )


def to_text(table: Table) -> str:
    """Return the table as text for a terminal."""
    return terminal(to_markdown(table))


FORMATS: dict[str, Callable[[Table], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "tex": to_latex,
    "html": to_html,
    "txt": to_text,
}


def _header(table: Table) -> list[str]:
    luck = ["Luck"] if _has_luck(table) else []
    return ["Method", "Features", *table.switches, *table.columns, *luck, "Stands on"]


def _has_luck(table: Table) -> bool:
    return any(line.facts.get("luck") for line in table.lines)


def _for_people(table: Table) -> list[TableLine]:
    return [line for line in table.lines if not line.only_csv]


def _texts(table: Table, line: TableLine) -> list[tuple[str, str | None]]:
    """Return the texts of a line with their marks, and None for cells that are not numbers."""
    label = line.label if line.kind in AT_THE_LEFT else f"↳ {line.label}"
    switches = [{"yes": "✓"}.get(switch, "") for switch in line.switches] or [""] * len(table.switches)
    empty = Cell("" if line.kind == "group" else NOTHING, "")
    numbers: list[tuple[str, str | None]] = [
        (cell.text, cell.mark) for cell in (line.cells.get(column, empty) for column in table.columns)
    ]
    stands_on = line.remark or "; ".join(v for name, v in line.facts.items() if v and name != "luck")
    start = [(text, None) for text in (label, line.features, *switches)]
    luck = [(line.facts.get("luck", ""), None)] if _has_luck(table) else []
    return [*start, *numbers, *luck, (stands_on, None)]


def _tex(text: str) -> str:
    minus = "$-$" if re.fullmatch(r"-[0-9.]+", text) else ""
    return minus + text.translate(TEX)[bool(minus) :]


def _unmarked(text: str) -> str:
    return re.sub(r"\*\*|</?u>", "", text).replace(r"\|", "|").strip()
