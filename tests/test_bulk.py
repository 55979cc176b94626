"""Bulk reading: the same rows as one by one, in the order asked for, or an error that names the file."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.store import Store
from pipeline.features.store.bulk import read_packed
from pipeline.features.store.writer import StoreWriter

PASSPORT = Passport("clip-vit-b32", 1, "raw", "random:0", "2s", 8, "float16", "none")


def rows(n, seed):
    return np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float16)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    for shard, keys in enumerate(("acg", "bde", "f")):
        with StoreWriter(folder / f"{shard}.h5", PASSPORT) as writer:
            for key in keys:
                writer.add(key, rows(ord(key) % 7 + 1, ord(key)), decoder="decord")
    with Store(sorted(folder.glob("*.h5"))) as opened:
        yield opened


@given(keys=st.lists(st.sampled_from("abcdefg"), max_size=12), cut=st.integers(1, 9))
def test_rows_are_those_of_reading_one_by_one(store, keys, cut):
    lengths = [min(store.n_rows(key), cut) for key in keys]
    packed = read_packed(store, keys, lengths)
    assert packed.dtype == np.float16
    singly = [store.read(key)[:n] for key, n in zip(keys, lengths, strict=True)]
    np.testing.assert_array_equal(packed, np.concatenate([np.empty((0, 8)), *singly]))


def test_without_lengths_all_rows_are_read(store):
    assert len(read_packed(store, store.keys())) == sum(map(store.n_rows, store.keys()))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_may_go_into_columns_of_a_wider_array(store, dtype):
    wide = np.full((store.n_rows("a") + 2, 20), 7, dtype)
    read_packed(store, ["a", "f"], [store.n_rows("a"), 2], out=wide[:, 3:11])
    np.testing.assert_array_equal(wide[:-2, 3:11], store.read("a"))
    np.testing.assert_array_equal(wide[-2:, 3:11], store.read("f")[:2])
    assert (wide[:, :3] == 7).all()
    assert (wide[:, 11:] == 7).all()


def test_a_store_that_somebody_packed_into_chunks_is_read_all_the_same(tmp_path):
    with StoreWriter(tmp_path / "a.h5", PASSPORT) as writer:
        writer.add("x", rows(6, 0))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["x"]
        file.create_dataset("x", data=rows(6, 0), chunks=(2, 8), compression="gzip")
    np.testing.assert_array_equal(read_packed(Store([tmp_path / "a.h5"]), ["x"], [4]), rows(6, 0)[:4])


def test_more_rows_than_there_are_and_a_missing_key_are_refused(store):
    with pytest.raises(PipelineError, match=r"0.h5: a has 7 rows where 8 are wanted"):
        read_packed(store, ["a"], [8])
    with pytest.raises(PipelineError, match="no `z`"):
        read_packed(store, ["z"])


def test_a_file_cut_short_after_it_was_opened_is_named(tmp_path):
    with StoreWriter(tmp_path / "a.h5", PASSPORT) as writer:
        writer.add("x", rows(200, 0))
    with Store([tmp_path / "a.h5"]) as opened:
        offset = opened.place("x").offset
        with open(tmp_path / "a.h5", "r+b") as file:
            file.truncate(offset + 100)
        with pytest.raises(PipelineError, match=r"a.h5: is cut short"):
            read_packed(opened, ["x"])
