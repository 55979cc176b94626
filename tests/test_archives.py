"""Archives are unpacked into a folder that no member can leave, and damaged or harmful ones are refused."""

import io
import os
import re
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import stage_jobs
from hypothesis import given
from hypothesis import strategies as st
from made_archives import CONTENT, make_tar, make_zip, special

from pipeline import files
from pipeline.acquire import archives
from pipeline.acquire.archives import read_index, safe_path
from pipeline.errors import PipelineError
from pipeline.manifests import describe


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "results" / "resources" / "thing"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def unpacked(home, tmp_path):
    """Run the stage on an archive; returns whether there was work."""

    def run(archive: Path) -> bool:
        listed = {"stage": "fetch", "files": [describe(archive)]}
        files.write_json(home / "fetch.json", listed)
        made = tmp_path / "results", home / "unpack.json"
        return stage_jobs.run("unpack", *made, {"fetched": home / "fetch.json"}, name="thing")

    return run


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "make",
    [
        lambda path: make_zip(path, CONTENT),
        lambda path: make_tar(path, CONTENT, mode="w"),
        lambda path: make_tar(path, CONTENT, mode="w:gz"),
        lambda path: make_tar(path, CONTENT, mode="w:xz"),
    ],
)
def test_every_kind_of_archive_is_told_by_its_content(home, unpacked, make):
    unpacked(make(home / "no-suffix"))
    assert everything_below(home / "files") == CONTENT
    assert read_index(home / "index.csv") == {name: len(content) for name, content in CONTENT.items()}


def test_the_manifest_lists_the_index_alone_and_counts(home, unpacked):
    unpacked(make_zip(home / "a.zip", CONTENT))
    manifest = files.read_json(home / "unpack.json")
    assert [Path(entry["path"]).name for entry in manifest["files"]] == ["index.csv"]
    assert manifest["counts"] == {"files": 3, "bytes": 3010}


def test_unpacking_twice_is_no_work(home, unpacked):
    assert unpacked(make_zip(home / "a.zip", CONTENT))
    assert not unpacked(home / "a.zip")


def test_members_that_are_there_are_not_written_again(home, unpacked):
    archive = make_tar(home / "a.tgz", CONTENT)
    unpacked(archive)
    (home / "unpack.json").unlink()
    (home / "files" / "top" / "-b.mp4").unlink()
    before = (home / "files" / "top" / "a.mp4").stat().st_mtime_ns
    unpacked(archive)
    assert (home / "files" / "top" / "a.mp4").stat().st_mtime_ns == before
    assert everything_below(home / "files") == CONTENT


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"short")])
def test_a_member_that_is_gone_is_unpacked_again_although_the_manifest_is_there(home, unpacked, harm):
    archive = make_tar(home / "a.tgz", CONTENT)
    unpacked(archive)
    before = (home / "unpack.json").read_bytes()
    harm(home / "files" / "top" / "a.mp4")
    assert unpacked(archive)
    assert everything_below(home / "files") == CONTENT
    assert (home / "unpack.json").read_bytes() == before


def test_an_index_that_is_none_is_named(home):
    (home / "index.csv").write_text("member,bytes\na.mp4,many\n")
    with pytest.raises(PipelineError, match=r"index\.csv: is not a table"):
        read_index(home / "index.csv")


def test_members_of_an_earlier_archive_do_not_pass_for_those_of_another_by_their_size(home, unpacked):
    unpacked(make_tar(home / "a.tgz", CONTENT))
    other = {name: bytes(len(content)) for name, content in CONTENT.items() if name != "c.txt"}
    assert unpacked(make_tar(home / "a.tgz", other))
    assert everything_below(home / "files") == other


def test_a_half_written_member_is_written_again(home, unpacked):
    (home / "files" / "top").mkdir(parents=True)
    (home / "files" / "top" / "a.mp4").write_bytes(b"a" * 100)
    unpacked(make_tar(home / "a.tgz", CONTENT))
    assert everything_below(home / "files") == CONTENT


def test_zips_inside_are_unpacked_beside_each_other_and_removed(home, unpacked):
    inner = make_zip(home / "inner.zip", {"video/x.mp4": b"x"}).read_bytes()
    unpacked(make_tar(home / "a.tgz", {"top/one.zip": inner, "top/two.zip": inner, "top/readme.txt": b"r"}))
    expected = {"top/one/video/x.mp4": b"x", "top/two/video/x.mp4": b"x", "top/readme.txt": b"r"}
    assert everything_below(home / "files") == expected
    assert set(read_index(home / "index.csv")) == set(expected)


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil", "a/..", "..", "//evil"])
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_member_that_points_outside_is_refused(home, unpacked, make, name):
    with pytest.raises(PipelineError, match="points outside"):
        unpacked(make(home / "a", {"good.txt": b"g", name: b"evil"}))
    assert [path.name for path in home.rglob("*evil*")] == []


