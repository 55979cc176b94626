"""Names of clip grids: any length from half a second to ten, in one spelling."""

from __future__ import annotations

import pytest

from pipeline.errors import PipelineError
from pipeline.grids import grid_seconds, is_grid


@pytest.mark.parametrize("name", ["2s", "0.5s", "1-6s", "10s", "2.5s", "0.7s", "3s", "1.125s"])
def test_any_length_from_half_a_second_to_ten_names_a_grid(name):
    assert is_grid(name)
    assert 0 < grid_seconds(name) <= 10


@pytest.mark.parametrize(
    "name", ["", "s", "0s", "0.4s", "10.5s", "11s", "2.0s", "02s", "2", "-2s", "1-7s", "2,5s", "0.12345s"]
)
def test_other_lengths_and_other_spellings_name_none(name):
    assert not is_grid(name)
    with pytest.raises(PipelineError, match="no such clip grid"):
        grid_seconds(name)
