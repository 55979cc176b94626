"""The data of a table, and its plain forms: CSV, Markdown, and aligned text for a terminal.

The facts behind reproduced numbers (runs, queries, settings) are long and often the same for many lines. So each such
text is written once below the table with a number, and lines refer to this number.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline import csv_file, spreadsheet

WIDTH = 118
"""The width of titles, rules and notes of a table on a terminal, in characters."""

NOTHING = "–"
"""The text in place of a number that does not exist."""

BOLD = "Bold: best published number, underlined: second best, computed within the rows of one kind of feature."
"""The one note that is left out on a terminal."""

FOUND = "What was found"
"""The heading above the sentences of a table."""

ON_TOP = ("published", "yardstick", "group", "paired")
"""Kinds of lines that do not belong to the line above them."""

FACTS = ("luck", "runs", "queries", "source", "settings", "selection", "note")
"""CSV columns with the facts behind reproduced numbers."""


@dataclass(frozen=True)
class Cell:
    """One number of a table. text: for people. plain: for programs that read CSV. mark: `best`, `second` or ''."""

    text: str
    plain: str
    mark: str = ""
    spread: str = ""


@dataclass(frozen=True)
class TableLine:
    """One line of a table.

    kind: `published`; under a published line `reproduced`, `interval`, `difference`, `verdict` or `last epoch`;
    `group`, a heading without cells, above rows that belong together; `yardstick` at the end; `paired` in a matrix of
    differences. label: method or experiment. cells: column → cell; a column without a cell has no number. switches:
    those of Table 4, `yes` or `no`. facts: the facts behind the numbers. remark: a remark about the line. only_csv:
    whether the line is left out of the forms for people, because it is too detailed. starts_group: whether there is a
    rule above it. row: key of the published row that it belongs to. heads: whether a reproduced line stands alone,
    because the table has no published lines.
    """

    kind: str
    label: str
    features: str
    cells: dict[str, Cell]
    switches: Sequence[str] = ()
    facts: dict[str, str] = field(default_factory=dict)
    remark: str = ""
    only_csv: bool = False
    starts_group: bool = False
    row: str = ""
    heads: bool = False

    @property
    def is_on_top(self) -> bool:
        """Tell whether the line does not belong to a line above it."""
        return self.heads or self.kind in ON_TOP

    @property
    def stands_on(self) -> str:
        """The text below the table that belongs to the line, or ''."""
        return self.remark or "; ".join(text for name, text in self.facts.items() if text and name != "luck")


@dataclass(frozen=True)
class Table:
    """A whole table. switches: names of Table 4's extra columns. notes: lines below the table. row_names: headings of
    the column of labels and of the column of remarks. name: the name of its files and of its label in LaTeX. caption:
    the title without the number of the table."""

    title: str
    switches: Sequence[str]
    columns: Sequence[str]
    lines: Sequence[TableLine]
    notes: Sequence[str]
    name: str = "table"
    caption: str = ""
    row_names: tuple[str, str] = ("Method", "Features")

    @property
    def for_people(self) -> list[TableLine]:
        """The lines that people read."""
        return [line for line in self.lines if not line.only_csv]

    @property
    def sentences(self) -> list[str]:
        """The results in words: a sentence for each line of verdicts."""
        return [line.remark for line in self.lines if line.kind == "verdict" and line.remark]

    @property
    def has_luck(self) -> bool:
        """Tell whether a line gives the luck of its selected epoch."""
        return any(line.facts.get("luck") for line in self.lines)

    @property
    def header(self) -> list[str]:
        """The names of the columns of `texts`."""
        return [*self.row_names, *self.switches, *self.columns, *(["Luck"] if self.has_luck else [])]

    def remarks(self) -> dict[str, int]:
        """Return each text of facts → its number below the table."""
        found = dict.fromkeys(line.stands_on for line in self.for_people if line.stands_on)
        return {text: number for number, text in enumerate(found, start=1)}

    def texts(self, line: TableLine) -> list[tuple[str, str]]:
        """Return the texts of a line with their marks, in the order of the header."""
        label = line.label if line.is_on_top else f"↳ {line.label}"
        switches = [{"yes": "✓"}.get(switch, "") for switch in line.switches] or [""] * len(self.switches)
        empty = Cell("" if line.kind == "group" else NOTHING, "")
        cells = (line.cells.get(column, empty) for column in self.columns)
        luck = [line.facts.get("luck", "")] if self.has_luck else []
        words = [(text, "") for text in (label, line.features, *switches)]
        return [*words, *((with_minus(cell.text), cell.mark) for cell in cells), *((text, "") for text in luck)]


def half_width(points: float, decimals: int) -> Cell:
    """Return the cell of half an interval: `±1.23`, or `none` if all videos are equal and it rounds to 0."""
    text = f"{points:.{decimals}f}"
    return Cell(f"±{text}", text) if float(text) else Cell("none", "")


def with_minus(text: str) -> str:
    """Return the text of a cell in which minus signs replace the hyphens before numbers. A minus sign is as wide as a
    plus."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def to_csv(table: Table) -> str:
    """Return CSV text: a header, and one line per line of the table. Numbers are plain, and the spread has its own
    line."""
    rows: list[list[str]] = []
    for line in table.lines:
        start, switches = [line.label, line.features], list(line.switches) or [""] * len(table.switches)
        cells = [line.cells.get(column, Cell("", "")) for column in table.columns]
        facts = [line.facts.get(name, "") for name in FACTS]
        if line.remark:
            facts[-1] = line.remark
        rows.append([line.kind, *start, *switches, *(cell.plain for cell in cells), *facts])
        if any(cell.spread for cell in cells):
            rows.append(["standard deviation", *start, *switches, *(cell.spread for cell in cells), *[""] * len(FACTS)])
    header = ["line", "label", "features", *table.switches, *table.columns, *FACTS]
    return csv_file.text(header, spreadsheet.cells(rows))


