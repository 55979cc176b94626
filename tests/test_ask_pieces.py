"""A long video is asked in pieces: how it is divided, and how the answers of the pieces are merged."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.asking.pieces import Piece, longest_piece, merged_saliency, merged_windows, pieces_of


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


def test_a_moment_that_a_piece_cuts_is_taken_from_the_piece_that_shows_it_whole():
    pieces = [Piece(0, 10), Piece(5, 10)]
    cut, whole = np.array([[8.0, 10.0, 0.9], [1.0, 3.0, 0.2]]), np.array([[3.0, 8.0, 0.8]])
    assert merged_windows([cut, whole], pieces, 1.0, 15).tolist() == [[8.0, 13.0, 0.8], [1.0, 3.0, 0.2]]


def test_the_same_moment_of_two_pieces_counts_once_and_windows_of_one_piece_stay_as_they_are():
    pieces = [Piece(0, 10), Piece(5, 10)]
    first = np.array([[6.0, 8.0, 0.9], [5.0, 8.0, 0.6]])
    second = np.array([[1.0, 3.0, 0.7], [7.0, 9.0, 0.1]])
    assert merged_windows([first, second], pieces, 1.0, 15).tolist() == [[6.0, 8.0, 0.9], [5.0, 8.0, 0.6]]
    alone = np.array([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
    assert merged_windows([alone], [Piece(0, 10)], 1.0, 10).tolist() == alone.tolist()


def test_a_clip_scores_the_mean_of_the_pieces_that_show_it():
    merged = merged_saliency([np.array([1.0, 3.0]), np.array([5.0, 9.0])], [Piece(0, 2), Piece(1, 2)], 3)
    assert merged.tolist() == [1.0, 4.0, 9.0]
