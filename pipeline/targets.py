"""The names of the workflow's targets. Rules of these names only collect files, and have no job of their own."""

from __future__ import annotations

TABLES = ("table1", "table2", "table3", "table4")
TARGETS = ("all_tables", *TABLES, "peers", "evidence", "annotations", "figures", "report", "leaderboards")
"""All targets. `experiment_NAME` for every experiment is one, too."""
