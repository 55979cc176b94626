"""Tests which clips a scored window of one's own rates: over clip lengths, places, and rests after the last whole clip.

The reference counts in whole milliseconds and tries every clip.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.datasets.own_queries import check_durations, queries_of, rated_clips
from pipeline.datasets.own_rows import Row, Table
from pipeline.errors import PipelineError

CLIPS = {"0.5s": 500, "0.7s": 700, "1s": 1000, "1.125s": 1125, "2s": 2000, "2.5s": 2500, "3.3s": 3300, "10s": 10_000}
RESTS = (0, 1, 3, 5, 9)
"""Tenths of a clip that a video goes on after its last whole clip."""


def by_hand(start, end, duration, clip):
    """Return the clips that a window in milliseconds rates."""
    n = duration // clip
    with_middle = [k for k in range(n) if 2 * start <= (2 * k + 1) * clip <= 2 * end]
    if with_middle:
        return with_middle
    times = [min(end, (k + 1) * clip) - max(start, k * clip) for k in range(n + 1)]
    best = times.index(max(times))
    return [best] if best < n else []


def cases(clip):
    """Yield windows of five lengths, a tenth of a clip apart, in videos of three clips and a rest."""
    step = clip // 10
    for rest in RESTS:
        duration = 3 * clip + rest * step
        for start in range(0, duration, step):
            for length in (1, step, clip // 2 - 1, clip, 2 * clip + 3):
                if start + length <= duration:
                    yield start, start + length, duration


@pytest.mark.parametrize("clip", CLIPS)
def test_a_window_rates_the_clips_whose_middle_it_holds_or_else_the_one_it_lies_in(clip):
    tried = set()
    for start, end, duration in cases(CLIPS[clip]):
        row = Row(2, "a", "q", start / 1000, end / 1000, score=3)
        expected = by_hand(start, end, duration, CLIPS[clip])
        assert list(rated_clips(row, Fraction(duration, 1000), clip)) == expected, (start, end, duration)
        tried.add(min(len(expected), 2))
    assert tried == {0, 1, 2}


@pytest.mark.parametrize("clip", ["0.5s", "2s", "10s"])
def test_a_row_is_refused_exactly_when_its_score_rates_no_clip(clip):
    for start, end, duration in list(cases(CLIPS[clip]))[::7]:
        row = Row(2, "a", "q", start / 1000, end / 1000, score=3)
        table = Table(Path("my.csv"), Path("videos"), {}, [row], n_rows=1, raters=1)
        seconds = {"a": Fraction(duration, 1000)}
        check_durations(table, seconds, clip)
        expected = by_hand(start, end, duration, CLIPS[clip])
        assert bool(table.complaints) == (not expected)
        if expected:
            (query,) = queries_of(table, seconds, clip)["val"]
            assert query.relevant_clip_ids == tuple(expected)
            assert query.saliency_scores == ((3,),) * len(expected)


def test_the_complaint_names_the_row_and_where_the_last_whole_clip_ends():
    row = Row(5, "a", "q", 8.1, 8.8, score=3)
    table = Table(Path("my.csv"), Path("videos"), {}, [row], n_rows=1, raters=1)
    check_durations(table, {"a": Fraction(9)}, "2s")
    said = r"line 5, start: 8.1 begins a window that lies mostly after 8 s, where the last whole clip of 2s ends"
    with pytest.raises(PipelineError, match=said):
        table.refuse()


@pytest.mark.parametrize("clip", CLIPS)
def test_a_moment_without_a_score_may_lie_after_the_last_whole_clip(clip):
    length = CLIPS[clip] / 1000
    row = Row(2, "a", "q", 3.1 * length, 3.4 * length)
    table = Table(Path("my.csv"), Path("videos"), {}, [row], n_rows=1)
    check_durations(table, {"a": Fraction(repr(round(3.5 * length, 6)))}, clip)
    assert table.complaints == []


def test_a_video_shorter_than_a_clip_is_told_with_its_length_and_with_what_helps():
    row = Row(9, "a", "q", 0, 1, score=4)
    table = Table(Path("my.csv"), Path("videos"), {}, [row], n_rows=1, raters=1)
    check_durations(table, {"a": Fraction(2999, 3000)}, "1s")
    said = r"line 9, video: 'a' lasts 0.9997 s, less than a clip of 1s, .*; clips may be shorter \(--clip, or `clip`"
    with pytest.raises(PipelineError, match=said):
        table.refuse()
    again = Table(Path("my.csv"), Path("videos"), {}, [row], n_rows=1, raters=1)
    check_durations(again, {"a": Fraction(2999, 3000)}, "0.5s")
    assert not again.complaints
