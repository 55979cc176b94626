"""The index of a store has the same places as HDF5, and it is not used if it may be wrong."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features import store as store_module
from pipeline.features.store import Store
from pipeline.features.store.bulk import read_packed
from pipeline.features.store.places import PLACES, look_up, read_index
from pipeline.features.store.writer import StoreWriter

PASSPORT = Passport("clip-vit-b32", 1, "raw", "random:0", "2s", 8, "float16", "none")
KEYS = [f"v{k:03d}" for k in range(40)]


def rows(key):
    return np.random.default_rng(int(key[1:])).standard_normal((int(key[1:]) % 7 + 1, 8)).astype(np.float16)


@pytest.fixture
def path(tmp_path):
    with StoreWriter(tmp_path / "a.h5", PASSPORT) as writer:
        for key in KEYS:
            writer.add(key, rows(key), decoder="decord")
    return tmp_path / "a.h5"


def test_it_agrees_with_hdf5_on_every_key(path):
    with h5py.File(path) as file:
        index = read_index(file, KEYS, PASSPORT)
        assert index == {key: look_up(file.id, key, PASSPORT) for key in KEYS}


def test_hdf5_is_asked_for_two_keys_of_forty(path, monkeypatch):
    asked = []
    monkeypatch.setattr(store_module, "look_up", lambda *_: asked.append(_))
    monkeypatch.setattr("pipeline.features.store.places.look_up", lambda *a: asked.append(a) or look_up(*a))
    with Store([path]) as store:
        np.testing.assert_array_equal(read_packed(store, KEYS), np.concatenate([rows(key) for key in KEYS]))
    assert len(asked) == 2


def test_it_is_no_key(path):
    with Store([path]) as store:
        assert store.keys() == KEYS
        assert PLACES not in store
    with pytest.raises(PipelineError, match="cannot name an array"), StoreWriter(path, PASSPORT) as writer:
        writer.add(PLACES, rows("v001"))


def test_a_store_without_an_index_is_read_all_the_same(path):
    with h5py.File(path, "r+") as file:
        del file[PLACES]
    with Store([path]) as store:
        np.testing.assert_array_equal(read_packed(store, KEYS), np.concatenate([rows(key) for key in KEYS]))


@pytest.mark.parametrize("key", [KEYS[0], KEYS[20], KEYS[-1]])
def test_an_index_of_before_a_change_is_not_believed(path, key):
    with h5py.File(path, "r+") as file:
        del file[key]
        file[key] = np.ones((50, 8), np.float16)
    with Store([path]) as store:
        assert store.n_rows(key) == 50
        np.testing.assert_array_equal(read_packed(store, [key]), np.ones((50, 8)))


def test_an_index_copied_into_a_file_packed_anew_is_not_believed(path, tmp_path):
    with h5py.File(path) as old, h5py.File(tmp_path / "b.h5", "w") as new:
        for name in (PLACES, *reversed(KEYS)):
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs[name] = value
    with Store([tmp_path / "b.h5"]) as store:
        np.testing.assert_array_equal(read_packed(store, KEYS), np.concatenate([rows(key) for key in KEYS]))


def test_an_empty_store_has_an_index_too(tmp_path):
    with StoreWriter(tmp_path / "empty.h5", PASSPORT):
        pass
    with Store([tmp_path / "empty.h5"]) as store:
        assert store.keys() == []
