"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os

import numpy as np
import pytest

from pipeline import files
from pipeline.acquire.partial import Partial
from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.store.writer import StoreWriter


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
    for path in (tmp_path / "file" / "x.json", tmp_path / "file/deep/x.json"):
        with pytest.raises(
            PipelineError, match=r"x\.json: cannot be written, because .*/file is no folder → name"
        ) as caught:
            files.write_json(path, {})
        assert "\n" not in str(caught.value)


def test_a_name_that_is_too_long_for_a_file_is_told_and_no_other_error_hides_it(tmp_path):
    for writer in (files.atomic, files.atomic_path):
        with (
            pytest.raises(PipelineError, match=r"cannot be written \(File name too long\)"),
            writer(tmp_path / ("x" * 250)) as partial,
        ):
            partial.write_text("")  # only `atomic_path` gets here


def test_a_git_blob_digest_is_gits(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"hello\n")
    assert files.digest(path, "git-blob") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert files.sha256(path) == hashlib.sha256(b"hello\n").hexdigest()


def calls_of(monkeypatch, folder):
    """Note down, in order, what is synced and what is renamed in a folder."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle):
        calls.append(("synced", os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), folder)))
        fsync(handle)

    def noted_replace(source, target):
        calls.append(("renamed", os.path.relpath(target, folder)))
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", noted_fsync)
    monkeypatch.setattr(files.os, "replace", noted_replace)
    return calls


@pytest.mark.parametrize("way", ["atomic", "atomic_path", "download", "store"])
def test_bytes_and_name_are_on_disk_when_a_file_is_done(tmp_path, monkeypatch, way):
    calls = calls_of(monkeypatch, tmp_path)
    target = tmp_path / "new" / "file.h5"
    if way == "atomic":
        with files.atomic(target) as file:
            file.write("x")
    elif way == "atomic_path":
        with files.atomic_path(target) as path:
            path.write_text("x")
    elif way == "download":
        target.parent.mkdir()
        partial = Partial(target)
        with partial.start("http://x", None) as file:
            partial.write(file, b"x")
        partial.finish(target)
    else:
        passport = Passport("clip-text", 1, "raw", "random:0", "tokens", 2, "float32", "none")
        with StoreWriter(target, passport) as store:
            store.add("q", np.ones((1, 2)))
    renamed = calls.index(("renamed", "new/file.h5"))
    assert calls[renamed - 1][0] == "synced"
    assert "file.h5" in calls[renamed - 1][1]
    assert calls[renamed + 1] == ("synced", "new")
    if way != "download":
        assert ("synced", ".") in calls[:renamed]  # the name of the new folder


def test_a_file_system_that_cannot_sync_a_folder_is_no_error(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    files.write_json(tmp_path / "a.json", {})
    assert files.read_json(tmp_path / "a.json") == {}
