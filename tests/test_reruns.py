"""docs/reruns.md, line by line: the workflow runs for real after each change, and its work is counted.

The lines in which a job fails, and those in which a method or a family is added, are in test_reruns_more.py: two files
are tested side by side.
"""

from __future__ import annotations

import pytest
from changes import A_DEFINITION, A_FAMILY, A_METHOD, ANOTHER_FILE, CHANGES, as_text, costs, matrix

pytestmark = pytest.mark.slow

ALWAYS = ("the same command again", "the learning rate of `seen`")
"""The changes that `make test` makes. `make test-workflow` makes all others."""


def test_the_first_run_does_everything_once(finished):
    assert as_text(finished[1]) == matrix()["the first run"]


def test_a_plan_changes_nothing(finished, tmp_path):
    workflow = finished[0].copy(tmp_path / "case")
    process = workflow.start("-n", RAISED="segment")
    said, _ = process.communicate()
    assert "segment" in said
    assert (workflow.results / "tables/table1.json").is_file()
    assert workflow.run() == {}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, marks=() if change in ALWAYS else pytest.mark.workflow)
        for change in CHANGES
        if "fails" not in change and "job dies" not in change
    ],
)
def test_a_change_costs_what_the_document_says(finished, tmp_path, change):
    assert costs(finished[0].copy(tmp_path / "case"), change) == matrix()[change]


def test_the_document_has_no_line_that_is_not_tested():
    assert list(matrix()) == ["the first run", *CHANGES, A_METHOD, A_FAMILY, A_DEFINITION, ANOTHER_FILE]
