"""One process works in one place, because it holds a lock."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from pipeline import locks
from pipeline.errors import PipelineError

HOLD = """
import sys, time
from pipeline import locks
with locks.lock(sys.argv[1]):
    print(1, flush=True)
    time.sleep(60)
"""


def test_a_place_is_locked_against_another_process_and_free_after_its_death(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "m")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "1\n"
    with pytest.raises(PipelineError, match="another process is at work"), locks.lock(tmp_path / "m"):
        pass
    holder.kill()
    holder.wait()
    with locks.lock(tmp_path / "m"):
        pass


def test_a_file_system_without_locks_is_said_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    told = r"m\.lock: cannot be locked .No locks available.*a file system with locks"
    with pytest.raises(PipelineError, match=told), locks.lock(tmp_path / "m"):
        pass


def test_a_link_under_a_locks_name_is_not_followed(tmp_path):
    (tmp_path / "m.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(PipelineError, match="is a link where a lock has to be"), locks.lock(tmp_path / "m"):
        pass
    assert not (tmp_path / "victim").exists()


WAIT = """
import sys
from pipeline import locks
with locks.lock(sys.argv[1], wait=True, keep=False) as waited:
    print(int(waited), flush=True)
"""


def test_who_waits_for_a_lock_says_so_and_has_it_alone_though_its_file_is_removed(tmp_path):
    with locks.lock(tmp_path / "m", keep=False) as waited:
        waiting = subprocess.Popen(
            [sys.executable, "-c", WAIT, str(tmp_path / "m")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert f"{tmp_path / 'm'}: another process is at work here; waiting for it" in waiting.stderr.readline()
    assert not waited
    assert waiting.communicate()[0] == "1\n"
    assert list(tmp_path.iterdir()) == []
