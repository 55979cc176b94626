"""The reader of Caffe2's pickles against files that were made to do harm: nothing is imported, called or blown up."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import sys
import tracemalloc

import numpy as np
import pytest
from mutations import FEW, MANY, mutated

from pipeline.encoders import caffe2_file
from pipeline.encoders.caffe2_file import read_arrays
from pipeline.encoders.slowfast import read_blobs
from pipeline.errors import PipelineError

NAMES = ("numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype", "_codecs encode")
STRANGE = ("os system", "builtins eval", "numpy load", "numpy.core.multiarray scalar", "copyreg _reconstructor")
OPCODES = tuple(op.code.encode("latin-1") for op in pickletools.opcodes)
MADE_PER_BYTE = 100
"""The memory that a byte of a file may need: an empty table takes 64 bytes and its place on the stack 8."""


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(of):
    module, _, called = of.partition(" ")
    return f"c{module}\n{called}\n".encode()


def call(called, *arguments):
    return name(called) + b"(" + b"".join(arguments) + b"tR"


def ints(*values):
    return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in values) + b"t"


DTYPE = call("numpy dtype", text("f4"), b"\x89", b"\x88") + b"(K\x03" + text("<") + b"NNNJ" + b"\xff" * 4
DTYPE += b"J" + b"\xff" * 4 + b"K\x00tb"
EMPTY = call("numpy.core.multiarray _reconstruct", name("numpy ndarray"), ints(0), text("b"))


def array(shape=(2,), data=b"\0\0\x80?\0\0\0@", dtype=DTYPE, fortran=b"\x89"):
    """Return the instructions for an array, after `_reconstruct`."""
    held = b"T" + struct.pack("<i", len(data)) + data
    return EMPTY + b"(K\x01" + ints(*shape) + dtype + fortran + held + b"tb"


def table(entry):
    """Return a whole pickle: `{"blobs": {"a": entry}}`."""
    return b"\x80\x02}" + text("blobs") + b"}" + text("a") + entry + b"ss."


def read(content, path):
    path.write_bytes(content)
    return read_arrays(path, "blobs")


@pytest.mark.parametrize("protocol", range(1, 5))
@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "f8", "i1", "<u2", ">i8"])
def test_plain_arrays_come_back_in_this_machines_byte_order(tmp_path, dtype, protocol):
    wanted = {
        "c": np.arange(12).reshape(3, 4).astype(dtype),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype)),
        "scalar": np.array(3, dtype),
        "empty": np.zeros((0, 4), dtype),
    }
    wanted["twice"] = wanted["c"]
    found = read(pickle.dumps({"blobs": wanted}, protocol), tmp_path / "x.pkl")
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype == value.dtype.newbyteorder("=")
        assert found[key].flags.writeable
    assert found["twice"] is found["c"]


u8 = call("numpy ndarray", ints(1), text("u8")) + b"q\x01K\x00\x8a\x08" + b"A" * 8 + b"s"
CRASH = b"\x80\x02" + u8 + b"0" + call("numpy ndarray", ints(1), text("O"), b"h\x01") + b"K\x00Ns."

HARM = {
    "an object array over chosen bytes": (CRASH, "calls ndarray"),
    "an array that is called": (table(call("numpy ndarray", ints(10**9))), "calls ndarray"),
    "numpy.dtype of objects": (table(array(dtype=DTYPE.replace(b"f4", b"O8"))), "the dtype 'O8'"),
    "numpy.dtype of a structure": (table(array(dtype=DTYPE.replace(b"f4", b"V8"))), "the dtype 'V8'"),
    "a dtype with fields": (table(array(dtype=DTYPE.replace(b"NNN", b"N})"))), "has fields"),
    "a dtype whose state is set twice": (table(DTYPE + b")b"), "sets the state of a Dtype"),
    "an array whose state is set twice": (table(array() + b"(K\x01" + ints(2) + b"tb"), "sets the state of a Array"),
    "more bytes than the file": (table(array(shape=(10**9,))), "4,000,000,000 bytes comes with 8"),
    "a negative shape": (table(array(shape=(-2,))), "without a plain dtype and shape"),
    "a shape whose product is small again": (table(array(shape=(2**31 - 1,) * 40)), "without a plain dtype and shape"),
    "an empty shape of sizes beyond memory": (table(array(shape=(0, *(2**31 - 1,) * 9), data=b"")), "."),
    "a subclass of arrays": (table(array().replace(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n")), "calls _reconstruct"),
    "the state of a name": (table(name("numpy ndarray") + b"}b"), "state that is no tuple"),
    "the state of a table": (table(b"}(tb"), "sets the state of a dict"),
    "an item of an array": (table(array() + b"K\x00Ns"), "treats a _?Array as a dict"),
    "an entry appended to a table": (table(b"}Na"), "treats a dict as a list"),
    "a call of a text": (table(text("x") + b")R"), "calls what is no name"),
    "a class made by NEWOBJ": (table(name("numpy ndarray") + b")\x81"), "NEWOBJ"),
    "a class made by INST": (table(b"(inumpy\nndarray\n"), "INST"),
    "a class made by OBJ": (table(b"(" + name("numpy ndarray") + b"o"), "OBJ"),
    "a persistent id": (table(b"Px\n"), "PERSID"),
    "an extension code": (table(b"\x82\x01"), "EXT1"),
    "an out-of-band buffer": (table(b"\x97"), "NEXT_BUFFER"),
    "a set": (table(b"\x8f"), "EMPTY_SET"),
    "a memo entry at four thousand million": (b"\x80\x02Nr\xff\xff\xff\xff.", "no table"),
    "a text of four gigabytes": (table(b"X\xff\xff\xff\x7f"), "."),
    "bytes of nine exabytes": (table(b"\x8e" + b"\xff" * 7 + b"\x7f"), "."),
    "a frame of nine exabytes": (b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f.", "."),
    "a number of two gigabytes": (table(b"\x8b\xff\xff\xff\x7f"), "."),
    "a number of a negative length": (table(b"\x8b\xff\xff\xff\xff"), "."),
    "a number of a million digits": (table(b"I" + b"9" * 10**6 + b"\n"), "."),
    "a name that takes for ever to look up": (table(b"N" + b"})" + b"2\x86" * 60 + b"Ns0"), "names are no texts"),
    "a deep name": (table(b"N" + b"})" + b"\x85" * 10**5 + b"Ns0"), "names are no texts"),
    "two million empty tables": (b"\x80\x02" + b"}" * 2_000_000 + b".", "more than 1,000,000 instructions"),
    "an empty stack": (b"\x80\x020.", "removes more from its stack than it put there"),
    "a mark that is taken for a value": (b"\x80\x02N(a.", "removes more from its stack than it put there"),
    "no end": (b"\x80\x02}", "."),
    "no table": (b"\x80\x02].", "no table `blobs`"),
}


@pytest.mark.parametrize("harm", HARM)
def test_harm_is_refused_with_its_reason(tmp_path, harm):
    content, reason = HARM[harm]
    with pytest.raises(ValueError, match=reason):
        read(content, tmp_path / "x.pkl")
    with pytest.raises(PipelineError, match=r"x\.pkl: does not hold SlowFast R50 .*→ fetch it again"):
        read_blobs(tmp_path / "x.pkl", "SlowFast R50")


def test_one_text_asked_for_as_bytes_a_thousand_times_costs_what_one_does(tmp_path):
    data = text("\0" * 80_000) + b"q\x01" + text("latin1") + b"q\x02"
    encoded = name("_codecs encode") + b"q\x03h\x01h\x02\x86R"
    again = b"h\x03h\x01h\x02\x86R" * 5_000
    found, peak = measured(b"\x80\x02(" + data + encoded + again + b"1" + table(array())[2:], tmp_path)
    assert isinstance(found, dict)
    assert peak < 6_000_000
    states = b"".join(EMPTY + b"(K\x01" + ints(20_000) + DTYPE + b"\x89h\x03h\x01h\x02\x86Rtb" for _ in range(50))
    found, peak = measured(b"\x80\x02(" + data + encoded + states + b"1" + table(array())[2:], tmp_path)
    assert "its arrays hold more bytes than the file" in str(found)
    assert peak < 6_000_000


def measured(content, folder):
    """Return (the arrays or the ValueError of a file, the largest memory in bytes)."""
    path = folder / "x.pkl"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        found = read_arrays(path, "blobs")
    except ValueError as error:
        found = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found, peak


def grown(dice, depth=0):
    """Return random instructions that mostly leave one value. They are of every kind that the reader knows and of
    others."""
    kinds = (leaf, leaf, shared, tabled, listed, tupled, called, told, arrayed)
    return dice.choice(kinds if depth < 5 else (leaf,))(dice, depth + 1)


def leaf(dice, _):
    number = dice.choice((0, 1, 2, -1, 255, 2**31 - 1, -(2**31)))
    length = dice.choice((0, 3, 2**20, 2**31 - 1))
    simple = [b"N", b"\x88", b"\x89", b")", b"]", b"}", b"K\x05", b"J" + struct.pack("<i", number)]
    texts = [text(dice.choice(("f4", "O", "<", "latin1", "b", "blobs", "\u00e9\U0001f600"))), b"U\x03abc", b"S'x'\n"]
    lying = [b"T" + struct.pack("<i", length) + b"abc", b"\x8e" + struct.pack("<Q", length) + b"abc"]
    lying += [b"\x8b" + struct.pack("<i", length) + b"ab", b"\x8d" + struct.pack("<Q", 2**63 - 1), b"\x8a\x02ab"]
    return dice.choice(simple + texts + [dice.choice(lying), b"F1e400\n", b"G\x7f\xf8" + bytes(6), b"L9L\n"])


def shared(dice, depth):
    number = dice.choice((0, 1, 2, 255))
    return dice.choice(
        (
            grown(dice, depth) + b"2",
            grown(dice, depth) + b"q" + bytes([number]),
            grown(dice, depth) + b"r" + struct.pack("<I", dice.choice((0, 2**31, 2**32 - 1))),
            b"h" + bytes([number]),
            grown(dice, depth) + b"\x94",
            b"0",
        )
    )


def tabled(dice, depth):
    return (
        b"}(" + b"".join(grown(dice, depth) for _ in range(dice.randrange(4))) + dice.choice((b"u", b"d", b"u", b"s"))
    )


def listed(dice, depth):
    return b"](" + b"".join(grown(dice, depth) for _ in range(dice.randrange(4))) + dice.choice((b"e", b"l", b"a"))


def tupled(dice, depth):
    many = b"".join(grown(dice, depth) for _ in range(3))
    return many + dice.choice((b"\x85", b"\x86", b"\x87")) * dice.choice((1, 1, 2, 50))


def called(dice, depth):
    who = name(dice.choice(NAMES if dice.random() < 0.9 else STRANGE))
    return (
        who
        + b"("
        + b"".join(grown(dice, depth) for _ in range(dice.randrange(4)))
        + b"t"
        + dice.choice((b"R", b"\x81"))
    )


def told(dice, depth):
    whom = dice.choice((DTYPE, EMPTY, array(), grown(dice, depth)))
    return whom + b"(" + b"".join(grown(dice, depth) for _ in range(dice.randrange(6))) + b"tb"


def arrayed(dice, _):
    shape = tuple(dice.choice((0, 1, 2, 3, 2**31 - 1, -1)) for _ in range(dice.randrange(3)))
    return array(shape, bytes(dice.choice((0, 4, 8, 24))))


@pytest.fixture(scope="module")
def watched():
    """Yield two lists, `seen` and `armed`. While `armed` has an entry, `seen` gets every import and every run of code
    or of a program."""
    seen, armed = [], []

    def look(event, arguments):
        if armed and event in ("import", "exec", "compile", "os.system", "subprocess.Popen", "pickle.find_class"):
            seen.append((event, arguments))

    sys.addaudithook(look)
    yield seen, armed
    armed.clear()


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.fuzz)], ids=["few", "many"])
def test_no_damaged_pickle_crashes_imports_or_blows_up(tmp_path, watched, count):
    seen, armed = watched
    dice = random.Random(count)
    honest = io.BytesIO()
    pickle.dump({"blobs": {k: np.ones((2, 3), "f4") for k in "abc"} | {"lr": [1.5, None, "x", 2**70]}}, honest, 2)
    for first in (honest.getvalue(), b"Vx\n."):  # what is imported at the first use, as the codec of V's text is
        measured(first, tmp_path)
    modules = set(sys.modules)
    outcomes = {"read": 0, "refused": 0}
    for turn in range(count):
        seed = honest.getvalue() if turn % 3 else table(grown(dice))
        content = seed if turn % 6 == 0 else mutated(dice, seed, OPCODES)
        armed.append(turn)
        found, peak = measured(content, tmp_path)
        armed.clear()
        outcomes["read" if isinstance(found, dict) else "refused"] += 1
        assert peak < MADE_PER_BYTE * len(content) + 200_000, (content, peak)
    assert seen == []
    assert set(sys.modules) == modules
    print(f"| Caffe2 pickle | {count:,} | {outcomes['read']:,} | {outcomes['refused']:,} | 0 |")
    assert min(outcomes.values()) > count / 20


def test_the_limit_of_instructions_leaves_a_whole_network_room(monkeypatch, tmp_path):
    monkeypatch.setattr(caffe2_file, "MOST_STEPS", 100_000)
    blobs = {f"layer{k}": np.ones((2, 2), "f4") for k in range(662)}
    blobs |= {f"{key}_momentum": value.copy() for key, value in blobs.items()}
    assert len(read(pickle.dumps({"blobs": blobs}, 2), tmp_path / "x.pkl")) == 1324
