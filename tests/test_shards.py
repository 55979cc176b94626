"""A video always belongs to the same shard, whatever other videos there are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.shards import shard_names, shard_of, vids_of_shard

vids = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))


@given(vids, st.integers(1, 40))
def test_every_video_lives_in_exactly_one_shard(many, n):
    shards = [vids_of_shard(many, name, n) for name in shard_names(n)]
    assert sorted(vid for shard in shards for vid in shard) == sorted(set(many))


@given(vids, st.text(min_size=1, max_size=30), st.integers(1, 40))
def test_a_video_keeps_its_shard_when_others_are_added(many, vid, n):
    assert vid in vids_of_shard([*many, vid], shard_names(n)[shard_of(vid, n)], n)


@given(st.permutations(["a", "b", "c", "-d", "_e", "00607"]), st.integers(1, 5))
def test_the_order_of_the_annotations_does_not_matter(shuffled, n):
    assert vids_of_shard(shuffled, "00000", n) == vids_of_shard(sorted(shuffled), "00000", n)


def test_membership_is_the_published_hash_rule():
    # sha256("RoripwjYFp8_60.0_210.0") starts with these eight bytes; computed with coreutils' sha256sum.
    assert shard_of("RoripwjYFp8_60.0_210.0", 2**64) == 0x13A2AE109E19DDAA


def test_names_have_five_digits_and_sort_like_numbers():
    assert shard_names(3) == ["00000", "00001", "00002"]


@pytest.mark.parametrize("name", ["00004", "4", "-0001", "x"])
def test_a_name_that_no_shard_has_is_refused(name):
    with pytest.raises(PipelineError, match="00000 to 00003"):
        vids_of_shard(["a"], name, 4)


def test_qvhighlights_fills_all_32_shards_about_evenly(shared_data):
    lines = (shared_data / "annotations" / "qvhighlights_train.jsonl").read_text().splitlines()
    sizes = [0] * 32
    for vid in {json.loads(line)["vid"] for line in lines}:
        sizes[shard_of(vid, 32)] += 1
    assert sum(sizes) == 7100
    assert min(sizes) > 150 and max(sizes) < 300
