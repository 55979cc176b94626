"""One file over one connection: it arrives whole, is continued after a break, or is refused in one line."""

import gzip
import hashlib
import os
import re
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
from offering_server import BODY, SHA, Offer, offering

from pipeline import files
from pipeline.acquire import copying, patience
from pipeline.acquire import download as downloading
from pipeline.acquire.download import download
from pipeline.acquire.transfer import PIECE_BYTES, NoSuchFileError, Wanted
from pipeline.config import Acquire
from pipeline.errors import PipelineError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(patience, "BACKOFF_S", 0.0)
    with offering() as running:
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "file.bin"


def get(server, target, path="/a", digest=f"sha256:{SHA}", attempts=3, n_bytes=None):
    wanted = Wanted(server.url + path, target, "a-file", digest, n_bytes)
    return download(wanted, Acquire(attempts=attempts, timeout_s=5))


def left_over(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_arrives_whole_and_alone(server, target):
    server.offers["/a"] = Offer()
    assert get(server, target) == SHA
    assert target.read_bytes() == BODY
    assert left_over(target) == ["file.bin"]


def test_a_cut_connection_is_gone_on_with(server, target):
    offer = server.offers["/a"] = Offer(cut=[4 * PIECE_BYTES, 2 * PIECE_BYTES])
    get(server, target)
    assert target.read_bytes() == BODY
    assert offer.seen == [None, f"bytes={4 * PIECE_BYTES}-", f"bytes={6 * PIECE_BYTES}-"]


def test_a_slow_server_may_hang_up_more_often_than_there_are_attempts(server, target):
    server.offers["/a"] = Offer(cut=[100_000] * 10)
    get(server, target, attempts=2)
    assert target.read_bytes() == BODY


def test_a_file_that_is_replaced_on_the_way_may_be_gone_on_with_too(server, target):
    server.offers["/a"] = Offer(cut=[700_000] + [100_000] * 9, tags=['"v1"', '"v2"'])
    get(server, target, attempts=2)
    assert target.read_bytes() == BODY


def test_a_file_that_is_another_one_at_every_try_comes_to_an_end(server, target):
    offer = server.offers["/a"] = Offer(cut=[n * 100_000 for n in range(1, 9)], tags=[f'"v{n}"' for n in range(9)])
    with pytest.raises(PipelineError, match="3 tries without progress"):
        get(server, target)
    assert len(offer.seen) == 4


def test_another_process_goes_on_where_a_killed_one_stopped(server, target):
    offer = server.offers["/a"] = Offer(cut=[4 * PIECE_BYTES], statuses=[200, 403])
    with pytest.raises(PipelineError, match="refused"):
        get(server, target)
    offer.seen.clear()
    assert get(server, target) == SHA
    assert offer.seen == [f"bytes={4 * PIECE_BYTES}-"]


def test_a_whole_file_that_only_lacked_its_name_is_not_fetched_again(server, target):
    server.offers["/a"] = Offer()
    target.parent.mkdir()
    (target.parent / ".file.bin.partial").write_bytes(BODY)
    files.write_json(target.parent / ".file.bin.partial.json", {"url": f"{server.url}/a", "version": '"v1"'})
    assert get(server, target) == SHA
    assert left_over(target) == ["file.bin"]


def test_a_server_without_ranges_starts_over(server, target):
    server.offers["/a"] = Offer(cut=[300_000], ranges=False)
    get(server, target)
    assert target.read_bytes() == BODY


def test_a_newer_version_is_not_glued_to_the_half_of_an_older_one(server, target):
    target.parent.mkdir()
    (target.parent / ".file.bin.partial").write_bytes(b"old" * 1000)
    files.write_json(target.parent / ".file.bin.partial.json", {"url": f"{server.url}/a", "version": '"v0"'})
    server.offers["/a"] = Offer()
    get(server, target, digest=None)
    assert target.read_bytes() == BODY


def test_halves_that_do_not_belong_together_are_fetched_anew(server, target):
    target.parent.mkdir()
    (target.parent / ".file.bin.partial").write_bytes(b"x" * 1000)
    files.write_json(target.parent / ".file.bin.partial.json", {"url": f"{server.url}/a", "version": '"v1"'})
    server.offers["/a"] = Offer()
    assert get(server, target) == SHA


def test_the_half_from_another_mirror_is_not_used(server, target):
    target.parent.mkdir()
    (target.parent / ".file.bin.partial").write_bytes(BODY[:1000])
    files.write_json(target.parent / ".file.bin.partial.json", {"url": f"{server.url}/b", "version": '"v1"'})
    offer = server.offers["/a"] = Offer()
    get(server, target)
    assert offer.seen == [None]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(server, target, status):
    offer = server.offers["/a"] = Offer(statuses=[status, status])
    assert get(server, target) == SHA
    assert len(offer.seen) == 3


def test_tries_without_progress_come_to_an_end(server, target):
    offer = server.offers["/a"] = Offer(statuses=[503] * 9)
    with pytest.raises(PipelineError, match=r"503.*3 tries without progress"):
        get(server, target)
    assert len(offer.seen) == 3


def test_no_server_at_all_is_one_line(target):
    with pytest.raises(PipelineError, match="Connection refused") as error:
        download(Wanted("http://127.0.0.1:9/a", target, "a-file"), Acquire(attempts=1))
    assert "\n" not in str(error.value)


def test_a_404_names_the_source_and_the_address_and_is_not_tried_again(server, target):
    with pytest.raises(NoSuchFileError) as error:
        get(server, target, path="/none")
    assert str(error.value).startswith(f"a-file: {server.url}/none: no such file (404")


def test_a_refusal_is_not_tried_again(server, target):
    offer = server.offers["/a"] = Offer(statuses=[403])
    with pytest.raises(PipelineError, match=r"refused .403"):
        get(server, target)
    assert len(offer.seen) == 1


@pytest.mark.parametrize("algorithm", ["sha256", "md5", "git-blob"])
def test_a_wrong_digest_leaves_nothing_behind(server, target, algorithm):
    server.offers["/a"] = Offer()
    with pytest.raises(PipelineError, match=f"has the {algorithm} digest .*, and 00 was expected"):
        get(server, target, digest=f"{algorithm}:00")
    assert left_over(target) == []


def test_the_digest_of_git_is_that_of_a_blob(server, target):
    server.offers["/a"] = Offer(body=b"what is up, doc?")
    # The example of Git's own documentation.
    get(server, target, digest="git-blob:bd9dbf5aae1a3862dd1526723246b20206e5fc37")
    assert target.read_bytes() == b"what is up, doc?"


def test_another_size_is_refused_before_anything_is_received(server, target):
    server.offers["/a"] = Offer()
    with pytest.raises(PipelineError, match=r"has 1,048,576 bytes, not 5"):
        get(server, target, n_bytes=5)
    assert left_over(target) == []


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (b"<!DOCTYPE html><title>Sign in\n please</title>", "a web page .Sign in please. instead"),
        (b"\n<html><p>Quota exceeded for this file</p>", "quota"),
        (b"\xef\xbb\xbf<html>A page after a byte-order mark</html>", "a web page"),
    ],
)
@pytest.mark.parametrize("chunks", [None, [1, 3, 20]])
def test_a_web_page_with_status_200_is_no_file(server, target, page, told, chunks):
    server.offers["/a"] = Offer(body=page, content_type="text/html; charset=utf-8", chunks=chunks)
    with pytest.raises(PipelineError, match=told):
        get(server, target, digest=None)
    assert not target.exists()


