"""Tests that a command ends with one line if memory or room on the disk is lacking, wherever the error occurs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline import cli, commands, files, memory

STARTS_THREADS = """
import threading
from pipeline import memory

def take():
    {what}

def is_lacking():
    raise MemoryError

with memory.threads_watched("probe: full"):
    {before}
    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
print("went on")
"""


def said_by(what, before="pass"):
    code = STARTS_THREADS.format(what=what, before=before)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("what", "before"),
    [
        ("is_lacking()", "pass"),
        ("raise ImportError('libx.so: failed to map segment from shared object')", "pass"),
        ("pass", "threading.Thread._set_ident = lambda self: is_lacking()"),
    ],
    ids=["at work", "while it imports", "before it has begun"],
)
def test_a_thread_without_memory_ends_the_process_with_one_line(what, before):
    ended = said_by(what, before)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "probe: full\n")


NO_ROOM = "import resource; resource.setrlimit(resource.RLIMIT_AS, (memory.ROOM, resource.RLIM_INFINITY))"


def test_no_thread_is_started_where_it_would_find_no_memory():
    ended = said_by("pass", before=NO_ROOM)
    assert ended.stderr.endswith("MemoryError: no room for a thread\n")
    assert (ended.returncode, ended.stdout) == (1, "")


def test_an_error_that_python_lost_is_a_full_memory_only_where_there_is_none(monkeypatch):
    lost = SystemError("error return without exception set")
    assert not memory.is_lacking(lost)
    monkeypatch.setattr(memory, "ROOM", 1 << 60)
    assert memory.is_lacking(lost)


def test_another_error_of_a_thread_is_told_as_ever():
    ended = said_by("raise ValueError('no')")
    assert "ValueError: no" in ended.stderr
    assert ended.stdout == "went on\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (ImportError("libtorch.so: failed to map segment from shared object"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("shape mismatch"), False),
        (OSError(2, "No such file or directory"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_what_says_that_memory_is_lacking(error, expected):
    assert memory.is_lacking(error) == expected


@pytest.mark.parametrize("number", files.NO_ROOM)
def test_a_log_that_cannot_grow_is_no_traceback(monkeypatch, number):
    def say(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(commands, "schema", say)
    with pytest.raises(SystemExit, match=r"^schema: nothing more can be written .* → make room"):
        cli.main(["schema"])