def to_markdown(table: Table) -> str:
    """Return Markdown text: the title, a pipe table, and the notes below."""
    emphasis = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    remarks = table.remarks()
    number = {text: f"[{n}]" for text, n in remarks.items()} | {"": ""}
    rows = [
        [
            *(emphasis[mark].format(text.replace("|", r"\|")) for text, mark in table.texts(line)),
            number[line.stands_on],
        ]
        for line in table.for_people
    ]
    header = [*table.header, "Note"]
    alignment = [":--", ":--", *["--:"] * (len(header) - 3), ":--"]
    body = ["| " + " | ".join(row) + " |" for row in [header, alignment, *rows]]
    said = [f"{FOUND}:", "", *(f"- {sentence}" for sentence in table.sentences), ""] if table.sentences else []
    below = [*(f"[{n}] {text}" for text, n in remarks.items()), *table.notes]
    heading = ["Notes:", ""] if said else []
    return "\n".join([f"### {table.title}", "", *body, "", *said, *heading, *(f"- {note}" for note in below)]) + "\n"


def to_text(table: Table) -> str:
    """Return the table as aligned text for a terminal. Marks of the best number are left out."""
    remarks = table.remarks()
    number = {text: f"[{n}]" for text, n in remarks.items()} | {"": ""}
    rows = [[*(text for text, _ in table.texts(line)), number[line.stands_on]] for line in table.for_people]
    shown = [[*table.header, ""], *rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    lines = [_aligned(row, widths) for row in shown]
    rule = "-" * min(WIDTH, max(map(len, lines)))
    body = []
    for line, text in zip(table.for_people, lines[1:], strict=True):
        body += [rule, text] if line.starts_group else [text]
    below = [*(f"[{n}] {text}" for text, n in remarks.items()), *(note for note in table.notes if note != BOLD)]
    said = [f"{FOUND}:", *_wrapped(f"- {sentence}" for sentence in table.sentences), rule] if table.sentences else []
    head = textwrap.wrap(table.title, WIDTH)
    return "\n".join([*head, rule, lines[0], rule, *body, rule, *said, *_wrapped(below)]) + "\n"


def _wrapped(notes: Iterable[str]) -> list[str]:
    return [part for note in notes for part in textwrap.wrap(note, WIDTH, subsequent_indent="    ")]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (text.ljust(w) if i < 2 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True)))
    return "  ".join(cells).rstrip()
