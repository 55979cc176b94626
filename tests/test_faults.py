"""docs/faults.md, cell by cell: each fault happens for real at each stage, and ends as the page says.

`make test-faults` runs it. `make test-faults WRITE=1` writes the page from what happened (`conftest.py`).
"""

from __future__ import annotations

import os

import fault_chain
import pytest
from fault_cells import CELLS
from fault_chain import Chain
from fault_page import PAGE, cells_of

pytestmark = pytest.mark.faults

WRITES = bool(os.environ.get("WRITE"))


@pytest.fixture(scope="session")
def chain(finished):
    """Return the finished small workflow as a chain of commands that are forked from this process."""
    made = Chain.of(finished[0])
    fault_chain.import_all()
    return made


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_fault_ends_as_the_page_says(chain, tmp_path, cell, record_property):
    outcome = cell.outcome(chain.copy(tmp_path / "case"))
    record_property("fault", (cell.fault, cell.place, outcome))
    if not WRITES:
        assert cells_of(PAGE.read_text())[cell.fault, cell.place] == outcome


@pytest.mark.skipif(WRITES, reason="the page is being written")
def test_the_page_has_no_cell_that_does_not_happen():
    assert list(cells_of(PAGE.read_text())) == [(cell.fault, cell.place) for cell in CELLS]
    assert len(CELLS) >= 60
