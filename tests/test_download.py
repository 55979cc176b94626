"""Downloads: mirrors, digests, pins, interrupted transfers, and the errors when no address gives the file."""

import gzip
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import stage_jobs

from pipeline import files
from pipeline.acquire import copying, patience
from pipeline.acquire import download as downloading
from pipeline.acquire.download import download
from pipeline.acquire.sources import COLUMNS
from pipeline.acquire.transfer import PIECE_BYTES, NoSuchFileError, Wanted
from pipeline.config import Acquire
from pipeline.errors import PipelineError

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(BODY).hexdigest()


@dataclass
class Offer:
    """What the server does with one path. statuses: of the first answers; cut: where each file sent breaks off.

    chunks: lengths in which the file is sent instead, its size unsaid. tags: of the first answers; the last one stays.
    """

    body: bytes = BODY
    cut: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    chunks: list[int] | None = None
    tags: list[str] = field(default_factory=list)
    coding: str | None = None
    tag: str | None = '"v1"'
    content_type: str = "application/octet-stream"
    seen: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # chunks are of this version

    def do_GET(self):
        offer = self.server.offers.get(self.path)
        if offer is None:
            return self.send_error(404)
        asked = self.headers.get("Range")
        offer.seen.append(asked)
        if offer.tags:
            offer.tag = offer.tags.pop(0)
        if offer.statuses and (status := offer.statuses.pop(0)) != 200:
            return self.send_error(status)
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        resumes = bool(asked) and offer.ranges and self.headers.get("If-Range") == offer.tag
        if resumes and start >= len(offer.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(offer.body)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self.send_file(offer, start if resumes else None)

    def send_file(self, offer, start):
        resumes = start is not None
        rest = offer.body[start:] if resumes else offer.body
        self.send_response(206 if resumes else 200)
        self.send_header("Connection", "close")
        if offer.chunks is None:
            self.send_header("Content-Length", str(len(rest)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Content-Type", offer.content_type)
        if offer.coding:
            self.send_header("Content-Encoding", offer.coding)
        if offer.tag:
            self.send_header("ETag", offer.tag)
        if resumes:
            self.send_header("Content-Range", f"bytes {start}-{len(offer.body) - 1}/{len(offer.body)}")
        self.end_headers()
        if offer.chunks is None:
            self.wfile.write(rest[: offer.cut.pop(0)] if offer.cut else rest)
        else:
            self.send_chunks(rest, offer.chunks)

    def send_chunks(self, rest, lengths):
        for length in [*lengths, len(rest)]:
            if chunk := rest[:length]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            rest = rest[length:]
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(patience, "BACKOFF_S", 0.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.offers = {}
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


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


# ---- the fetch stage ---------------------------------------------------------------------------------------------


@pytest.fixture
def stage(server, tmp_path):
    """Fetch `a-file` from a table of these addresses; returns whether there was work."""

    def run(*paths: str, digest: str = "", local: Path | None = None) -> bool:
        rows = [f"a-file,file,file.bin,{server.url}{path},{digest},,MIT," for path in paths]
        (tmp_path / "sources.csv").write_text("\n".join([",".join(COLUMNS), *rows]))
        acquire = Acquire(sources=str(tmp_path / "sources.csv"), local=[str(local)] if local else [], attempts=1)
        settings = {"acquire": acquire}
        return stage_jobs.run("fetch", tmp_path / "results", run.manifest, settings=settings, name="a-file")

    run.target = tmp_path / "results/resources/a-file/file.bin"
    run.manifest = tmp_path / "results/resources/a-file/fetch.json"
    return run


def test_a_second_fetch_asks_nobody(stage, server):
    offer = server.offers["/a"] = Offer()
    assert stage("/a", digest=f"sha256:{SHA}")
    assert not stage("/a", digest=f"sha256:{SHA}")
    assert len(offer.seen) == 1


def test_the_log_of_a_fetch_names_the_licence_and_that_of_nothing_to_do_does_not(stage, server, capsys):
    server.offers["/a"] = Offer()
    stage("/a", digest=f"sha256:{SHA}")
    assert "the licence of a-file, as its publisher states it: MIT" in capsys.readouterr().err
    stage("/a", digest=f"sha256:{SHA}")
    assert "licence" not in capsys.readouterr().err


def test_a_file_that_is_here_already_is_not_fetched_when_only_the_manifest_is_lost(stage, server):
    offer = server.offers["/a"] = Offer()
    stage("/a", digest=f"sha256:{SHA}")
    stage.manifest.unlink()
    assert stage("/a", digest=f"sha256:{SHA}")
    assert len(offer.seen) == 1


def test_mirrors_are_tried_in_their_order(stage, server):
    server.offers["/bad"] = Offer(body=b"another file")
    server.offers["/good"] = Offer()
    stage("/none", "/bad", "/good", digest=f"sha256:{SHA}")
    assert stage.target.read_bytes() == BODY


def test_when_no_mirror_works_each_ones_reason_is_told(stage, server):
    server.offers["/bad"] = Offer(body=b"another file")
    with pytest.raises(PipelineError, match=r"2 addresses.*/none: no such file.*/bad: .*the sha256 digest") as error:
        stage("/none", "/bad", digest=f"sha256:{SHA}")
    assert "acquire.local" in error.value.remedy


@pytest.fixture
def at_mirror(server, tmp_path):
    """Fetch `a-file`, whose own address must not be asked, from a mirror."""

    def run(mirror, digest=f"sha256:{SHA}", results="results"):
        server.offers["/own"] = own = Offer()
        table = tmp_path / "sources.csv"
        table.write_text(f"{','.join(COLUMNS)}\na-file,file,file.bin,{server.url}/own,{digest},,,")
        manifest = tmp_path / results / "resources/a-file/fetch.json"
        settings = {"acquire": Acquire(sources=str(table), mirror=str(mirror), attempts=1)}
        try:
            return stage_jobs.run("fetch", tmp_path / results, manifest, settings=settings, name="a-file")
        finally:
            assert own.seen == []

    return run


def mirrored(folder, body):
    (folder / "a-file").mkdir(parents=True, exist_ok=True)
    (folder / "a-file/file.bin").write_bytes(body)
    return folder


@pytest.mark.parametrize("kind", ["folder", "address"])
@pytest.mark.parametrize("digest", [f"sha256:{SHA}", ""])
def test_a_mirror_takes_the_place_of_every_address(at_mirror, server, tmp_path, kind, digest):
    server.offers["/m/a-file/file.bin"] = Offer()
    assert at_mirror(mirrored(tmp_path / "m", BODY) if kind == "folder" else f"{server.url}/m/", digest)
    assert (tmp_path / "results/resources/a-file/file.bin").read_bytes() == BODY


def test_the_results_of_one_machine_are_the_mirror_of_another(at_mirror, tmp_path):
    at_mirror(mirrored(tmp_path / "m", BODY), digest="")
    shutil.rmtree(tmp_path / "m")
    assert at_mirror(tmp_path / "results/resources", digest="", results="elsewhere")
    assert (tmp_path / "elsewhere/resources/a-file/file.bin").read_bytes() == BODY


def test_a_mirror_changes_no_digest_and_no_pin(at_mirror, tmp_path):
    with pytest.raises(PipelineError, match="the sha256 digest"):
        at_mirror(mirrored(tmp_path / "m", b"another"))
    at_mirror(mirrored(tmp_path / "m", BODY), digest="")
    (tmp_path / "results/resources/a-file/fetch.json").unlink()
    (tmp_path / "results/resources/a-file/file.bin").unlink()
    with pytest.raises(PipelineError, match="changed since it was first fetched"):
        at_mirror(mirrored(tmp_path / "m", b"another"), digest="")


def test_a_mirror_that_lacks_a_file_is_told_by_its_place(at_mirror, tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(PipelineError, match=r"m/a-file/file\.bin: no such file"):
        at_mirror(tmp_path / "m")


def test_a_mirror_is_recorded_nowhere(stage, at_mirror, server, tmp_path):
    at_mirror(mirrored(tmp_path / "m", BODY))
    before = stage.manifest.read_bytes()
    server.offers["/own"] = Offer()
    assert not stage("/own", digest=f"sha256:{SHA}")
    assert stage.manifest.read_bytes() == before


def test_another_address_for_the_same_file_is_no_work(stage, server):
    server.offers["/a"] = server.offers["/b"] = Offer()
    stage("/a", digest=f"sha256:{SHA}")
    assert not stage("/b", digest=f"sha256:{SHA}")


def test_a_file_without_a_known_digest_is_pinned_at_first_sight(stage, server):
    offer = server.offers["/a"] = Offer()
    stage("/a")
    stage.manifest.unlink()
    stage.target.unlink()
    offer.body = b"changed"
    with pytest.raises(PipelineError, match="changed since it was first fetched"):
        stage("/a")
    offer.body = BODY
    assert stage("/a")


def test_a_local_file_is_found_by_digest_whatever_its_name(stage, server, tmp_path):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "file.bin").write_bytes(b"the name alone does not count")
    (tmp_path / "mine" / "deep" / "renamed.dat").write_bytes(BODY)
    offer = server.offers["/a"] = Offer()
    stage("/a", digest=f"sha256:{SHA}", local=tmp_path / "mine")
    assert stage.target.read_bytes() == BODY
    assert offer.seen == []


def test_without_a_local_copy_the_network_is_asked(stage, server, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.bin").write_bytes(b"another")
    server.offers["/a"] = Offer()
    stage("/a", digest=f"sha256:{SHA}", local=tmp_path / "mine")
    assert stage.target.read_bytes() == BODY


def test_a_file_of_a_local_folder_that_cannot_be_read_is_passed_over(stage, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.bin").symlink_to("/proc/self/mem")  # opens, but not even root can read its beginning
    (tmp_path / "mine" / "other.bin").write_bytes(BODY)
    stage("/none", digest=f"sha256:{SHA}", local=tmp_path / "mine")
    assert stage.target.read_bytes() == BODY


def test_where_no_digest_is_known_a_local_file_is_found_by_its_name(stage, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.bin").write_bytes(b"134 GB")
    stage("/none", local=tmp_path / "mine")
    assert stage.target.read_bytes() == b"134 GB"


def test_a_local_folder_that_is_not_there_is_named(stage, tmp_path):
    with pytest.raises(PipelineError, match=r"acquire\.local: .*nowhere"):
        stage("/a", local=tmp_path / "nowhere")


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


FETCH = """
import sys
from pathlib import Path
from pipeline.acquire.download import fetch
from pipeline.config import Acquire
from pipeline.stage_settings import Fetch
from pipeline.stages import StageJob
results, table, manifest = sys.argv[1:]
settings = Fetch(acquire=Acquire(sources=table, timeout_s=30))
print(fetch(StageJob(Path(results), Path(manifest), settings, {"name": "slow"}, {})))
"""


@pytest.mark.parametrize("manifests", [("fetch.json", "fetch.json"), ("fetch.json", "other.json")])
def test_two_processes_that_fetch_one_file_wait_for_each_other(server, tmp_path, manifests):
    offer = server.offers["/a"] = Offer()
    asked, go = threading.Event(), threading.Event()
    send = Handler.send_file

    def slowly(handler, offer, start):
        asked.set()
        assert go.wait(30)
        send(handler, offer, start)

    row = ["slow", "file", "file.bin", f"{server.url}/a", f"sha256:{SHA}", "", "", ""]
    (tmp_path / "sources.csv").write_text("name,kind,file,url,digest,bytes,licence,note\n" + ",".join(row) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "send_file", slowly)
        first, second = (start_fetch(tmp_path, name) for name in manifests)
        assert asked.wait(30)
        told = [None, None]
        readers = [
            threading.Thread(target=lambda i=i, p=p: told.__setitem__(i, p.stderr.readline()), daemon=True)
            for i, p in enumerate((first, second))
        ]
        for reader in readers:
            reader.start()
        while not any(told):
            readers[0].join(0.05)
        go.set()
        said = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert "another process is at work here; waiting for it" in "".join(filter(None, told))
    assert sorted(said) == (["False\n", "True\n"] if manifests[0] == manifests[1] else ["True\n", "True\n"])
    assert offer.seen == [None]  # one transfer
    assert (tmp_path / "results/resources/slow/file.bin").read_bytes() == BODY


def start_fetch(folder, manifest):
    arguments = [str(folder / "results"), str(folder / "sources.csv"), str(folder / "results" / manifest)]
    command = [sys.executable, "-c", FETCH, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def copies(stage, tmp_path, way, name="mine.bin"):
    """Take a file of this machine in one of the two ways; returns (the user's file, the one among the results)."""
    (tmp_path / "mine").mkdir()
    own = tmp_path / "mine" / name
    own.write_bytes(BODY)
    if way == "acquire.local":
        stage("/none", digest=f"sha256:{SHA}", local=tmp_path / "mine")
        return own, stage.target
    target = tmp_path / "results/video.mp4"
    assert download(Wanted(own.as_uri(), target, "a-file"), Acquire()) == SHA
    return own, target


WAYS = ["acquire.local", "file"]


@pytest.mark.parametrize("way", WAYS)
def test_what_the_owner_of_a_file_changes_later_does_not_reach_the_results(stage, tmp_path, way):
    own, target = copies(stage, tmp_path, way)
    with open(own, "r+b") as file:
        file.write(b"edited in place")
    own.chmod(0o400)
    assert target.read_bytes() == BODY
    assert target.stat().st_ino != own.stat().st_ino
    assert target.stat().st_nlink == own.stat().st_nlink == 1
    if way == "acquire.local":
        assert files.read_json(stage.manifest)["files"][0]["sha256"] == files.sha256(target)
    with open(target, "ab") as file:
        file.write(b"changed among the results")
    assert own.stat().st_size == len(BODY)


@pytest.mark.parametrize("way", WAYS)
def test_a_link_of_the_user_is_followed_and_copied(stage, tmp_path, way):
    (tmp_path / "elsewhere").write_bytes(BODY)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").symlink_to(tmp_path / "elsewhere")
    if way == "acquire.local":
        stage("/none", digest=f"sha256:{SHA}", local=tmp_path / "mine")
        target = stage.target
    else:
        target = tmp_path / "video.mp4"
        download(Wanted((tmp_path / "mine" / "x").as_uri(), target, "a-file"), Acquire())
    assert not target.is_symlink()
    assert target.stat().st_ino != (tmp_path / "elsewhere").stat().st_ino


@pytest.mark.parametrize("way", WAYS)
def test_a_file_whose_name_is_no_utf_8_is_taken_like_any_other(stage, tmp_path, way):
    name = os.fsdecode(b"caf\xe9 %41#?.bin")
    assert copies(stage, tmp_path, way, name)[1].read_bytes() == BODY


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