@given(st.text(st.sampled_from("a./\\-~ \0\n"), max_size=12))
def test_no_accepted_name_leaves_the_folder(name):
    root = Path("/srv/files")
    try:
        place = safe_path(name, Path("a.zip"))
    except PipelineError:
        return
    assert root in Path(os.path.normpath(root / place)).parents


@pytest.mark.parametrize(
    "bad",
    [
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard", tarfile.LNKTYPE, "good.txt"),
        special("pipe", tarfile.FIFOTYPE),
        special("device", tarfile.CHRTYPE),
    ],
)
def test_links_and_devices_of_a_tar_are_left_out_and_reported(home, unpacked, bad):
    unpacked(make_tar(home / "a.tgz", {"good.txt": b"g"}, bad))
    assert everything_below(home / "files") == {"good.txt": b"g"}
    assert files.read_json(home / "unpack.json")["skipped"] == [{"member": bad.name, "why": "is a link or a device"}]


def test_writing_through_a_link_inside_the_archive_is_impossible(home, unpacked, tmp_path):
    with tarfile.open(home / "a.tgz", "w:gz") as tar:
        tar.addfile(special("door", tarfile.SYMTYPE, str(tmp_path)))
        info = tarfile.TarInfo("door/evil.txt")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    unpacked(home / "a.tgz")
    assert not (tmp_path / "evil.txt").exists()
    assert not (home / "files" / "door").is_symlink()


def test_links_of_a_zip_are_left_out_and_reported(home, unpacked):
    with zipfile.ZipFile(home / "a.zip", "w") as file:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("good.txt", "g")
    unpacked(home / "a.zip")
    assert everything_below(home / "files") == {"good.txt": b"g"}
    assert files.read_json(home / "unpack.json")["skipped"][0]["member"] == "link"


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_an_archive_made_to_fill_the_disk_is_refused(home, unpacked, make, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1000)
    bomb = {f"{i}": bytes(200_000) for i in range(20)}
    with pytest.raises(PipelineError, match="over 100 times its size"):
        unpacked(make(home / "a", bomb))
    written = sum(path.stat().st_size for path in (home / "files").rglob("*"))
    assert written <= 100 * (home / "a").stat().st_size


def test_a_bomb_in_an_inner_zip_is_refused_too(home, unpacked, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1000)
    inner = make_zip(home / "inner.zip", {"zeros": bytes(10_000_000)}).read_bytes()
    with pytest.raises(PipelineError, match="over 100 times its size"):
        unpacked(make_tar(home / "a.tgz", {"inner.zip": inner}))


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_an_archive_cut_in_half_is_an_error_that_names_it(home, unpacked, make):
    noise = np.random.default_rng(0).bytes(100_000)
    whole = make(home / "whole", {"a": noise, "b": noise}).read_bytes()
    (home / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PipelineError, match=r"cut: cannot be unpacked.*fetch it again"):
        unpacked(home / "cut")
    assert not (home / "unpack.json").exists()


