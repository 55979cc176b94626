"""What docs/ says of families is what the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.families import FAMILIES

FEATURES = (Path(__file__).resolve().parents[1] / "docs/features.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_stands_in_the_features_page_with_its_width(family):
    rows = [line for line in FEATURES.splitlines() if line.startswith("|") and f"`{family}`" in line]
    widths = {
        int(width)
        for row in rows
        for width in row.rsplit("|", 2)[1].replace("+", ";").split(";")
        if width.strip().isdigit()
    }
    assert FAMILIES[family].dim in widths | {sum(widths)}


def test_every_weight_file_stands_in_the_features_page():
    names = {name for kind in FAMILIES.values() for name in kind.weights}
    assert {name for name in names if f"`{name}`" not in FEATURES} == set()
