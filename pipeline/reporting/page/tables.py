"""Writes a table of published and reproduced numbers as a page of its own."""

from __future__ import annotations

from pipeline.reporting.page.build import render
from pipeline.reporting.render import Table


def to_html(table: Table) -> str:
    """Return a complete HTML page, which needs no other file."""
    return render("table.html", {"title": table.title, "table": table})
