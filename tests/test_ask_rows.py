"""Rows of a user's video: one folder belongs to one video, and a long name of any script can be encoded."""

from __future__ import annotations

import fake_encoders
import pytest
from made_videos import make_video
from own_videos import FAKES, recipe

from pipeline.asking import rows
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.features.store import Store

FAMILY = "clip-vit-b32"


@pytest.fixture(scope="module", autouse=True)
def _fakes():
    before = dict(FAMILIES)
    fake_encoders.take_the_place(FAKES)
    yield
    FAMILIES.update(before)


def video_at(path, first=0, seconds=4):
    path.parent.mkdir(exist_ok=True)
    return make_video(path, range(first, first + 600 * seconds, 300), rate=2)


def encode(video, folder=None):
    return rows.encode(video, [recipe(FAMILY)], folder or rows.rows_folder(video))


@pytest.mark.parametrize("name", ["b/x.mp4", "a/y.mp4"], ids=["of one name", "of another name"])
def test_a_folder_with_the_rows_of_another_video_is_refused_and_they_stay(tmp_path, name):
    first, second = video_at(tmp_path / "a/x.mp4"), video_at(tmp_path / name, first=900)
    encoded = encode(first, tmp_path / "rows")
    before = encoded.stores[FAMILY].read_bytes()
    with pytest.raises(PipelineError, match=r"rows: holds the rows of .*a/x\.mp4 → name another folder.*--rows FOLDER"):
        encode(second, tmp_path / "rows")
    assert encoded.stores[FAMILY].read_bytes() == before
    first.rename(tmp_path / "a/z.mp4")  # the same video under another name may have them
    assert encode(tmp_path / "a/z.mp4", tmp_path / "rows").duration_s == 4
    video_at(first, first=1800)  # another video under the old name does not own the rows now
    assert encode(tmp_path / "a/z.mp4", tmp_path / "rows").duration_s == 4
    with pytest.raises(PipelineError, match=r"rows: holds the rows of .*a/z\.mp4 → "):
        encode(first, tmp_path / "rows")


def test_a_served_video_that_was_changed_is_not_answered_with_the_rows_of_the_new_one(tmp_path):
    encoded = encode(video_at(tmp_path / "a/x.mp4"))
    with Store([encoded.stores[FAMILY]]) as store:
        rows.refuse_replaced_rows(encoded, store)
    encode(video_at(tmp_path / "a/x.mp4", first=900, seconds=6))
    with (
        Store([encoded.stores[FAMILY]]) as store,
        pytest.raises(PipelineError, match=r"a/x\.mp4: has no rows any more: .* → encode it again"),
    ):
        rows.refuse_replaced_rows(encoded, store)


@pytest.mark.parametrize(
    "name", ["собака бежит по берегу моря " * 3, "犬が浜辺を走る" * 8], ids=["Russian", "Japanese"]
)
def test_a_long_name_in_letters_of_several_bytes_can_be_encoded(tmp_path, name):
    encoded = encode(video_at(tmp_path / f"a/{name.strip()}.mp4"))
    with Store([encoded.stores[FAMILY]]) as store:
        assert store.keys() == [name.strip()]
