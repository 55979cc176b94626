"""Writes a table as LaTeX for a paper: numbers and their spread, a caption, a label, and notes below.

Differences, last epochs and the verdicts of single columns are left out, because the other forms contain them. The
sentences of the table are a paragraph after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.reporting.render import BOLD, FOUND, Table, TableLine

KINDS = ("published", "reproduced", "interval", "group", "yardstick", "paired")
"""The kinds of lines that are written for a paper."""

MANY = 5
"""If a table has more columns than this, the names of columns take two lines, so that it fits."""

PACKAGES = r"% needs \usepackage{booktabs,amssymb}"

TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%_#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}"}
    | {
        "±": r"$\pm$",
        "−": r"$-$",
        "√": r"$\surd$",
        "✓": r"$\checkmark$",
        "↳": r"$\hookrightarrow$",
        "–": "--",
        "·": r"$\cdot$",
        "…": r"\dots{}",
        "λ": r"$\lambda$",
    }
)
SPREAD = r"$\pm$ beneath means: standard deviation over seeds."
INTERVAL = r"$\pm$ beneath a prediction file: half of the 95 \% interval over videos."
EMPHASIS = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}


def to_latex(table: Table) -> str:
    """Return a LaTeX `table` environment for booktabs, which fits in one column of text of 345 points.

    The label is `tab:NAME`, where NAME is that of the table's files. The column of features is left out if all lines
    have the same features.
    """
    lines = [line for line in table.for_people if line.kind in KINDS]
    notes = dict.fromkeys(filter(None, map(_note, lines)))
    numbers = {text: f"\\textsuperscript{{{n}}}" for n, text in enumerate(notes, start=1)} | {"": ""}
    has_features = len({line.features for line in lines if line.kind == "published"}) > 1
    words = ["Method", *(["Features"] if has_features else []), *table.switches]
    body: list[str] = []
    for line in lines:
        body += [r"\midrule"] if line.starts_group else []
        body += _rows(table, line, numbers[_note(line)], has_features=has_features)
    below = [f"{numbers[text]} {_tex(text)}." for text in notes]
    below += [SPREAD] if any(" ± " in cell.text for line in lines for cell in line.cells.values()) else []
    below += [INTERVAL] if any(line.kind == "interval" for line in lines) else []
    in_pairs = any(line.kind == "paired" for line in lines)
    below += [_tex(note) for note in table.notes if note == BOLD or in_pairs]
    text = [
        PACKAGES,
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{_tex(table.caption or table.title)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', table.name)}}}",
        r"\scriptsize\setlength{\tabcolsep}{2pt}",
        rf"\begin{{tabular}}{{@{{}}l{'l' * has_features}{'c' * len(table.switches)}{'r' * len(table.columns)}@{{}}}}",
        r"\toprule",
        " & ".join([*map(_tex, words), *(_heading(name, stacked=len(table.columns) > MANY) for name in table.columns)])
        + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\par\vspace{2pt}\raggedright " + " ".join(below)] if below else []),
        r"\end{table}",
        *_sentences(table),
    ]
    return "\n".join(text) + "\n"


def _sentences(table: Table) -> list[str]:
    """Return the sentences of the table as a paragraph after it, because inside the table they could make it too
    large."""
    if not table.sentences:
        return []
    return [rf"\paragraph{{{FOUND}.}}", *map(_tex, table.sentences)]


def _rows(table: Table, line: TableLine, number: str, *, has_features: bool) -> list[str]:
    """Return a line, and a second line with the spread below its numbers if it has one.

    number: the number of its note, as LaTeX.
    """
    if line.kind == "group":
        return [rf"\multicolumn{{{len(table.header)}}}{{l}}{{\emph{{{_tex(line.label)}}}}} \\"]
    n_words = 2 + len(table.switches)
    texts = table.texts(line)[: n_words + len(table.columns)]
    label = _tex(texts[0][0].replace("↳ ", "")) + number
    indent = "" if line.is_on_top else r"\quad "
    words = [indent + label, *(_tex(text) for text, _ in texts[1:n_words])]
    if not has_features:
        words.pop(1)
    n_cells = len(words)
    if has_features and not words[1]:  # a long name may use the empty column of features
        words[:2] = [rf"\multicolumn{{2}}{{l}}{{{words[0]}}}"]
    if line.kind == "interval":
        return [_spreads(n_cells, [text.removeprefix("±") for text, _ in texts[n_words:]])]
    means = [EMPHASIS[mark].format(_tex(text.partition(" ± ")[0])) for text, mark in texts[n_words:]]
    rows = [" & ".join([*words, *means]) + r" \\"]
    spreads = [text.partition(" ± ")[2] for text, _ in texts[n_words:]]
    return [*rows, _spreads(n_cells, spreads)] if any(spreads) else rows


def _spreads(n_words: int, spreads: Sequence[str]) -> str:
    """Return the line with spreads below numbers. Its first `n_words` columns are empty."""
    cells = [rf"{{\tiny $\pm${_tex(text)}}}" if text[:1].isdigit() else "" for text in spreads]
    return " & ".join([*[""] * n_words, *cells]) + r" \\"


def _note(line: TableLine) -> str:
    """Return the note of a line for a paper: its runs and queries, without schedules and families."""
    told = (line.facts.get(name, "") for name in ("runs", "queries", "source", "selection", "note"))
    return "; ".join(filter(None, told))


def _heading(name: str, *, stacked: bool) -> str:
    """Return the name of a column. stacked: whether it takes two lines."""
    above, mark, below = name.replace("@", " @").partition(" ")
    return rf"\shortstack[r]{{{_tex(above)}\\{_tex(below)}}}" if stacked and mark else _tex(name)


def _tex(text: str) -> str:
    return text.translate(TEX)
