"""Feature stores return what was written, refuse mixtures of passports, and lose only one video in a killed job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter

PASSPORT = Passport("clip-vit-b32", 1, "raw", "random:0", "2s", 8, "float16", "none")


def rows(n=3, seed=0, dim=8):
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)


def write(path, passport=PASSPORT, **arrays):
    with StoreWriter(path, passport) as store:
        for key, value in arrays.items():
            store.add(key, value, decoder="decord")
    return path


def test_rows_come_back_as_float32_with_their_passport_and_attributes(tmp_path):
    store = Store([write(tmp_path / "0.h5", a=rows())])
    assert store.passport == PASSPORT
    assert store.attributes("a") == {"decoder": "decord"}
    assert store.read("a").dtype == np.float32
    np.testing.assert_array_equal(store.read("a"), rows().astype("float16").astype("float32"))


def test_several_shards_read_as_one_store(tmp_path):
    paths = [write(tmp_path / "0.h5", b=rows(2)), write(tmp_path / "1.h5", a=rows(5)), write(tmp_path / "2.h5")]
    store = Store(paths)
    assert store.keys() == ["a", "b"]
    assert store.n_rows("a") == 5


def test_a_query_has_tokens_and_a_pooled_vector(tmp_path):
    with StoreWriter(tmp_path / "0.h5", PASSPORT) as writer:
        writer.add("7", rows(4), pooled=rows(1, 9)[0])
    store = Store([tmp_path / "0.h5"])
    assert store.keys() == ["7"]
    np.testing.assert_array_equal(store.entry("7").pooled, rows(1, 9)[0].astype("float16"))


def test_equal_rows_give_equal_bytes_in_any_order(tmp_path):
    a = write(tmp_path / "a.h5", x=rows(1), y=rows(2))
    b = write(tmp_path / "b.h5", y=rows(2), x=rows(1))
    assert a.read_bytes() == b.read_bytes()


def test_a_mix_of_passports_is_refused_naming_both_files_and_the_field(tmp_path):
    a = write(tmp_path / "a.h5", x=rows())
    b = write(tmp_path / "b.h5", replace(PASSPORT, weights="random:1"), y=rows())
    with pytest.raises(PipelineError) as error:
        Store([a, b])
    assert str(a) in str(error.value)
    assert str(b) in str(error.value)
    assert "weights: random:1 ≠ random:0" in str(error.value)


def test_a_key_in_two_shards_is_refused(tmp_path):
    with pytest.raises(PipelineError, match="`x` is in"):
        Store([write(tmp_path / "a.h5", x=rows()), write(tmp_path / "b.h5", x=rows())])


def test_half_a_file_and_a_foreign_file_are_refused_with_their_names(tmp_path):
    whole = write(tmp_path / "a.h5", x=rows())
    (tmp_path / "half.h5").write_bytes(whole.read_bytes()[:700])
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = rows()
    (tmp_path / "film.h5").write_bytes(b"\0\0\0\x20ftypisom")
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "folder.h5").mkdir()
    os.mkfifo(tmp_path / "pipe.h5")
    for name, message in (
        ("half", "no complete HDF5"),
        ("foreign", "has no passport"),
        ("none", "is missing"),
        ("film", "is no feature store"),
        ("empty", "is no feature store"),
        ("folder", "is a folder and no file"),
        ("pipe", "is a pipe or a device and no file"),
    ):
        with pytest.raises(PipelineError, match=message) as error:
            Store([tmp_path / f"{name}.h5"])
        assert f"{name}.h5" in str(error.value)
        assert ("delete" in str(error.value)) == (name == "half")  # the advice is never to delete a user's own file


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (rows(dim=9), r"\[3, 9\] where clip-vit-b32 has \[n > 0, 8\]"),
        (np.zeros((0, 8)), r"\[0, 8\]"),
        (np.full((2, 8), np.nan), "2 of 2 rows hold NaN"),
        (np.full((1, 8), 1e6), "infinity as float16"),
    ],
)
def test_rows_that_do_not_fit_the_passport_are_refused(tmp_path, bad, message):
    with pytest.raises(PipelineError, match=message), StoreWriter(tmp_path / "a.h5", PASSPORT) as store:
        store.add("x", bad)
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("key", ["a/b", "pooled", "", "."])
def test_a_key_that_hdf5_would_take_for_a_path_is_refused(tmp_path, key):
    with pytest.raises(PipelineError, match="cannot name an array"), StoreWriter(tmp_path / "a.h5", PASSPORT) as store:
        store.add(key, rows())


def test_everything_wrong_with_a_store_is_listed_at_once(tmp_path):
    path = write(tmp_path / "a.h5", replace(PASSPORT, dtype="float32"), ok=rows(4), sick=rows(3))
    with h5py.File(path, "r+") as file:
        file["sick"][1, 2] = np.nan
        file["wide"] = rows(dim=9)
    found = Store([path]).problems()
    assert len(found) == 2
    assert "1 of 3 rows hold NaN" in found[0]
    assert "[3, 9] where the passport says [n, 8]" in found[1]


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(PipelineError, match="no `-esJrBWj2d8`"):
        Store([write(tmp_path / "a.h5", x=rows())]).read("-esJrBWj2d8")


def test_a_rerun_keeps_what_agrees_and_drops_what_nobody_asked_for(tmp_path):
    path = write(tmp_path / "a.h5", x=rows(1), y=rows(2), z=rows(3))
    with StoreWriter(path, PASSPORT) as store:
        assert store.keep("x", decoder="decord")
        assert not store.keep("y", decoder="pyav")
        assert not store.keep("w")
        store.add("y", rows(5), decoder="pyav")
    again = Store([path])
    assert again.keys() == ["x", "y"]
    assert again.n_rows("y") == 5


def test_nothing_is_kept_from_a_store_of_another_passport(tmp_path):
    path = write(tmp_path / "a.h5", x=rows())
    with StoreWriter(path, replace(PASSPORT, weights="random:1")) as store:
        assert not store.keep("x")


def test_a_failed_block_leaves_the_old_store_and_keeps_the_work(tmp_path):
    path = write(tmp_path / "a.h5", x=rows())
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), StoreWriter(path, PASSPORT) as store:
        store.add("y", rows())
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    with StoreWriter(path, PASSPORT) as store:
        assert store.keep("y")


def test_kill_minus_nine_loses_only_the_video_at_hand(tmp_path):
    script = (
        "import os, numpy as np\n"
        "from pipeline.features.store.writer import StoreWriter\nfrom pipeline.families import Passport\n"
        f"with StoreWriter({str(tmp_path / 'a.h5')!r}, {PASSPORT!r}) as store:\n"
        "    store.add('one', np.ones((2, 8)))\n    store.add('two', np.ones((3, 8)))\n"
        f"    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=os.getcwd(), check=False)
    assert killed.returncode == -signal.SIGKILL
    with StoreWriter(tmp_path / "a.h5", PASSPORT) as store:
        assert [store.keep(key) for key in ("one", "two", "three")] == [True, True, False]
        store.add("three", np.ones((4, 8)))
    clean = tmp_path / "clean.h5"
    write_three(clean)
    assert (tmp_path / "a.h5").read_bytes() == clean.read_bytes()
    assert not list(tmp_path.glob(".*staging"))


def write_three(path):
    with StoreWriter(path, PASSPORT) as store:
        for n, key in ((2, "one"), (3, "two"), (4, "three")):
            store.add(key, np.ones((n, 8)))


def test_a_half_written_staging_file_is_made_again(tmp_path):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "a.h5", PASSPORT) as store:
        store.add("--y", rows())
        raise KeyboardInterrupt
    (staged,) = (tmp_path / ".a.h5.staging").glob("*.npz")
    staged.write_bytes(staged.read_bytes()[:100])
    with StoreWriter(tmp_path / "a.h5", PASSPORT) as store:
        assert not store.keep("--y")


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="cannot be written"), StoreWriter(tmp_path / "file" / "a.h5", PASSPORT):
        pass


def read_everything(path):
    with Store([path]) as store:
        for key in store.keys():  # noqa: SIM118 - no dict
            store.read(key), store.attributes(key), store.entry(key), store.n_rows(key)
        return store.problems()


def test_a_damaged_store_is_named_wherever_the_damage_lies_and_made_again_by_a_writer(tmp_path):
    keys = {f"v{k}": rows(4, k) for k in range(3)}
    whole = write(tmp_path / "a.h5", **keys).read_bytes()
    damaged = tmp_path / "b.h5"
    refused = 0
    for place in range(0, len(whole), 173):
        broken = bytes(byte ^ 0x55 for byte in whole[place : place + 8])
        damaged.write_bytes(whole[:place] + broken + whole[place + 8 :])
        try:
            read_everything(damaged)
        except PipelineError as error:
            refused += 1
            assert error.where == str(damaged)
            with StoreWriter(damaged, PASSPORT) as store:
                for key, value in keys.items():
                    if not store.keep(key, decoder="decord"):
                        store.add(key, value, decoder="decord")
            read_everything(damaged)
    assert refused > 5


def test_a_disk_that_is_full_while_the_store_is_assembled_is_one_line_and_loses_nothing(tmp_path):
    script = (
        "import resource, signal, test_store as t\nfrom pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"with t.StoreWriter(Path({str(tmp_path)!r}) / 'a.h5', t.PASSPORT) as store:\n"
        "    for k in range(9):\n        store.add(f'v{k}', t.rows(200, k))\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, -1))\n"
    )
    here = os.path.dirname(__file__)
    environment = os.environ | {"PYTHONPATH": f"{here}:{os.path.dirname(here)}"}
    run = subprocess.run([sys.executable, "-c", script], env=environment, check=False, capture_output=True, text=True)
    last = run.stderr.splitlines()[-1]
    assert last.endswith(f"a.h5: cannot be written (file too large) → {files.CHECK_FOLDER}")
    with StoreWriter(tmp_path / "a.h5", PASSPORT) as store:
        assert all(store.keep(f"v{k}") for k in range(9))
