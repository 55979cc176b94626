"""NumPy's files of strangers: honest ones as NumPy reads them, all others a ValueError and one row of a report."""

from __future__ import annotations

import io
import os
import random
import struct
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import released_archive as released
from released_archive import CLIPS, report, rows, run, store_of, tvsum_archive

from pipeline.acquire import archives
from pipeline.features.exchange.archive_files import read_released
from pipeline.features.exchange.array_files import read_npy, read_npz
from pipeline.features.exchange.layouts import Layout


def npy(header, body=b"\0" * 64, version=(1, 0), length=None):
    """Return a file with a header of our own words."""
    text = header if isinstance(header, bytes) else header.encode("latin-1")
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + size + text + body


def described(descr="'<f4'", order="False", shape="(2, 8)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


HARM = {
    "a million million rows": (
        npy(described(shape=f"({10**12}, 512)")),
        "it claims 2,048,000,000,000,000 bytes",
    ),
    "one row more than there are": (
        npy(described(shape="(3, 8)")),
        "it claims 96 bytes of numbers, 64 are there",
    ),
    "more rows than a number holds": (npy(described(shape=f"({10**30}, 8)")), "it claims"),
    "a number of five thousand digits": (npy(described(shape=f"({'9' * 5000}, 8)")), "has no header of NumPy"),
    "negative rows": (npy(described(shape="(-2, 8)")), "that no array has"),
    "two negatives": (npy(described(shape="(-2, -8)")), "that no array has"),
    "sizes whose product is none": (npy(described(shape=f"(0, {2**62}, {2**62})")), "."),
    "forty axes": (npy(described(shape=f"({'1,' * 40})")), "a shape of 40 axes"),
    "a shape of texts": (npy(described(shape="('2', 8)")), "has no header of NumPy"),
    "a shape of truth": (npy(described(shape="(True, 8)")), "that no array has"),
    "objects": (npy(described("'|O'")), "holds object where numbers are expected; nothing is unpickled"),
    "objects in a structure": (npy(described("[('a', '|O')]")), "nothing is unpickled"),
    "a structure": (npy(described("[('a', '<f4'), ('b', '<f4')]")), "where numbers are expected"),
    "texts": (npy(described("'<U4'")), "where numbers are expected"),
    "times": (npy(described("'<M8[s]'")), "where numbers are expected"),
    "bytes of no kind": (npy(described("'|V8'")), "where numbers are expected"),
    "no dtype": (npy(described("'no'")), "has no header of NumPy"),
    "a deep dtype": (npy(described("[" * 300 + "]" * 300)), "has no header of NumPy"),
    "no literal": (npy("{'descr': [(", b""), "has no header of NumPy"),
    "no literal, cut": (npy("{'a'(\n", b""), "has no header of NumPy"),
    "a call": (npy("{'descr': __import__('os').system('x'), 'fortran_order': False, 'shape': (2, 8)}"), "no header"),
    "an unclosed text": (npy('"""'), "has no header of NumPy"),
    "an odd indentation": (npy("  {\n\t1:\n 2}"), "has no header of NumPy"),
    "a zero byte": (npy("{'descr\0"), "has no header of NumPy"),
    "a list": (npy("[1, 2]"), "has no header of NumPy"),
    "a key too many": (npy(described().replace("}", "'x': 1}")), "has no header of NumPy"),
    "a header longer than the file": (npy(described(), length=60_000), "has no header of NumPy"),
    "a header of four gigabytes": (npy(described(), version=(2, 0), length=2**32 - 1), "has no header of NumPy"),
    "a header of brackets": (npy("(" * 9_000), "has no header of NumPy"),
    "a later format": (npy(described(), version=(9, 0)), "version 9.0 of NumPy's format"),
    "only its first word": (b"\x93NUMPY", "has no header of NumPy"),
    "nothing": (b"", "has no header of NumPy"),
    "a web page": (b"<html>not found</html>", "has no header of NumPy"),
    "a pickle": (b"\x80\x02cos\nsystem\nU\x01xR.", "has no header of NumPy"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_header_is_not_believed(tmp_path, harm):
    content, reason = HARM[harm]
    (tmp_path / "x.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("rows.npy", content)
        file.writestr("pooled.npy", content)
    tracemalloc.start()
    try:
        for name, layout in (("x.npy", Layout("{vid}.npy")), ("x.npz", Layout("{vid}.npz", "rows", "pooled"))):
            with pytest.raises(ValueError, match=reason):
                read_released(tmp_path / name, layout)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_bit_of_an_npz_ends_in_another_error(tmp_path, packing):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", packing) as file:
        file.writestr("features.npy", npy(described()))
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x80]) + whole[position + 1 :])
        with suppress(ValueError):
            read_npz(path)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "i1", "<u4", "?"])
