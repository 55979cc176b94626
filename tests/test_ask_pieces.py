"""A long video is asked in pieces: how it is divided, and how the answers of the pieces are merged."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.asking.pieces import Piece, longest_piece, merged_saliency, merged_windows, pieces_of, stands_out


@pytest.mark.parametrize("n", [1, 11, 12, 13, 18, 19, 75, 76, 1001])
@pytest.mark.parametrize("longest", [1, 2, 12, 75])
def test_pieces_are_equally_long_and_show_every_clip_and_every_short_moment_whole(n, longest):
    pieces = pieces_of(n, longest)
    assert {piece.n for piece in pieces} == {min(n, longest)}
    assert {clip for piece in pieces for clip in range(piece.start, piece.end)} == set(range(n))
    half = max(1, longest // 2)
    for start in range(n - half + 1):
        assert any(piece.start <= start and start + half <= piece.end for piece in pieces)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((75, 40, 150.0, 150.0, 2.0), 40),
        ((75, None, 150.0, 150.0, 2.0), 75),
        ((None, 40, 44.8, None, 1.0), 40),
        ((None, None, 44.8, None, 0.5), 90),
        ((200, None, 150.0, 150.0, 2.0), 75),
        ((None, None, 44.8, None, 1 / 6), 269),
    ],
)
def test_the_longest_piece_is_what_training_saw_and_never_more_than_windows_reach(given, expected):
    assert longest_piece(*given) == expected


PIECES = [Piece(0, 10), Piece(5, 10)]


def saliency(n_clips, **raised):
    """Return scores of clips, which are 0 except those that are named, such as `c3=0.5`."""
    scores = np.zeros(n_clips)
    for clip, value in raised.items():
        scores[int(clip[1:])] = value
    return scores


def test_a_window_stands_out_by_its_clips_less_the_others():
    scores = np.array([0.0, 4.0, 2.0, 0.0])
    assert stands_out((2.0, 6.0), scores, 2.0) == 3.0
    assert stands_out((2.9, 3.1), scores, 2.0) == 4.0 - 2 / 3  # the middle of clip 1
    assert stands_out((4.0, 4.5), scores, 2.0) == 2.0 - 4 / 3  # no middle: the clip it lies in
    assert stands_out((7.9, 8.0), scores, 2.0) == -2.0
    assert stands_out((0.0, 8.0), scores, 2.0) == 0.0


def test_a_piece_in_which_nothing_stands_out_comes_last_however_sure_the_run_was_of_its_windows():
    sure, found = np.array([[1.0, 3.0, 0.99]]), np.array([[6.0, 8.0, 0.4]])
    scores = [np.full(10, 5.0), saliency(10, c6=1.0, c7=0.6)]
    merged = merged_windows([sure, found], scores, PIECES, 1.0)
    assert merged.tolist() == [[11.0, 13.0, 0.8]]
    both = merged_windows([np.repeat(sure, 2, axis=0), found], scores, PIECES, 1.0)
    assert both.tolist() == [[11.0, 13.0, 0.8], [1.0, 3.0, 0.0]]


def test_a_moment_that_a_piece_cuts_is_taken_from_the_piece_that_shows_it_whole():
    cut, whole = np.array([[8.0, 10.0, 0.9], [1.0, 3.0, 0.2]]), np.array([[3.0, 8.0, 0.8]])
    scores = [saliency(10, c8=0.9, c9=0.9), saliency(10, c3=0.4, c4=0.4, c5=0.4, c6=0.4, c7=0.4)]
    windows = merged_windows([cut, whole], scores, PIECES, 1.0)
    assert windows[:, :2].tolist() == [[8.0, 13.0], [1.0, 3.0]]


def test_the_same_moment_of_two_pieces_counts_once_and_windows_of_one_piece_stay_as_they_are():
    first = np.array([[6.0, 8.0, 0.9], [5.0, 8.0, 0.6]])
    second = np.array([[1.0, 3.0, 0.7], [7.0, 9.0, 0.1]])
    scores = [saliency(10, c6=0.8, c7=0.8), saliency(10, c1=0.7, c2=0.7)]
    windows = merged_windows([first, second], scores, PIECES, 1.0)
    assert windows[:, :2].tolist() == [[6.0, 8.0], [5.0, 8.0]]
    alone = np.array([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
    assert merged_windows([alone], [np.zeros(10)], [Piece(0, 10)], 1.0).tolist() == alone.tolist()


def test_a_clip_scores_the_mean_of_the_pieces_that_show_it():
    merged = merged_saliency([np.array([1.0, 3.0]), np.array([5.0, 9.0])], [Piece(0, 2), Piece(1, 2)], 3)
    assert merged.tolist() == [1.0, 4.0, 9.0]
