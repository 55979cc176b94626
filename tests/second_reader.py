"""Reads frames with decord, the second reader. It seeks, so it is fast for few frames, and sometimes gives wrong
ones."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from pipeline.video.second_reader import RefusedError, opened_by_decord

__all__ = ["RefusedError", "by_decord", "needs_decord"]
needs_decord = pytest.mark.skipif(find_spec("decord") is None, reason="no decord wheel for this platform")


def by_decord(facts, indices):
    """Return the 224-frames at source indices, uint8 RGB [n, 224, 224, 3]."""
    return opened_by_decord(facts)(indices)
