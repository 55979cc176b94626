"""Opens a released checkpoint without executing anything in it.

PyTorch's restricted unpickler builds tensors and plain values only. Three more names are allowed: argparse.Namespace,
and NumPy's scalar and dtype. The last two are replaced by harmless classes of this module, so that NumPy is never
called with values from the file. NumPy's own functions could be made to read or write memory of the file's choice.
"""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from pipeline import files
from pipeline.encoders.state import refuse_bomb
from pipeline.errors import PipelineError
from pipeline.nouns import counted

HEAD_BYTES = 512
"""The number of bytes at the start of a file that are read to recognise its kind. The mark of a tar archive is at byte
257."""

SCALARS = {
    "b1": "?",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
}
"""The kinds of numbers that are accepted: NumPy's name of a kind, and the name that `struct` has for it."""

COMPARE = "compare its size and digest with those at its source, and fetch it again if they differ"

NAMED = [
    re.compile(pattern)
    for pattern in (
        r"GLOBAL ([\w.]+)",
        r"recognized function <(?:\w|-)+ (?:function )?'?([\w.]+)",
        r"but got <class '([\w.]+)",
    )
]
"""Patterns that find, in the messages of PyTorch's unpickler, the name of what it refused."""


class NotPlainError(pickle.UnpicklingError):
    """A value is written like a plain number of NumPy, but is not one."""


class Dtype:
    """Replaces numpy.dtype while a file is read. It remembers the kind of a number and its byte order."""

    def __init__(self, kind: str, *_: object) -> None:
        if kind not in SCALARS:
            raise NotPlainError(f"holds a NumPy value of kind {str(kind)[:20]!r}, which is no plain number")
        self.kind, self.order = kind, "<"

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2:
            raise NotPlainError("holds a NumPy scalar that is not written as NumPy writes it")
        self.order = ">" if state[1] == ">" else "<"


def scalar(dtype: Dtype, data: bytes) -> bool | int | float:
    """Do the work of the function by which NumPy rebuilds a scalar, and return a number of Python.

    Raises NotPlainError if the value is not a plain number.
    """
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise NotPlainError("holds a NumPy scalar that is not written as NumPy writes it")
    try:
        return struct.unpack(dtype.order + SCALARS[dtype.kind], data)[0]
    except struct.error as error:
        raise NotPlainError("holds a NumPy scalar of another size than its kind") from error


LET_IN: list[Any] = [
    argparse.Namespace,
    (Dtype, "numpy.dtype"),
    (scalar, "numpy.core.multiarray.scalar"),
    (scalar, "numpy._core.multiarray.scalar"),
]
"""The objects that PyTorch's unpickler may build, besides tensors and plain values. NumPy 2 renamed its module `core`
to `_core`."""


def save_plain(entry: str) -> str:
    """Return how to save a checkpoint again so that it can be read here. entry: the key of its weights."""
    return (
        "on the machine where the file was made, save it again with only tensors and plain values: "
        f'torch.save({{"{entry}": model.state_dict(), "opt": {{k: v if isinstance(v, (int, float)) else str(v)'
        ' for k, v in vars(opt).items()}, "epoch": epoch}, FILE)'
    )


def read(path: Path, entry: str = "model") -> dict[str, Any]:
    """Read the content of a checkpoint. entry: the key of its weights, for the advice in errors.

    Raises PipelineError for a file that is not a checkpoint (the error says what it is instead), for a file that
    unpacks to far more bytes than an honest file of its size, and for a file that holds anything but plain values.
    """
    _must_be_a_checkpoint(path)
    try:
        refuse_bomb(path)
        _refuse_changed(path)
    except ValueError as error:
        raise PipelineError(f"is refused: {error}; nothing in it was executed", where=path, remedy=COMPARE) from error
    except OSError as error:
        raise files.cannot_read(path, error) from error
    try:
        with torch.serialization.safe_globals(LET_IN), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's warnings about the version of a pickle do not help the user
            held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise files.cannot_read(path, error) from error
    except Exception as error:  # a file of unknown origin can make the unpickler raise any exception
        raise _refused(path, error, save_plain(entry)) from error
    if not isinstance(held, dict):
        raise PipelineError(
            f"holds a value of type {type(held).__name__}, not a dict in which the weights have a name",
            where=path,
            remedy=save_plain(entry),
        )
    return held


