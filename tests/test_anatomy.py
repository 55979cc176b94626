"""The anatomy of mistakes: kinds by hand, and costs against repairs of the files themselves."""

from __future__ import annotations

import numpy as np
import pytest
import reference_metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.anatomy import FATES, KINDS, dissect
from pipeline.evaluation.moments import THRESHOLDS

AT_HALF = THRESHOLDS.index(0.5)


def kinds(predictions, truth, at=AT_HALF):
    found = dissect([predictions], [truth])
    return [FATES[number] for number in found.fates[0, :, at]]


def costs(predictions, truth, at=AT_HALF):
    found = dissect([predictions], [truth])
    return {kind: round(float(cost[0, at]), 4) for kind, cost in found.costs.items() if cost[0, at] > 1e-9}


@pytest.mark.parametrize(
    ("window", "kind"),
    [
        ([10, 20], "right"),
        ([60, 70], "elsewhere"),
        ([19, 29], "elsewhere"),  # IoU 1/19, which is below 0.1
        ([16, 26], "shifted"),  # the right length, IoU 0.25
        ([10, 40], "too long"),  # at best 10/30
        ([14, 18], "too short"),  # at best 4/10
        ([10, 30], "right"),  # IoU is 0.5 exactly
    ],
)
def test_a_window_is_of_the_kind_that_its_bounds_say(window, kind):
    assert kinds([[*window, 0.9]], [[10, 20]]) == [kind]


def test_the_second_window_that_finds_the_same_is_a_duplicate_by_score_and_not_by_place():
    assert kinds([[10, 20, 0.2], [11, 20, 0.9]], [[10, 20]]) == ["right", "duplicate"]
    assert costs([[10, 20, 0.9], [11, 20, 0.8], [50, 60, 0.7]], [[10, 20], [50, 60]]) == {
        "duplicate": pytest.approx(1 - (1 + 2 / 3) / 2, abs=1e-4),
        "ranked low": pytest.approx(1 - (1 + 2 / 3) / 2, abs=1e-4),
    }


def test_a_right_window_beneath_a_wrong_one_costs_by_its_rank():
    assert costs([[60, 70, 0.9], [10, 20, 0.8]], [[10, 20]]) == {"elsewhere": 0.5, "ranked low": 0.5}


def test_a_window_of_several_that_nobody_met_is_told_from_a_query_where_nothing_was_met():
    assert costs([[10, 20, 0.9]], [[10, 20], [50, 60]]) == {"one of several missed": 0.5}
    assert costs([[80, 90, 0.9]], [[10, 20], [50, 60]]) == {"all missed": 1.0}


def test_a_window_with_wrong_bounds_is_no_missed_one():
    assert costs([[10, 40, 0.9]], [[10, 20]]) == {"too long": 1.0}


def test_two_windows_with_wrong_bounds_repair_one_true_window_once():
    found = costs([[10, 40, 0.9], [10, 45, 0.8], [50, 60, 0.7]], [[10, 20], [50, 60]])
    assert found["too long"] == pytest.approx(1.0 - 1 / 3 / 2, abs=1e-4)


def test_the_main_mistake_is_the_dearest_and_a_faultless_query_has_none():
    found = dissect([[[10, 20, 0.9]], [[10, 40, 0.9]]], [[[10, 20]], [[10, 20]]])
    assert found.main_mistakes() == ["", "too long"]
    assert found.points()["too long"][AT_HALF] == 50.0


def test_a_query_has_every_mistake_that_costs_and_none_that_costs_nothing():
    truth = [[10, 20], [50, 60], [80, 90]]
    several = [[60.5, 70, 0.9], [10, 20, 0.8], [10, 20, 0.7], [50, 60, 0.6]]
    beneath = [[10, 20, 0.9], [50, 60, 0.8], [80, 90, 0.7], [100, 110, 0.6]]  # the last one lies elsewhere
    thirds = [[10, 20, 0.9], [100, 110, 0.8], [50, 60, 0.7]]  # its sums have rounding errors
    has = dissect([several, beneath, thirds], [truth, truth, truth[:2]]).has()
    assert [{kind for kind, of in has.items() if of[n]} for n in range(3)] == [
        {"elsewhere", "duplicate", "ranked low", "one of several missed"},
        set(),
        {"elsewhere", "ranked low"},
    ]


