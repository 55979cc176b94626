"""A folder of this machine can be used in place of an archive of its files."""

from __future__ import annotations

import os
import shutil

import pytest
import stage_jobs

from pipeline import files
from pipeline.acquire import folders
from pipeline.acquire.archives import read_index
from pipeline.config import Acquire
from pipeline.errors import PipelineError

HEADER = "name,kind,file,url,digest,bytes,licence,note\n"


@pytest.fixture
def features(tmp_path):
    folder = tmp_path / "mine" / "features"
    (folder / "clip" / "long" / ("x" * 120)).mkdir(parents=True)
    (folder / "clip" / "b.npz").write_bytes(b"bbb")
    (folder / "clip" / "a é.npz").write_bytes(b"")
    (folder / "clip" / "long" / ("x" * 120) / "c.npz").write_bytes(b"c" * 2000)
    return folder


@pytest.fixture
def get(tmp_path):
    """Fetch and unpack; returns the unpacked files and the digest of what was fetched."""

    def get(url, digest="", file="features.tar.gz", local=()):
        (tmp_path / "sources.csv").write_text(f"{HEADER}mine,archive,{file},{url},{digest},,,\n")
        results, home = tmp_path / "results", tmp_path / "results/resources/mine"
        acquire = Acquire(sources=str(tmp_path / "sources.csv"), local=[str(path) for path in local], attempts=1)
        stage_jobs.run("fetch", results, home / "fetch.json", settings={"acquire": acquire}, name="mine")
        stage_jobs.run("unpack", results, home / "unpack.json", {"fetched": home / "fetch.json"}, name="mine")
        assert sorted(path.name for path in home.glob(".*.packed*")) == []
        return read_index(home / "index.csv"), files.sha256(home / file)

    return get


def below(folder):
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_a_folder_behind_an_address_is_taken_whole(features, get, tmp_path):
    found, _ = get(f"{features.as_uri()}/")
    assert found == below(features) == below(tmp_path / "results/resources/mine/files")


@pytest.mark.parametrize("file", ["features.tar.gz", "features.zip", "features.tgz", "features.tar"])
def test_a_folder_under_acquire_local_does_for_an_archive_of_its_name(features, get, file):
    found, _ = get("https://nowhere.invalid/x", file=file, local=[features.parent])
    assert found == below(features)


def test_equal_files_give_an_equal_digest_and_other_ones_another(features, tmp_path):
    shutil.copytree(features, tmp_path / "copy", copy_function=shutil.copy)
    os.utime(tmp_path / "copy/clip/b.npz", (1, 1))
    (tmp_path / "copy/clip/b.npz").chmod(0o600)
    (tmp_path / "copy/empty").mkdir()
    made = []
    for name in ("copy", "mine/features"):
        folders.pack(tmp_path / name, tmp_path / "packed.tar", "mine")
        made.append(files.sha256(tmp_path / "packed.tar"))
    (features / "clip" / "b.npz").rename(features / "clip" / "d.npz")
    folders.pack(features, tmp_path / "packed.tar", "mine")
    assert made[0] == made[1] != files.sha256(tmp_path / "packed.tar")


def test_a_digest_in_the_table_holds_a_folder_fast(features, get, tmp_path):
    folders.pack(features, tmp_path / "packed.tar", "mine")
    get(f"{features.as_uri()}/", digest=f"sha256:{files.sha256(tmp_path / 'packed.tar')}")
    shutil.rmtree(tmp_path / "results")
    (features / "clip" / "b.npz").write_bytes(b"xyz")
    with pytest.raises(PipelineError, match="has the sha256 digest"):
        get(f"{features.as_uri()}/", digest=f"sha256:{files.sha256(tmp_path / 'packed.tar')}")


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "pipe"])
def test_what_may_lead_out_of_the_folder_is_refused_by_name(features, get, kind):
    strange = features / "clip" / "strange"
    if kind == "pipe":
        os.mkfifo(strange)
    else:
        strange.symlink_to("b.npz" if "file" in kind else "long")
    with pytest.raises(PipelineError, match=r"mine: .*/clip/strange: is a link or a device.*→ put a copy"):
        get(f"{features.as_uri()}/")


@pytest.mark.parametrize("name", [b"a\nb", b"a\xffb", b"a\\b"])
def test_names_that_are_no_plain_text_are_refused(features, get, name):
    (features / os.fsdecode(name)).write_bytes(b"1")
    with pytest.raises(PipelineError, match="not a valid file name on every machine"):
        get(f"{features.as_uri()}/")


def test_an_empty_folder_is_refused(get, tmp_path):
    (tmp_path / "empty" / "below").mkdir(parents=True)
    with pytest.raises(PipelineError, match="holds no file"):
        get((tmp_path / "empty").as_uri())
