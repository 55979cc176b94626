"""Reads the arrays of a Caffe2 weight file, which is a pickle of Python 2, with a small interpreter of our own.

Python's unpickler calls the functions that a file names, and changes the objects that the file made. A file that may
use `numpy.ndarray` can write to any address of the memory. The interpreter here knows texts, numbers, lists and tables.
The few names that are needed for arrays become harmless placeholders. A placeholder becomes an array only if its dtype,
shape and bytes agree. Every other name and every other instruction is refused. What is made cannot be larger than the
file times a constant, and the number of instructions is limited.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np


class RefusedError(ValueError):
    """The file asks for something that arrays do not need, or contradicts itself."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A name in a library that the file asks for. It is never imported."""

    name: str


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Bytes that Python 3 wrote as text.

    The bytes are made only when an array needs them. Otherwise a short file could ask for them a million times.
    """

    text: str


@dataclass(slots=True)
class _Dtype:
    """A dtype that is being read. order: `<`, `>` or `|`. It is empty until the file gives it."""

    code: str
    order: str = ""


@dataclass(slots=True)
class _Array:
    """An array that is being read. value: None until the file gives its content."""

    value: np.ndarray | None = None


_NAMES = {
    "numpy.core.multiarray _reconstruct": _Name("_reconstruct"),
    "numpy._core.multiarray _reconstruct": _Name("_reconstruct"),
    "numpy ndarray": _Name("ndarray"),
    "numpy dtype": _Name("dtype"),
    "_codecs encode": _Name("encode"),
    "__builtin__ bytes": _Name("bytes"),
}

_PLAIN = frozenset(f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248"}.items() for size in sizes)
"""The accepted dtypes: floating point, and signed and unsigned integers."""

_MOST_AXES = 32

MOST_STEPS = 1_000_000
"""The largest accepted number of instructions in one file.

