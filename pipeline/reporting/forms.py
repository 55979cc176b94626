"""The forms in which every table is written: for a program, a repository, a paper, a browser and a terminal."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.reporting import render
from pipeline.reporting.page.tables import to_html
from pipeline.reporting.render import Table
from pipeline.reporting.render_latex import to_latex

FORMATS: dict[str, Callable[[Table], str]] = {
    "csv": render.to_csv,
    "md": render.to_markdown,
    "tex": to_latex,
    "html": to_html,
    "txt": render.to_text,
}
"""Ending of a file → how a table is written into it."""