def test_a_flipped_byte_is_noticed(home, unpacked):
    noise = np.random.default_rng(0).bytes(100_000)
    archive = make_zip(home / "a.zip", {"a": noise}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[50_000] ^= 1
    archive.write_bytes(content)
    with pytest.raises(PipelineError, match="CRC"):
        unpacked(archive)
    assert not (home / "files" / "a").exists()


@pytest.mark.parametrize("member", [1, 3, 9])
def test_a_flipped_byte_in_a_header_of_a_tar_is_noticed(home, unpacked, member):
    archive = make_tar(home / "a.tar", {str(i): b"content" for i in range(10)}, mode="w")
    content = bytearray(archive.read_bytes())
    content[member * 2 * tarfile.BLOCKSIZE + 5] ^= 1  # each member: a block of header, a block of content
    archive.write_bytes(content)
    with pytest.raises(PipelineError, match="cannot be unpacked"):
        unpacked(archive)


@pytest.mark.parametrize("left", [4 * 512, 4 * 512 + 100, 5 * 512 + 3, 20 * 512])
def test_a_plain_tar_that_breaks_off_is_noticed_wherever_that_is(home, unpacked, left):
    archive = make_tar(home / "a.tar", {str(i): b"content" for i in range(10)}, mode="w")
    archive.write_bytes(archive.read_bytes()[:left])
    with pytest.raises(PipelineError, match="cannot be unpacked"):
        unpacked(archive)


def test_the_checksum_at_the_end_of_a_compressed_tar_is_read(home, unpacked):
    archive = make_tar(home / "a.tgz", CONTENT)
    content = bytearray(archive.read_bytes())
    content[-8] ^= 1
    archive.write_bytes(content)
    with pytest.raises(PipelineError, match="CRC check failed"):
        unpacked(archive)


def test_the_remedy_for_damage_names_the_folder_that_the_pin_lies_in(home, unpacked):
    (home / "a.tgz").write_bytes(make_zip(home / "whole", {"inner.zip": b"PK is all there is of it"}).read_bytes())
    with pytest.raises(PipelineError, match=r"inner\.zip: cannot be unpacked") as error:
        unpacked(home / "a.tgz")
    assert f"remove {home}, with its pin.json" in error.value.remedy


def test_a_name_that_is_no_utf_8_is_read_as_latin_1(home, unpacked):
    with tarfile.open(home / "a.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(tarfile.TarInfo("caf\xe9.mp4"))
        tar.addfile(special("l\xe4nk", tarfile.SYMTYPE, "x"))
    unpacked(home / "a.tar")
    assert read_index(home / "index.csv") == {"café.mp4": 0}
    assert files.read_json(home / "unpack.json")["skipped"][0]["member"] == "länk"


def test_what_macos_notes_about_a_zip_is_a_file_like_any_other(home, unpacked):
    inner = make_zip(home / "inner.zip", {"x.mp4": b"x"}).read_bytes()
    unpacked(make_tar(home / "a.tgz", {"._one.zip": b"Mac OS X", "one.zip": inner}))
    assert everything_below(home / "files") == {"._one.zip": b"Mac OS X", "one/x.mp4": b"x"}


def test_an_archive_that_nothing_comes_out_of_is_an_error_with_the_reason(home, unpacked):
    archive = make_zip(home / "a.zip", {"a.mp4": b"a", "b.mp4": b"b"}, zipfile.ZIP_STORED)
    content = archive.read_bytes()
    for signature, flags_at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        head, *rest = content.split(signature)
        locked = [part[: flags_at - 4] + b"\x01" + part[flags_at - 3 :] for part in rest]
        content = signature.join([head, *locked])
    archive.write_bytes(content)
    with pytest.raises(PipelineError, match=r"it contains no file that can be unpacked \(needs a password\)"):
        unpacked(archive)
    with pytest.raises(PipelineError, match="it is empty"):
        unpacked(make_tar(home / "b.tar", {}))


@pytest.mark.parametrize("container", ["tar", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_members_of_one_name_the_last_one_counts(home, unpacked, container):
    if container == "tar":
        with tarfile.open(home / "a", "w") as tar:
            for content in (b"old", b"new"):
                info = tarfile.TarInfo("a.txt")
                info.size = 3
                tar.addfile(info, io.BytesIO(content))
    else:
        with zipfile.ZipFile(home / "a", "w") as file:
            file.writestr("a.txt", "old")
            file.writestr("a.txt", "new")
    for _ in range(2):  # the second time over what the first one left
        unpacked(home / "a")
        assert everything_below(home / "files") == {"a.txt": b"new"}
        (home / "unpack.json").unlink()


def test_a_zip_with_a_member_without_a_name_is_refused(home, unpacked):
    archive = make_zip(home / "a.zip", {"x": b"x"}, zipfile.ZIP_STORED)
    whole = bytearray(archive.read_bytes())
    for header, at in ((b"PK\3\4", 26), (b"PK\1\2", 28)):
        start = whole.index(header)
        whole[start + at] = 0  # the length of the name; the name itself becomes part of what is skipped or read
    whole.remove(ord("x"))
    archive.write_bytes(whole)
    with pytest.raises(PipelineError, match=r"a\.zip"):
        unpacked(archive)


def test_what_is_no_archive_is_said_so(home, unpacked):
    (home / "a.tar.gz").write_bytes(b"<html>no</html>")
    with pytest.raises(PipelineError, match="not an archive"):
        unpacked(home / "a.tar.gz")


@pytest.mark.usefixtures("told_often")
def test_unpacking_writes_its_progress_into_the_log(unpacked, tmp_path, capfd):
    unpacked(make_zip(tmp_path / "thing.zip", CONTENT))
    assert re.search(rf"^thing\.zip: {len(CONTENT)} .*files", capfd.readouterr().err, re.MULTILINE)