The released file with 662 arrays and their momentum has fewer than 100,000. Together with the limit on the bytes of the
arrays, this limits memory and time, because an instruction of one byte can make an object of 64 bytes.
"""


def read_arrays(path: Path, key: str) -> dict[str, Any]:
    """Read the table that a file has under `key`. Its entries are arrays, texts, numbers, lists and the like, by name.

    Nothing in the file is imported or called. The arrays are copies in the byte order of this machine. Together they
    have at most as many bytes as the file.
    Raises ValueError with the reason for a file that is not such a pickle, and OSError if it cannot be read.
    """
    content = path.read_bytes()
    found = _Machine(len(content)).run(content)
    table = found.get(key) if isinstance(found, dict) else None
    if not isinstance(table, dict):
        raise RefusedError(f"it holds no table `{key}`")
    return {str(name): entry.value if isinstance(entry, _Array) else entry for name, entry in table.items()}


class _Machine:
    """Runs the instructions of one pickle. allowed_bytes: the largest size of all its arrays together."""

    def __init__(self, allowed_bytes: int) -> None:
        self._left = allowed_bytes
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        """Run all instructions and return the object that the pickle describes."""
        for step, (opcode, argument, position) in enumerate(pickletools.genops(content)):
            if step == MOST_STEPS:
                raise RefusedError(f"it has more than {MOST_STEPS:,} instructions")
            if opcode.name == "STOP":
                return self._pop()
            if opcode.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[opcode.name])
            elif opcode.name in _LITERALS:
                self._stack.append(argument)
            elif opcode.name in _STEPS:
                _STEPS[opcode.name](self, argument)
            else:
                raise RefusedError(
                    f"it holds the instruction {opcode.name} at byte {position}, which arrays do not need"
                )
        raise RefusedError("it has no end")

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise RefusedError("it removes more from its stack than it put there")
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        """Return the top of the stack, which must have exactly this type, and leave it there."""
        top = self._pop()
        if type(top) is not kind:
            raise RefusedError(f"it treats a {type(top).__name__} as a {kind.__name__}")
        self._stack.append(top)
        return top

    def _since_mark(self) -> list[Any]:
        if not self._marks:
            raise RefusedError("it contains a pickle instruction that needs a mark, but no mark was set before")
        start = self._marks.pop()
        found = self._stack[start:]
        del self._stack[start:]
        return found

    def mark(self, _: Any) -> None:
        """Set a mark: remember the height of the stack."""
        self._marks.append(len(self._stack))

    def drop(self, _: Any) -> None:
        """Remove the top of the stack. If nothing lies above the last mark, remove the mark."""
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self._pop()

    def drop_to_mark(self, _: Any) -> None:
        """Remove everything that came after the last mark."""
        self._since_mark()

    def again(self, _: Any) -> None:
        """Push the top of the stack a second time."""
        self._stack.append(top := self._pop())
        self._stack.append(top)

    def remember(self, number: Any) -> None:
        """Store the top of the stack under a number, or under the next free number if none is given."""
        self._memo[len(self._memo) if number is None else int(number)] = top = self._pop()
        self._stack.append(top)

    def recall(self, number: Any) -> None:
        """Push what was stored under a number."""
        if number not in self._memo:
            raise RefusedError("it recalls what it did not keep")
        self._stack.append(self._memo[number])

    def tuple_of(self, count: int) -> None:
        """Replace the upper `count` entries of the stack by a tuple of them."""
        self._stack.append(tuple(reversed([self._pop() for _ in range(count)])))

    def tuple_since_mark(self, _: Any) -> None:
        """Replace everything after the last mark by a tuple of it."""
        self._stack.append(tuple(self._since_mark()))

    def new_list(self, _: Any) -> None:
        """Push an empty list."""
        self._stack.append([])

    def list_since_mark(self, _: Any) -> None:
        """Replace everything after the last mark by a list of it."""
        self._stack.append(self._since_mark())

    def append(self, _: Any) -> None:
        """Append the top of the stack to the list below it."""
        entry = self._pop()
        self._top(list).append(entry)

    def extend(self, _: Any) -> None:
        """Append everything after the last mark to the list below it."""
        entries = self._since_mark()
        self._top(list).extend(entries)

    def new_table(self, _: Any) -> None:
        """Push an empty table."""
        self._stack.append({})

    def table_since_mark(self, _: Any) -> None:
        """Replace everything after the last mark, which is names and entries in turn, by a table."""
        self._stack.append(_named({}, self._since_mark()))

    def set_one(self, _: Any) -> None:
        """Add a name and an entry to the table below them."""
        entry, name = self._pop(), self._pop()
        _named(self._top(dict), [name, entry])

    def set_many(self, _: Any) -> None:
        """Add everything after the last mark, which is names and entries in turn, to the table below it."""
        entries = self._since_mark()
        _named(self._top(dict), entries)

    def name(self, name: Any) -> None:
        """Push a placeholder for a name in a library."""
        if name not in _NAMES:
            raise RefusedError(f"it asks for {str(name)[:80].replace(' ', '.')}, which arrays do not need")
        self._stack.append(_NAMES[name])

    def name_from_stack(self, _: Any) -> None:
        """Push a placeholder for a name in a library. The module and the name are two texts on the stack."""
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise RefusedError("it asks for a name that is no text")
        self.name(f"{module} {name}")

    def call(self, _: Any) -> None:
        """Handle the instruction by which a pickle calls a function.

        Nothing is called. The names that arrays need give an empty placeholder, and all others are refused.
        """
        arguments, called = self._pop(), self._pop()
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise RefusedError("it calls what is no name")
        self._stack.append(_made(called.name, arguments))

    def tell(self, _: Any) -> None:
        """Handle the instruction by which a pickle sets the state of an object.

        Only the byte order of a dtype and the content of an array can be set, each only once.
        """
        state, told = self._pop(), self._pop()
        if not isinstance(state, tuple):
            raise RefusedError("it sets a state that is no tuple")
        if isinstance(told, _Dtype) and not told.order:
            told.order = _byte_order(told.code, state)
        elif isinstance(told, _Array) and told.value is None:
            told.value = self._array(state)
        else:
            raise RefusedError(f"it sets the state of a {type(told).__name__.strip('_')}")
        self._stack.append(told)

    def _array(self, state: tuple[Any, ...]) -> np.ndarray:
        if len(state) != 5 or not isinstance(state[2], _Dtype) or not state[2].order or not _is_shape(state[1]):
            raise RefusedError("it holds an array without a plain dtype and shape")
        _, shape, dtype, is_fortran, data = state
        plain = np.dtype(f"{dtype.order}{dtype.code}")
        n_bytes = prod(shape) * plain.itemsize
        held = len(data) if isinstance(data, bytes | str) else len(data.text) if isinstance(data, _Encoded) else -1
        if held != n_bytes:
            raise RefusedError(f"an array of {n_bytes:,} bytes comes with {max(held, 0):,}")
        self._left -= n_bytes
        if self._left < 0:
            raise RefusedError("its arrays hold more bytes than the file")
        content = data if isinstance(data, bytes) else getattr(data, "text", data).encode("latin-1")
        rows = (np.frombuffer(content, plain) if content else np.empty(0, plain)).reshape(
            shape, order="F" if is_fortran is True else "C"
        )
        return rows.astype(plain.newbyteorder("="), order="C")


def _made(name: str, arguments: tuple[Any, ...]) -> _Array | _Dtype | _Encoded:
    match name, arguments:
        case "_reconstruct", (_Name(name="ndarray"), (0,), "b" | b"b" | _Encoded(text="b")):
            return _Array()
        case "dtype", (str(code), *_) if code in _PLAIN and len(arguments) <= 3:
            return _Dtype(code)
        case "dtype", (str(code), *_):
            raise RefusedError(f"it asks for the dtype {code[:20]!r}, which is no plain number")
        case "encode", (str(text), "latin1" | "latin-1"):
            return _Encoded(text)
        case "bytes", ():
            return _Encoded("")
    raise RefusedError(f"it calls {name} with something else than arrays need")


def _byte_order(code: str, state: tuple[Any, ...]) -> str:
    match state:
        case (int(), ("<" | ">" | "|") as order, None, None, None, -1, -1, 0):
            if (order == "|") != code.endswith("1"):
                raise RefusedError(f"the dtype {code} has the byte order {order}")
            return str(order)
    raise RefusedError(f"the dtype {code} has fields, or another state than plain numbers have")


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= _MOST_AXES
        and all(type(n) is int and 0 <= n < 1 << 48 for n in shape)
    )


def _named(table: dict[Any, Any], entries: list[Any]) -> dict[Any, Any]:
    """Add names and entries in turn. Only texts and integers may be names; hashing others can take long."""
    if len(entries) % 2 or not all(type(name) in (str, bytes, int) for name in entries[::2]):
        raise RefusedError("it holds a table whose names are no texts")
    table.update(zip(entries[::2], entries[1::2], strict=True))
    return table


_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}

_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)

_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda _machine, _version: None,
    "FRAME": lambda _machine, _size: None,
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.drop_to_mark,
    "DUP": _Machine.again,
    "MEMOIZE": _Machine.remember,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    "TUPLE": _Machine.tuple_since_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "EMPTY_LIST": _Machine.new_list,
    "LIST": _Machine.list_since_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "EMPTY_DICT": _Machine.new_table,
    "DICT": _Machine.table_since_mark,
    "SETITEM": _Machine.set_one,
    "SETITEMS": _Machine.set_many,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.tell,
}