@pytest.mark.parametrize("shape", [(3, 8), (5,), (), (0, 8), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_honest_file_is_read_as_numpy_reads_it(tmp_path, dtype, shape, order):
    array = np.asarray(np.random.default_rng(0).integers(0, 2, shape), dtype, order=order)
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", rows=array, other=np.zeros(3))
    for found in (read_npy(tmp_path / "x.npy"), read_npz(tmp_path / "x.npz")["rows"]):
        expected = np.load(tmp_path / "x.npy", allow_pickle=False)
        np.testing.assert_array_equal(found, expected)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)


def test_the_second_version_of_the_format_and_bytes_behind_the_array_are_read(tmp_path):
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, rows(3, 8), version=(2, 0))
        file.write(b"more")
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), rows(3, 8))


def test_an_array_that_nobody_asks_for_does_no_harm(tmp_path):
    np.savez(tmp_path / "x.npz", features=rows(3, 8), info=np.array([{"a": 1}], dtype=object))
    found, _ = read_released(tmp_path / "x.npz", Layout("{vid}.npz", "features"))
    np.testing.assert_array_equal(found, rows(3, 8))


def bomb(path, n_bytes, name="features.npy"):
    """Write zeros that are packed to a thousandth."""
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (n_bytes // 32, 8)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open(name, "w") as member:
        member.write(header.getvalue())
        for _ in range(n_bytes >> 20):
            member.write(bytes(1 << 20))


@pytest.mark.parametrize("name", ["features.npy", "other.npy"])
def test_an_npz_that_was_made_to_fill_the_memory_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    bomb(tmp_path / "x.npz", 8 << 20, name)
    with pytest.raises(ValueError, match="unpacks to more than 1,048,576 bytes, over 100 times its size"):
        read_released(tmp_path / "x.npz", Layout("{vid}.npz", "features"))
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1 << 30)
    if name == "features.npy":
        assert read_npz(tmp_path / "x.npz")["features"].shape == (1 << 18, 8)


def test_a_member_that_says_it_is_small_is_no_larger_for_it(tmp_path):
    bomb(tmp_path / "x.npz", 4 << 20)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    size = struct.pack("<I", (4 << 20) + 128)
    assert content.count(size)
    (tmp_path / "x.npz").write_bytes(content.replace(size, struct.pack("<I", 200)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"cannot be read .Bad CRC-32"):
            read_npz(tmp_path / "x.npz")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_damage_of_any_kind_is_a_value_error(tmp_path, suffix):
    dice = random.Random(suffix)
    whole = tmp_path / f"whole.{suffix}"
    np.save(whole, rows(4, 8)) if suffix == "npy" else np.savez_compressed(whole, features=rows(4, 8))
    path = tmp_path / f"x.{suffix}"
    refused = 0
    for _ in range(600):
        content = bytearray(whole.read_bytes()[: dice.choice((None, dice.randrange(500)))])
        for _ in range(dice.randrange(4)):
            if content:
                content[dice.randrange(min(len(content), dice.choice((20, 200, 2000))))] = dice.randrange(256)
        path.write_bytes(content)
        try:
            found, _ = read_released(path, Layout("{vid}", "features" if suffix == "npz" else ""))
        except ValueError:
            refused += 1
        else:
            assert found.nbytes < 10_000
    assert refused > 200


def test_what_is_no_file_is_no_array(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "folder.npy").mkdir()
    for name in ("pipe.npy", "folder.npy"):
        with pytest.raises(ValueError, match="is no file"):
            read_released(tmp_path / name, Layout("{vid}"))


def test_of_a_whole_import_each_bad_file_is_one_row(tmp_path):
    folder = tvsum_archive(tmp_path / "in")
    families = {"i3d-inception-rgb-tvsum": "_rgb", "i3d-inception-flow-tvsum": "_opt"}
    bad = {}
    for vid, harm in zip(CLIPS, ("a million million rows", "no literal", "objects", "negative rows"), strict=False):
        (folder / f"video_features/{vid}_rgb.npy").write_bytes(HARM[harm][0])
        bad[vid] = HARM[harm][1]
    with zipfile.ZipFile(folder / "query_features/d.npz", "w") as file:
        file.writestr("token.npy", HARM["a header of four gigabytes"][0])
    (folder / "audio_features/e.npy").unlink()
    os.mkfifo(folder / "audio_features/e.npy")
    _, manifest = run(tmp_path, folder)
    found = {(row["family"], row["key"]): row for row in report(tmp_path)}
    assert {key for family, key in found if family == "i3d-inception-rgb-tvsum"} == set(bad)
    for vid, reason in bad.items():
        row = found["i3d-inception-rgb-tvsum", vid]
        assert row["finding"] == "broken"
        assert reason in row["detail"]
    assert found["clip-token-table", "d"]["finding"] == "broken"
    assert found["pann-cnn14", "e"]["detail"] == "is no file"
    assert len(manifest["skipped"]) == len(found) == 6
    assert store_of(tmp_path, "i3d-inception-rgb-tvsum").keys() == ["e"]
    assert len(store_of(tmp_path, "i3d-inception-flow-tvsum")) == len(CLIPS)
    assert set(families) <= set(released.TVSUM)