def test_something_else_in_place_of_an_archive_is_refused(server, tmp_path):
    server.offers["/a"] = Offer(body=b'{"error": "no"}')
    with pytest.raises(PipelineError, match="not an archive"):
        get(server, tmp_path / "a.zip", digest=None)


@pytest.mark.parametrize(("mode", "chunks"), [("w:gz", [1]), ("w", [200, 1])])
def test_an_archive_that_comes_in_crumbs_is_one(server, tmp_path, mode, chunks):
    with tarfile.open(tmp_path / "made", mode) as tar:
        tar.addfile(tarfile.TarInfo("empty.txt"))
    server.offers["/a"] = Offer(body=(tmp_path / "made").read_bytes(), chunks=chunks)
    get(server, tmp_path / "a.tgz", digest=None)
    assert (tmp_path / "a.tgz").read_bytes() == (tmp_path / "made").read_bytes()


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "identity"])
def test_a_packed_file_stays_packed_whatever_the_server_calls_its_packing(server, tmp_path, coding):
    body = gzip.compress(np.random.default_rng(0).bytes(3 * PIECE_BYTES))
    offer = server.offers["/a"] = Offer(body=body, coding=coding, cut=[PIECE_BYTES])
    get(server, tmp_path / "a.tgz", digest=f"sha256:{hashlib.sha256(body).hexdigest()}", n_bytes=len(body))
    assert (tmp_path / "a.tgz").read_bytes() == body
    assert offer.seen == [None, f"bytes={PIECE_BYTES}-"]


