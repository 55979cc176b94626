"""Reads what jobs recorded of their work (`pipeline.work_record`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_work(path: Path, what: str | None = None) -> list[dict[str, Any]]:
    """Return the lines of a record, or those of one kind. The list is empty if nothing was recorded."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if what in (None, line["what"])]