def _refuse_changed(path: Path) -> None:
    """Raise ValueError if an entry of a checkpoint does not fit its checksum. PyTorch's reader compares no checksums,
    so a bit that a disk turned round would become another weight.

    A file whose checksums are all 0 was written without them. Files in PyTorch's old format have none, either.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if not any(entry.CRC for entry in entries):
            return
        for entry in entries:
            try:
                with archive.open(entry) as content:
                    while content.read(files.CHUNK_BYTES):
                        pass
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                raise ValueError(
                    f"its entry {entry.filename[:100]} was changed or damaged after it was written"
                ) from error


def _refused(path: Path, error: Exception, remedy: str) -> PipelineError:
    """Make an error that names the refused class, or says that the file is damaged. remedy: what to do without it.

    PyTorch's own message is not shown, because it advises to load the file without any restriction.
    """
    reason = error.__context__ if isinstance(error.__context__, pickle.UnpicklingError) else error
    said = str(reason)
    if isinstance(reason, NotPlainError):
        return PipelineError(f"{said}; nothing in it was executed", where=path, remedy=remedy)
    if name := next((found for pattern in NAMED if (found := pattern.search(said))), None):
        return PipelineError(
            f"holds {name[1][:100]}, which is no tensor and no plain value; nothing in it was executed",
            where=path,
            remedy=remedy,
        )
    return PipelineError(
        f"is damaged, or was not written by torch.save ({type(error).__name__}); nothing in it was executed",
        where=path,
        remedy=COMPARE,
    )


def _must_be_a_checkpoint(path: Path) -> None:
    """Raise PipelineError if the first bytes are not those of a checkpoint. The error says what the file is instead."""
    try:
        files.refuse_special(path)
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise files.cannot_read(path, error) from error
    if found := _other_kind(path, head):
        what, remedy = found
        raise PipelineError(f"is {what}, not a checkpoint", where=path, remedy=remedy)


def _other_kind(path: Path, head: bytes) -> tuple[str, str] | None:  # noqa: PLR0911 - a kind of file, an answer
    """Return what a file is and what to do about it, or None if it may be a checkpoint."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "an empty file", "fetch it again: nothing of it arrived"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return (
            "a web page (a login, a quota or an error page that was saved under this name)",
            "open the address in a browser, see what the page asks for, and fetch the file then",
        )
    if head.startswith(b"version https://git-lfs"):
        return (
            "a Git LFS pointer (the digest of a file that is stored elsewhere)",
            "run `git lfs pull` in its repository, or fetch the file from the repository's web page",
        )
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return (
            "a safetensors file",
            "name the checkpoint (.ckpt, .pth) that it was made from; this command writes safetensors, it reads none",
        )
    for magic, kind in ((b"\x1f\x8b", "gzip"), (b"7z\xbc\xaf", "7z"), (b"Rar!", "rar"), (b"\xfd7zXZ", "xz")):
        if head.startswith(magic):
            return f"a packed file ({kind})", "unpack it and name the checkpoint in it"
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it and name the checkpoint in it"
    if head.startswith(b"PK"):
        return _other_zip(path)
    if head.isascii() and b"\0" not in head:
        return "a text file", "name the checkpoint (.ckpt, .pth) itself"
    return None


def _other_zip(path: Path) -> tuple[str, str] | None:
    """Do the same for a zip file. A checkpoint is a zip file, too; it contains a file `data.pkl`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "half of a zip file", "fetch it again: the end did not arrive"
    if any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names):
        return None
    inside = [name for name in names if name.endswith((".ckpt", ".pth", ".pt"))]
    return (
        f"a zip of {counted(len(names), 'file')}" + (f", among them {inside[0]}" if inside else ""),
        "unpack it and name the checkpoint in it",
    )
