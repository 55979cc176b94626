"""A number and its noun agree."""

from __future__ import annotations

import pytest

from pipeline.nouns import counted


@pytest.mark.parametrize(
    ("n", "noun", "said"),
    [
        (0, ("video",), "0 videos"),
        (1, ("video",), "1 video"),
        (2, ("day",), "2 days"),
        (1, ("held-out query",), "1 held-out query"),
        (1550, ("query",), "1,550 queries"),
        (2, ("process", "processes"), "2 processes"),
    ],
)
def test_a_number_and_its_noun_agree(n, noun, said):
    assert counted(n, *noun) == said
