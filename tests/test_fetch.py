"""The stage `fetch`: which address, mirror or folder a source comes from, and when it is fetched again."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import stage_jobs
from offering_server import BODY, SHA, Handler, Offer, offering

from pipeline import files
from pipeline.acquire import patience
from pipeline.acquire.download import download
from pipeline.acquire.sources import COLUMNS
from pipeline.acquire.transfer import Wanted
from pipeline.config import Acquire
from pipeline.errors import PipelineError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(patience, "BACKOFF_S", 0.0)
    with offering() as running:
        yield running


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


@pytest.mark.parametrize("manifests", [("fetch.json", "fetch.json"), ("fetch.json", "other.json")])
def test_two_jobs_that_fetch_one_file_wait_for_each_other(server, tmp_path, monkeypatch, capfd, manifests):
    """Two threads are used here as two processes, because a lock belongs to an open file and not to a process."""
    offer = server.offers["/a"] = Offer()
    asked, go = threading.Event(), threading.Event()
    send = Handler.send_file

    def slowly(handler, offer, start):
        asked.set()
        assert go.wait(30)
        send(handler, offer, start)

    monkeypatch.setattr(Handler, "send_file", slowly)
    row = ["slow", "file", "file.bin", f"{server.url}/a", f"sha256:{SHA}", "", "", ""]
    (tmp_path / "sources.csv").write_text("\n".join(map(",".join, [COLUMNS, row])))
    settings = {"acquire": Acquire(sources=str(tmp_path / "sources.csv"), timeout_s=30)}
    results = tmp_path / "results"

    def fetch(manifest):
        return stage_jobs.run("fetch", results, results / manifest, settings=settings, name="slow")

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(fetch, manifest) for manifest in manifests]
        assert asked.wait(30)
        said = ""
        while "another process is at work here; waiting for it" not in said:
            said += capfd.readouterr().err
        go.set()
        had_work = sorted(job.result() for job in jobs)
    assert had_work == ([False, True] if manifests[0] == manifests[1] else [True, True])
    assert offer.seen == [None]  # one transfer
    assert (results / "resources/slow/file.bin").read_bytes() == BODY


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
