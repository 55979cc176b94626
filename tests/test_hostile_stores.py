"""Stores that were made to do harm are refused: arrays in other files, names that lead elsewhere, and rows without
bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from dataclasses import asdict, replace

import h5py
import numpy as np
import psutil
import pytest

from pipeline.cli import main
from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.store import POOLED, Store, open_stores
from pipeline.features.store.bulk import read_packed
from pipeline.features.store.places import PLACES
from pipeline.features.store.writer import StoreWriter

PASSPORT = Passport("clip-vit-b32", 1, "raw", "random:0", "2s", 8, "float32", "none")


def rows(seed=0, n=4):
    return np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)


def made(path, passport=PASSPORT, **changed):
    """Return a store with `a` and a pooled vector, without an index."""
    with h5py.File(path, "w") as file:
        for name, value in (asdict(passport) | changed).items():
            file.attrs[name] = value
        file["a"] = rows()
        file[f"{POOLED}/a"] = rows()[0]
    return path


def other_file(path):
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["secret"], file["line"] = rows(1), rows(1)[0]
    path.with_name("secret.txt").write_bytes(b"password".ljust(128, b"\0"))
    return path.with_name("other.h5"), path.with_name("secret.txt")


def shape_of(place):
    return (8,) if place.startswith(POOLED) else (4, 8)


def external_link(file, place, other, _):
    file[place] = h5py.ExternalLink(str(other), "line" if place.startswith(POOLED) else "secret")


def soft_link(file, place, *_):
    file[place] = h5py.SoftLink("/pooled/a" if place.startswith(POOLED) else "/a")


def dangling_link(file, place, *_):
    file[place] = h5py.SoftLink("/nowhere")


def external_storage(file, place, _, secret):
    file.create_dataset(place, shape_of(place), "f4", external=[(str(secret), 0, 128)])


def virtual(file, place, other, _):
    layout = h5py.VirtualLayout(shape_of(place), "f4")
    layout[...] = h5py.VirtualSource(str(other), "line" if place.startswith(POOLED) else "secret", shape_of(place))
    file.create_virtual_dataset(place, layout)


def group(file, place, *_):
    file.create_group(place)["a"] = rows()


def whole_file_again(file, place, *_):
    file[place] = file["/"]


def named_type(file, place, *_):
    file[place] = np.dtype("f4")


def texts(file, place, *_):
    file.create_dataset(place, shape_of(place), h5py.string_dtype())


def references(file, place, *_):
    file.create_dataset(place, shape_of(place), h5py.ref_dtype)


def fields(file, place, *_):
    file.create_dataset(place, shape_of(place), np.dtype([("x", "f4"), ("y", "f4")]))


def lists(file, place, *_):
    file.create_dataset(place, shape_of(place), h5py.vlen_dtype(np.float32))


def never_written(file, place, *_):
    file.create_dataset(place, shape_of(place), "f4")


def trillion_rows(file, place, *_):
    shape = (10**12,) if place.startswith(POOLED) else (10**12, 8)
    file.create_dataset(place, shape, "f4", chunks=(1,) * (len(shape) - 1) + (8,))


def huge_chunk(file, place, *_):
    shape = (1 << 25,) if place.startswith(POOLED) else (1 << 22, 8)
    data = file.create_dataset(place, shape, "f4", chunks=shape, compression="gzip")
    data.id.write_direct_chunk((0,) * len(shape), b"x" * 100)


def strange_filter(file, place, *_):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk(shape_of(place))
    made.set_filter(32_000, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple(shape_of(place))
    name = place.removeprefix(f"{POOLED}/").encode()
    h5py.h5d.create(file[POOLED].id if "/" in place else file.id, name, h5py.h5t.NATIVE_FLOAT, space, made)


def other_axes(file, place, *_):
    file[place] = rows()[None]


def no_axes(file, place, *_):
    file[place] = np.float32(1)


def nothing(file, place, *_):
    file[place] = h5py.Empty("f4")


def packed_zeros(file, place, *_):
    file.create_dataset(place, (300_000_000, 2), "f2", chunks=(10_000_000, 2), compression="gzip")
    packed = zlib.compress(bytes(40_000_000))
    for start in range(0, 300_000_000, 10_000_000):
        file[place].id.write_direct_chunk((start, 0), packed)


HARM = {
    external_link: "is a link to another file",
    soft_link: "is a soft link",
    dangling_link: "is a soft link",
    external_storage: r"lies in another file \(external storage\)",
    virtual: "virtual dataset",
    group: "is no array",
    whole_file_again: "is no array",
    named_type: "is no array",
    texts: "holds no numbers",
    references: "holds no numbers",
    fields: "holds no numbers",
    lists: "holds no numbers",
    never_written: "bytes large, and not all of them are in the file",
    trillion_rows: "of its [0-9,]+ chunks in the file",
    huge_chunk: "has chunks of",
    strange_filter: "is packed with the filter 32000; known are gzip",
    packed_zeros: "unpacks to 1,200,000,000 bytes|has 2 axes",
    other_axes: "has 3 axes where [12] are expected",
    no_axes: "has 0 axes|is no array",
    nothing: "has 0 axes",
}


def read_all(path):
    """Read a store in all ways."""
    with Store([path]) as store:
        for key in store.keys():  # noqa: SIM118 - no dict
            store.entry(key)
        return read_packed(store, store.keys())


@pytest.mark.parametrize("place", ["v", f"{POOLED}/a"])
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_a_store_with_anything_but_arrays_of_its_own_is_refused_by_name(tmp_path, harm, place):
    path = made(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        if place in file:
            del file[place]
        harm(file, place, *other_file(path))
    with pytest.raises(PipelineError, match=HARM[harm]) as error:
        read_all(path)
    assert error.value.where == str(path)
    assert f"`{place.rpartition('/')[2]}`" in error.value.what or f"`{place}`" in error.value.what


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_it_is_refused_when_it_is_opened_where_no_index_stands_for_it(tmp_path, harm):
    path = made(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        harm(file, "v", *other_file(path))
    with pytest.raises(PipelineError, match=HARM[harm]):
        Store([path])


@pytest.mark.parametrize("harm", [external_link, external_storage, virtual], ids=lambda harm: harm.__name__)
def test_a_forged_index_shows_bytes_of_this_file_alone(tmp_path, harm):
    path = made(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["z"] = rows(3)
        harm(file, "v", *other_file(path))
        offsets = {key: file[key].id.get_offset() for key in "az"}
        file[PLACES] = np.array([(0, 3), (offsets["a"], 4), (offsets["a"], 4), (offsets["z"], 4)], np.int64)
    with h5py.File(path, "r+") as file:
        file[PLACES][0, 0] = path.stat().st_size
    if harm is external_link:
        with pytest.raises(PipelineError, match="is a link to another file"):
            Store([path])
        return
    with Store([path]) as store:
        np.testing.assert_array_equal(read_packed(store, ["v"]), rows())
        for look in (store.read, store.entry, store.attributes):
            with pytest.raises(PipelineError, match=r"`v` (lies in another file|is put together)"):
                look("v")


@pytest.mark.parametrize(
    "forged",
    [(-8, 4), (10**6, 4), (2**62, 4), (0, 2**60), (512, 2**62), (512, -1)],
)
def test_an_index_that_points_out_of_the_file_is_not_believed(tmp_path, forged):
    with StoreWriter(tmp_path / "a.h5", PASSPORT) as writer:
        for seed, key in enumerate("abc"):
            writer.add(key, rows(seed))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file[PLACES][2] = forged
    with Store([tmp_path / "a.h5"]) as store:
        np.testing.assert_array_equal(read_packed(store, ["b"]), rows(1))


def test_rows_of_another_type_with_as_many_bytes_are_read_by_their_value(tmp_path):
    path = made(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["v"], file["big"] = np.arange(32, dtype="i4").reshape(4, 8), rows().astype(">f4")
    with Store([path]) as store:
        np.testing.assert_array_equal(read_packed(store, ["v"]), store.read("v"))
        np.testing.assert_array_equal(read_packed(store, ["big"]), rows())
        assert store.read("v")[3, 7] == 31


@pytest.mark.parametrize(
    "packing", [{"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}, {"chunks": (3, 5)}]
)
def test_a_store_that_was_packed_in_a_common_way_is_read(tmp_path, packing):
    path = made(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.create_dataset("v", data=rows(2), **packing)
        file.create_dataset("growing", data=rows(3), maxshape=(None, 8))
    np.testing.assert_array_equal(read_all(path)[4:], np.concatenate([rows(3), rows(2)]))


def test_an_array_where_pooled_vectors_belong_is_named_with_what_can_be_done(tmp_path):
    path = made(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file[POOLED]
        file[POOLED] = rows()
    with pytest.raises(PipelineError) as error:
        Store([path])
    assert "a.h5: `pooled` is an array, where a group of arrays is expected → it was made" in str(error.value)
    assert "extract again, or copy plain arrays into a new file" in str(error.value)


KEYS = ["..", "a\x1b[2Jb", "a\nb", "x" * 201, "a\u202eb", "a\x9bb", "a\udcffb"]


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_a_key_that_names_no_file_is_refused_and_obeyed_by_no_terminal(tmp_path, key, capsys):
    path = made(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        raw = key.encode("utf-8", "surrogateescape")
        h5py.h5d.create(file.id, raw, h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4, 8)))
        if key == "..":
            assert ".." in file
    with pytest.raises(SystemExit) as stop:
        main(["features", "inspect", str(path)])
    assert "a.h5: the array `" in str(stop.value)
    assert str(stop.value).replace("\n", "").isprintable()


FIELDS = {
    "family": ["/../../../escaped", "..", "a/b", "", "a b", "a\x1b[2J", "a\0b", 3, "x" * 201],
    "origin": ["../up", "raw\n", "", 7],
    "weights": ["\x1b]0;title\x07", "a\nb", 3.5],
    "grid": ["../..", "30s", "", 2],
    "dtype": ["object", "O", "float99", "S8", "f4,f4", 4],
    "dim": [0, -1, 10**12, "x", np.arange(3)],
    "revision": [0, -5, "x", 2.0**70],
    "preprocessing": ["\x1b[8m", "a\rb", 1],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in FIELDS.items() for v in values], ids=ascii)
def test_a_field_of_the_passport_that_is_none_is_refused_and_nothing_is_written(tmp_path, field, value):
    home = tmp_path / "a" / "b" / "c"
    home.mkdir(parents=True)
    if isinstance(value, str) and "\0" in value:
        pytest.skip("HDF5 ends a text there")
    path = made(home / "s.h5", **{field: value})
    with pytest.raises(SystemExit) as stop:
        main(["features", "inspect", str(path), "a", "--output", str(home)])
    assert f"s.h5: its `{field}`" in str(stop.value)
    assert "\x1b" not in str(stop.value)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_attributes_of_an_array_are_written_out_where_a_terminal_would_obey_them(tmp_path, capsys):
    path = made(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["a"].attrs["decoder\x1b[2J"] = "\x1b]0;x\x07 decord"
    main(["features", "inspect", str(path), "a", "--output", str(tmp_path)])
    said = capsys.readouterr().out
    assert r"decoder\x1b[2J \x1b]0;x\x07 decord" in said
    assert "\x1b" not in said


def test_a_family_that_nobody_knows_has_no_place_in_an_export(tmp_path, capsys):
    path = made(tmp_path / "a.h5", replace(PASSPORT, family="unheard-of"))
    with pytest.raises(SystemExit) as stop:
        main(["features", "export", str(path), "--dataset", "tvsum", "--output", str(tmp_path / "out")])
    assert "unheard-of" in str(stop.value)
    assert "→ name one of" in str(stop.value)


ENDLESS = """
import sys
from pipeline import cli
from pipeline.features import store

store.OPEN_S = 0.5
cli.main(["features", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    "command", [["inspect"], ["compare", "STORE"], ["export", "--dataset", "tvsum", "--output", "x"]]
)
def test_a_store_that_hdf5_never_finishes_reading_ends_the_command_with_one_line(tmp_path, command):
    path = made(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16 : heap + 32] = bytes(16)  # the first object of the heap: without a number and without a length
    path.write_bytes(content)
    arguments = [str(path) if one == "STORE" else one for one in command]
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS, *arguments, str(path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == f"{path}: opening it takes longer than 0.5 s: it is damaged → extract or fetch it again\n"


def test_a_store_that_opens_leaves_no_watcher_behind(tmp_path):
    before = psutil.Process().children()
    with open_stores(made(tmp_path / "a.h5")) as store:
        assert store.keys() == ["a"]
        assert psutil.Process().children() == before