even = st.integers(0, 30).map(lambda step: 2.0 * step)
window = st.tuples(even, even).filter(lambda pair: pair[0] != pair[1]).map(sorted)
truths = st.lists(window, min_size=1, max_size=4, unique_by=tuple)


@st.composite
def guesses(draw):
    """Return predictions with scores that all differ."""
    windows = draw(st.lists(window, min_size=1, max_size=10))
    return [[*bounds, 1 - place / 100] for place, bounds in enumerate(windows)]


@settings(max_examples=200)
@given(st.lists(st.tuples(guesses(), truths), min_size=1, max_size=4))
def test_costs_equal_the_gain_of_a_file_that_was_repaired_by_hand(rows):
    predictions, truth = zip(*rows, strict=True)
    found = dissect(predictions, truth)
    for row, (guessed, true) in enumerate(rows):
        for at in (AT_HALF, THRESHOLDS.index(0.75)):
            threshold = THRESHOLDS[at]
            before = reference.moment_ap(guessed, true, threshold)
            assert found.ap[row, at] == pytest.approx(before, abs=1e-12)
            fates = [FATES[number] for number in found.fates[row, : len(guessed), at]]
            main = found.main_mistakes()[row]
            assert not main or found.has()[main][row]
            for kind in KINDS:
                after = repaired_by_hand(kind, guessed, true, fates, found.target[row], threshold)
                assert found.costs[kind][row, at] == pytest.approx(after - before, abs=1e-12), kind


def repaired_by_hand(kind, guessed, true, fates, target, threshold):
    """Return the average precision of a repaired list. The plain reference does the matching again."""
    right = [place for place, fate in enumerate(fates) if fate == "right"]
    if kind in ("elsewhere", "duplicate"):
        kept = [one for one, fate in zip(guessed, fates, strict=True) if fate != kind]
        return reference.moment_ap(kept, true, threshold) if kept else 0.0
    if kind == "ranked low":
        first = [[*one[:2], one[2] + (1 if place in right else 0)] for place, one in enumerate(guessed)]
        return reference.moment_ap(first, true, threshold)
    free = free_windows(guessed, true, right, threshold)
    if kind in ("shifted", "too long", "too short"):
        moved = []
        for one, fate, at in zip(guessed, fates, target, strict=False):
            if fate != kind:
                moved.append(one)
            elif at in free:
                free.discard(at)
                moved.append([*true[at], one[2]])
        return reference.moment_ap(moved, true, threshold) if moved else 0.0
    met = {at for fate, at in zip(fates, target, strict=False) if fate in ("shifted", "too long", "too short")}
    left = [one for at, one in enumerate(true) if at not in free - met]
    if kind == "all missed":
        return 1.0 if not left else reference.moment_ap(guessed, true, threshold)
    return reference.moment_ap(guessed, left or true, threshold)


def free_windows(guessed, true, right, threshold):
    """Return the places of the true windows that no prediction took, if they are taken one after the other."""
    free = set(range(len(true)))
    for place in right:
        start, end, _ = guessed[place]
        overlaps = {at: iou((start, end), true[at]) for at in free}
        best = max(overlaps.values())
        assert best >= threshold
        free.discard(max(at for at, value in overlaps.items() if value == best))
    return free


def iou(a, b):
    common = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return common / (a[1] - a[0] + b[1] - b[0] - common)


def test_padding_has_no_kind():
    found = dissect([[[10, 20, 0.9]], [[10, 20, 0.9], [30, 40, 0.1]]], [[[10, 20]], [[10, 20]]])
    assert found.fates[0, 1].tolist() == [-1] * len(THRESHOLDS)
    np.testing.assert_array_equal(found.target, [[0, -1], [0, 0]])
