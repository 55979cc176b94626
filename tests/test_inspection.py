"""Looking at features: a store is described in words, and a video's rows are drawn beside its frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_videos import decoded, make_video
from matplotlib.axes import Axes
from matplotlib.image import imread

from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.looking import inspection
from pipeline.features.looking.inspection import THUMB, describe, describe_rows, draw, similarity
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter

PASSPORT = Passport("clip-vit-b32", 1, "raw", "random:0", "2s", 8, "float32", "one line on how")
VID = "-_a b'$(x)"


def rows(n):
    return np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32)


def store_of(path, passport=PASSPORT, **arrays):
    with StoreWriter(path, passport) as writer:
        for key, value in arrays.items():
            writer.add(key, value, decoder="decord 0.6.0")
    return Store([path])


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "x.mp4", range(0, 600 * 8, 60))


def test_similarity_is_the_cosine_and_zero_rows_are_like_nothing():
    matrix = similarity(np.array([[3, 0], [0, 2], [1, 1], [0, 0]], np.float32))
    np.testing.assert_allclose(np.diag(matrix), [1, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(matrix[2, :2], 0.5**0.5, atol=1e-6)


def test_a_store_says_how_it_was_made_and_what_is_wrong_with_it(tmp_path):
    store = store_of(tmp_path / "a.h5", a=rows(3), b=rows(5))
    said = describe(store)
    rows_said = "2 arrays, 8 rows, at least 3 and at most 5 each: a, b"
    for words in ("clip-vit-b32 (revision 1), grid 2s", "random:0", "one line on how", rows_said):
        assert words in said
    assert "wrong" not in said


def test_values_that_are_not_finite_are_said(tmp_path):
    import h5py

    store_of(tmp_path / "a.h5", a=rows(3), b=rows(5)).close()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["b"][2, 1] = np.nan
    assert describe(Store([tmp_path / "a.h5"])).count("\nwrong: b (") == 1


def test_a_videos_rows_are_said_in_one_line(tmp_path):
    still = np.stack([rows(2)[0], rows(2)[0], np.zeros(8, np.float32)])
    said = describe_rows(store_of(tmp_path / "a.h5", a=still), "a")
    assert said.startswith("a: 3 rows, norm 0 to ")
    assert "1 of zeros, 1 equal to the next" in said
    assert said.endswith("decoder decord 0.6.0")


def test_the_sheet_shows_the_frame_before_each_clips_middle(tmp_path, video, monkeypatch):
    sheet, _ = sheet_of(monkeypatch, store_of(tmp_path / "a.h5", x=rows(4)), video)
    blue = [frame.to_ndarray(format="rgb24")[:, :, 2].mean() for frame in decoded(video)]
    expected = [blue[10 + 20 * n - 1] for n in range(4)]
    thumbs = [sheet[: THUMB - 2, THUMB * n : THUMB * (n + 1) - 2] for n in range(4)]
    np.testing.assert_allclose([thumb[:, :, 2].mean() for thumb in thumbs], expected, atol=3)


def sheet_of(monkeypatch, store, video):
    """Return the contact sheet of `x` as it is drawn, and its labels."""
    drawn = []
    imshow = Axes.imshow

    def watched(axes, image, **how):
        drawn.append((image, [text.get_text() for text in axes.texts]))
        return imshow(axes, image, **how)

    monkeypatch.setattr(Axes, "imshow", watched)
    draw(store, "x", video, video.parent)
    return drawn[0]


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_picture_is_written_for_a_video_of_as_many_rows_or_one_off(tmp_path, video, n):
    store = store_of(tmp_path / "a.h5", **{VID: rows(n)})
    path = draw(store, VID, video, tmp_path / "out")
    assert path.name == f"{VID}.clip-vit-b32.png"
    assert imread(path).shape[1] == 1120
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_rows_of_half_a_second_may_be_a_second_more_than_the_clips(tmp_path, video):
    passport = replace(PASSPORT, family="i3d-inception-rgb-charades", grid="0.5s")
    draw(store_of(tmp_path / "a.h5", passport, x=rows(18)), "x", video, tmp_path)
    with pytest.raises(PipelineError, match=r"has 16 clips of 0.5s where the store has 19 rows for x"):
        draw(store_of(tmp_path / "b.h5", passport, x=rows(19)), "x", video, tmp_path)


def test_without_a_video_and_for_words_there_is_the_matrix_alone(tmp_path):
    words = store_of(tmp_path / "a.h5", replace(PASSPORT, family="clip-text", grid="tokens"), **{"7": rows(6)})
    assert imread(draw(words, "7", None, tmp_path)).shape[:2] == (800, 1120)
    with pytest.raises(PipelineError, match="words have no frames"):
        draw(words, "7", tmp_path / "x.mp4", tmp_path)


def test_a_long_video_is_shown_by_a_choice_of_its_rows(tmp_path, video, monkeypatch):
    monkeypatch.setattr(inspection, "MAX_FRAMES", 2)
    _, labels = sheet_of(monkeypatch, store_of(tmp_path / "a.h5", x=rows(4)), video)
    assert labels == ["0: 0 s", "3: 6 s"]


def test_so_many_rows_that_their_matrix_would_fill_the_memory_are_thinned(tmp_path):
    store = store_of(tmp_path / "a.h5", x=rows(50_000))
    assert describe_rows(store, "x").startswith("x: 50,000 rows")
    assert draw(store, "x", None, tmp_path).is_file()


def test_another_video_is_refused_with_both_lengths(tmp_path, video):
    store = store_of(tmp_path / "a.h5", x=rows(9))
    with pytest.raises(PipelineError, match=r"x.mp4: has 4 clips of 2s where the store has 9 rows for x"):
        draw(store, "x", video, tmp_path)


def test_published_clip_rows_change_where_the_picture_does(tmp_path, shared_data):
    published = np.load(shared_data / "videos" / "paired" / "charades_clip_vit_b32.npz")["features"]
    store = store_of(tmp_path / "a.h5", replace(PASSPORT, dim=512), charades=published)
    matrix = similarity(store.read("charades"))
    standing, seated = matrix[:4, :4], matrix[5:, 5:]  # she sits down in row 4, as the contact sheet shows
    assert min(standing.mean(), seated.mean()) > matrix[:4, 5:].mean() + 0.05
    assert draw(store, "charades", shared_data / "videos" / "charades.mp4", tmp_path).is_file()