def test_a_file_that_is_packed_for_the_way_alone_is_unpacked(server, target):
    server.offers["/a"] = Offer(body=gzip.compress(BODY), coding="gzip")
    assert get(server, target, n_bytes=len(BODY)) == SHA


def test_a_packed_web_page_is_no_archive(server, tmp_path):
    server.offers["/a"] = Offer(body=gzip.compress(b"<html>no</html>"), coding="gzip", content_type="text/html")
    with pytest.raises(PipelineError, match="a web page"):
        get(server, tmp_path / "a.tgz", digest=None)


def test_a_packing_that_cannot_be_undone_is_refused(server, target):
    server.offers["/a"] = Offer(coding="br")
    with pytest.raises(PipelineError, match="packed as 'br'"):
        get(server, target, digest=None)
    assert left_over(target) == []


@pytest.mark.parametrize("chunks", [None, []])
def test_an_empty_answer_is_no_file(server, target, chunks):
    server.offers["/a"] = Offer(body=b"", chunks=chunks)
    with pytest.raises(PipelineError, match="is empty"):
        get(server, target, digest=None)
    assert left_over(target) == []


@pytest.mark.parametrize("mirror", ["/a", "/b"])
def test_a_web_page_leaves_the_half_of_a_file_to_be_gone_on_with(server, target, mirror):
    offer = server.offers["/a"] = Offer(cut=[4 * PIECE_BYTES], statuses=[200, 403])
    with pytest.raises(PipelineError, match="refused"):
        get(server, target)
    server.offers[mirror] = Offer(body=b"<html>Quota exceeded</html>", tag=None, ranges=False)
    with pytest.raises(PipelineError, match="quota"):
        get(server, target, path=mirror)
    server.offers["/a"] = offer
    offer.seen.clear()
    assert get(server, target) == SHA
    assert offer.seen == [f"bytes={4 * PIECE_BYTES}-"]


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    server.offers["/a"] = Offer()
    (tmp_path / "folder").write_text("a file stands here")
    with pytest.raises(PipelineError, match="cannot be written"):
        get(server, tmp_path / "folder" / "file.bin")


def test_an_address_may_be_a_file_of_this_machine(tmp_path, target):
    (tmp_path / "a b.bin").write_bytes(BODY)
    assert download(Wanted((tmp_path / "a b.bin").as_uri(), target, "a-file"), Acquire()) == SHA
    with pytest.raises(NoSuchFileError):
        download(Wanted((tmp_path / "none").as_uri(), target, "a-file"), Acquire())


def test_a_server_that_never_answers_is_given_up(target):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(PipelineError, match=r"no answer for 0\.1 s"):
            download(Wanted(url, target, "a-file"), Acquire(attempts=1, timeout_s=0.1))


def test_a_file_that_changes_while_it_is_copied_is_refused(tmp_path, target, monkeypatch):
    own = tmp_path / "mine.bin"
    own.write_bytes(BODY)
    monkeypatch.setattr(downloading, "copy", lambda _, new: new.write_bytes(BODY[:-1] + b"!"))
    with pytest.raises(PipelineError, match="has the sha256 digest"):
        download(Wanted(own.as_uri(), target, "a-file", digest=f"sha256:{SHA}"), Acquire())
    assert list(target.parent.glob("*file*")) == []


@pytest.mark.parametrize("has_reflinks", [True, False])
def test_a_copy_is_a_reflink_where_the_file_system_has_them(tmp_path, monkeypatch, has_reflinks):
    (tmp_path / "a").write_bytes(BODY)
    asked = []

    def clone(new, request, original):
        asked.append(request)
        if not has_reflinks:
            raise OSError(95, "Operation not supported")
        os.write(new.fileno(), os.pread(original, len(BODY), 0))

    monkeypatch.setattr(copying.fcntl, "ioctl", clone)
    copied = []
    plain = copying.files.read_shown
    monkeypatch.setattr(copying.files, "read_shown", lambda *read: (copied.append(read), plain(*read))[1])
    copying.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == BODY
    assert asked == [copying.FICLONE]
    assert bool(copied) != has_reflinks


@pytest.mark.usefixtures("told_often")
def test_a_download_writes_its_progress_into_the_log(server, target, capfd):
    server.offers["/a"] = Offer()
    get(server, target)
    assert re.search(r"^a-file: [\d.]+ k?B of ", capfd.readouterr().err, re.MULTILINE)
