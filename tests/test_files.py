"""Files appear whole or not at all, and one process works in one place."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys

import pytest

from pipeline import files
from pipeline.errors import PipelineError

HOLD = """
import sys, time
from pipeline import files
with files.lock(sys.argv[1]):
    print(1, flush=True)
    time.sleep(60)
"""


def test_a_file_appears_only_when_its_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "table.csv"
    with pytest.raises(ZeroDivisionError), files.atomic(target) as file:
        file.write("half")
        raise ZeroDivisionError
    assert not target.exists()
    assert list(target.parent.iterdir()) == []
    with files.atomic(target) as file:
        file.write("whole")
    assert target.read_text() == "whole"


def test_a_failed_rewrite_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.json"
    files.write_json(target, {"b": 1})
    with pytest.raises(RuntimeError), files.atomic_path(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert files.read_json(target) == {"b": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_equal_values_give_equal_bytes(tmp_path):
    files.write_json(tmp_path / "a", {"x": 1, "y": [2]})
    files.write_json(tmp_path / "b", {"y": [2], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_path_that_cannot_be_written_is_named_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match=r"file/x\.json: cannot be written .* → check") as caught:
        files.write_json(tmp_path / "file" / "x.json", {})
    assert "\n" not in str(caught.value)


def test_a_git_blob_digest_is_gits(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"hello\n")
    assert files.digest(path, "git-blob") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert files.sha256(path) == hashlib.sha256(b"hello\n").hexdigest()


def test_a_place_is_locked_against_another_process_and_free_after_its_death(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "m")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "1\n"
    with pytest.raises(PipelineError, match="another process is at work"), files.lock(tmp_path / "m"):
        pass
    holder.kill()
    holder.wait()
    with files.lock(tmp_path / "m"):
        pass


def test_a_file_system_without_locks_is_said_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    told = r"m\.lock: cannot be locked .No locks available.*a file system with locks"
    with pytest.raises(PipelineError, match=told), files.lock(tmp_path / "m"):
        pass
