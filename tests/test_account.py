"""The account of videos: every video of a shard is found, read or listed with the reason why not."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("av")

from account_stage import AccountStage, make_video
from hanging import hang

from pipeline import files
from pipeline.acquire import archives, originals, patience
from pipeline.errors import PipelineError
from pipeline.manifests import describe
from pipeline.video import looking, part
from pipeline.video.account import COLUMNS


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Return one good video. Its copies are used for all others."""
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", options={"movflags": "faststart"})


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "BACKOFF_S", 0.0)
    folder = tmp_path / "served"
    folder.mkdir()
    seen = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            super().do_GET()
            running.after()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as running:
        running.after = lambda: None
        running.folder, running.seen, running.url = folder, seen, f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def stage(tmp_path, server):
    return AccountStage(tmp_path, server.url)


def test_a_video_that_is_there_is_measured(stage, server, film):
    shutil.copy(film, server.folder / "a.mp4")
    assert stage("a")
    row = stage.rows()["a"]
    assert tuple(row) == COLUMNS
    assert (row["status"], row["why"], row["source"]) == ("ok", "", "films")
    assert (Fraction(row["duration_s"]), Fraction(row["fps"])) == (2, 10)
    assert (row["bytes"], row["sha256"]) == (str(film.stat().st_size), files.sha256(film))
    assert row["path"] == str(stage.results / "resources/films/files/a.mp4")


def test_missing_failed_and_corrupt_are_told_apart_and_the_job_goes_on(stage, server, film):
    whole = film.read_bytes()
    (server.folder / "good.mp4").write_bytes(whole)
    (server.folder / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (server.folder / "page.mp4").write_bytes(b"<!doctype html><title>Too many requests</title>")
    (server.folder / "alien.mp4").write_bytes(whole.replace(b"avc1", b"zzzz").replace(b"avcC", b"free"))
    stage("good", "half", "alien", "page", "nowhere")
    statuses = {vid: row["status"] for vid, row in stage.rows().items()}
    assert statuses == {"good": "ok", "half": "corrupt", "alien": "corrupt", "page": "failed", "nowhere": "missing"}
    assert "404" in stage.rows()["nowhere"]["why"]
    assert "Too many requests" in stage.rows()["page"]["why"]
    assert "cut short" in stage.rows()["half"]["why"]
    assert "a codec that FFmpeg does not know" in stage.rows()["alien"]["why"]


@pytest.mark.parametrize(
    ("misbehave", "why"),
    [
        (hang, "reading its facts took longer than 900 s"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "reading its facts was killed (SIGKILL)"),
    ],
    ids=["hangs", "dies"],
)
def test_a_video_that_makes_its_reader_hang_or_die_costs_itself_alone_and_is_looked_at_again(
    stage, server, film, monkeypatch, misbehave, why
):
    def facts_of(source):
        if source.stem == "b":
            misbehave()
        return part.facts_of(source)

    for vid in "abc":
        shutil.copy(film, server.folder / f"{vid}.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(looking, "facts_of", facts_of)
        patch.setattr(looking, "START", multiprocessing.get_context("fork"))  # so that the process sees it
        assert stage("a", "b", "c")
    assert {vid: row["status"] for vid, row in stage.rows().items()} == {"a": "ok", "b": "failed", "c": "ok"}
    assert stage.rows()["b"]["why"] == why
    assert stage("a", "b", "c")
    assert stage.rows()["b"]["status"] == "ok"
    assert not stage("a", "b", "c")


@pytest.mark.parametrize("way", ["deleted", "replaced"])
def test_a_corrupt_file_is_looked_at_again_when_it_was_deleted_or_replaced(stage, server, film, way, capsys):
    whole = film.read_bytes()
    (server.folder / "half.mp4").write_bytes(whole[: len(whole) // 2])
    stage("half")
    assert "fetched again when it was deleted" in capsys.readouterr().out
    account, path = stage.results / "videos/qvhighlights/00000.csv", Path(stage.rows()["half"]["path"])
    (server.folder / "half.mp4").write_bytes(whole)
    assert not originals.corrupt_replaced(account)
    assert not stage("half")  # nothing says that the server has a better file now
    if way == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole)
    assert originals.corrupt_replaced(account)
    assert stage("half")
    assert stage.rows()["half"]["status"] == "ok"
    assert not originals.corrupt_replaced(account)
    assert not stage("half")


def test_the_manifest_counts_each_status_and_gives_the_reasons(stage, server, film):
    shutil.copy(film, server.folder / "good.mp4")
    stage("good", "nowhere")
    manifest = files.read_json(stage.manifest)
    assert manifest["counts"] == {"ok": 1, "missing": 1, "failed": 0, "corrupt": 0}
    assert [row["vid"] for row in manifest["skipped"]] == ["nowhere"]
    assert manifest["skipped"][0]["why"].startswith("missing: no such file (404")


def test_a_file_that_comes_half_because_the_server_states_its_size_wrongly_is_asked_for_again(stage, server, film):
    shutil.copy(film, server.folder / "a.mp4")
    whole = server.folder / "a.mp4"
    body = whole.read_bytes()
    whole.write_bytes(body[: len(body) // 2])
    server.after = lambda: whole.write_bytes(body)
    stage("a")
    assert stage.rows()["a"]["status"] == "ok"
    assert server.seen == ["/a.mp4", "/a.mp4"]


@pytest.mark.parametrize("kind", ["video", "youtube"])
def test_videos_come_from_a_mirror_too(stage, server, film, tmp_path, kind):
    vids = {"video": ["a"], "youtube": ["-_bcdefghij_0.0_1.0", "-_bcdefghij_0.5_2.0"]}[kind]
    (tmp_path / "mirror/films/files").mkdir(parents=True)
    shutil.copy(film, tmp_path / f"mirror/films/files/{vids[0].partition('_0.0')[0]}.mp4")
    stage(*vids, "_xMr-HKMfVA", kind=kind, mirror=str(tmp_path / "mirror"))
    assert {vid: row["status"] for vid, row in stage.rows().items()} == {"_xMr-HKMfVA": "missing"} | dict.fromkeys(
        vids, "ok"
    )
    assert server.seen == []


def test_a_half_file_with_its_index_at_the_end_is_corrupt_too(stage, server, tmp_path):
    whole = make_video(tmp_path / "v.mp4").read_bytes()
    (server.folder / "half.mp4").write_bytes(whole[: len(whole) // 2])
    stage("half")
    assert stage.rows()["half"]["status"] == "corrupt"


def test_a_shard_with_all_its_videos_is_done(stage, server, film):
    shutil.copy(film, server.folder / "a.mp4")
    stage("a")
    assert not stage("a")


def test_a_missing_video_is_asked_for_again_whenever_the_stage_is_started(stage, server, film):
    shutil.copy(film, server.folder / "a.mp4")
    stage("a", "late")
    assert files.read_json(stage.manifest)["skipped"][0]["asked"].endswith("/{vid}.mp4")
    before = stage.manifest.read_bytes()
    server.seen.clear()
    assert stage("a", "late")
    assert (server.seen, stage.manifest.read_bytes()) == (["/late.mp4"], before)
    shutil.copy(film, server.folder / "late.mp4")
    assert stage("a", "late")
    assert stage.rows()["late"]["status"] == "ok"


def test_failed_downloads_are_tried_again_and_finished_ones_are_not(stage, server, film):
    shutil.copy(film, server.folder / "good.mp4")
    (server.folder / "late.mp4").write_bytes(b"<html>busy</html>")
    stage("good", "late")
    server.seen.clear()
    shutil.copy(film, server.folder / "late.mp4")
    assert stage("good", "late")
    assert server.seen == ["/late.mp4"]
    assert stage.rows()["late"]["status"] == "ok"


@pytest.fixture
def looked_at(work_done):
    """Return a function that returns the vids whose files were read since its last call."""
    return lambda: [Path(line["path"]).stem for line in work_done("probed")]


def test_a_video_more_is_one_videos_work(stage, server, film, looked_at):
    for vid in ("a", "b", "c"):
        shutil.copy(film, server.folder / f"{vid}.mp4")
    stage("a", "b")
    before = stage.rows()
    looked_at()
    stage("a", "b", "c")
    assert looked_at() == ["c"]
    assert {vid: stage.rows()[vid] for vid in before} == before


@pytest.mark.parametrize("change", ["size", "time", "revision"])
def test_a_file_is_looked_at_again_when_it_was_touched_and_all_are_in_another_revision(
    stage, server, film, looked_at, monkeypatch, change
):
    shutil.copy(film, server.folder / "a.mp4")
    stage("a")
    looked_at()
    path = stage.results / "resources/films/files/a.mp4"
    if change == "size":
        state = path.stat()
        path.write_bytes(path.read_bytes() + b"0")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    if change == "time":
        later = stage.manifest.stat().st_mtime + 5
        os.utime(path, (later, later))
    if change == "revision":
        monkeypatch.setattr("pipeline.video.account.FACTS_SINCE", 99)
    stage("a", "nowhere")
    assert looked_at() == ["a"]


def test_equal_work_gives_equal_bytes(stage, server, film):
    shutil.copy(film, server.folder / "a.mp4")
    stage("a", "b")
    before = stage.manifest.read_bytes()
    stage.manifest.unlink()
    stage("a", "b")
    assert stage.manifest.read_bytes() == before


def test_vids_that_look_like_numbers_or_options_stay_what_they_are(stage, server, film):
    for vid in ("00607", "-x--y_60.0_210.0", "1E5"):
        shutil.copy(film, server.folder / f"{vid}.mp4")
    stage("00607", "-x--y_60.0_210.0", "1E5")
    assert {vid: row["status"] for vid, row in stage.rows().items()} == dict.fromkeys(
        ("00607", "-x--y_60.0_210.0", "1E5"), "ok"
    )


@pytest.mark.parametrize("vid", ["../etc", "a/b", ".hidden", "a b", "a;rm", "é"])
def test_a_vid_that_is_no_file_name_is_refused(stage, vid):
    with pytest.raises(PipelineError, match="no file name"):
        stage(vid)


@pytest.fixture
def unpacked(stage, film):
    """Return a function that makes the index and the manifest of `unpack`, for members that are copies of the film."""

    def make(*members):
        home = stage.results / "resources/films"
        for member in members:
            (home / "files" / member).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(film, home / "files" / member)
        archives.write_index(home / "index.csv", dict.fromkeys(members, film.stat().st_size))
        described = [describe(home / "index.csv")]
        files.write_json(home / "unpack.json", {"stage": "unpack", "files": described})
        return home / "unpack.json"

    return make


def from_archive(stage, manifest, *vids, then=()):
    return stage(*vids, kind="archive", url="https://example.org/films.zip", also=[manifest], then=then)


def test_videos_are_found_in_whatever_folder_of_the_archive_they_lie(stage, unpacked):
    manifest = unpacked("deep/in/a_60.0_210.0.mp4", "b.MKV", "b.txt")
    from_archive(stage, manifest, "a_60.0_210.0", "b", "c")
    rows = stage.rows()
    assert rows["a_60.0_210.0"]["path"].endswith("files/deep/in/a_60.0_210.0.mp4")
    assert rows["b"]["path"].endswith("files/b.MKV")
    assert (rows["c"]["status"], rows["c"]["why"]) == ("missing", "not among the 2 videos of films")


def test_what_the_first_source_lacks_is_asked_of_the_next(stage, unpacked, server, film):
    shutil.copy(film, server.folder / "b.mp4")
    from_archive(stage, unpacked("a.mp4"), "a", "b", "c", then=["more"])
    rows = stage.rows()
    assert [(rows[vid]["status"], rows[vid]["source"]) for vid in "abc"] == [
        ("ok", "films"),
        ("ok", "more"),
        ("missing", "films, more"),
    ]
    assert rows["c"]["why"].startswith("films: not among the 1 video of films; more: ")


def test_a_member_that_was_removed_afterwards_is_a_failure(stage, unpacked):
    manifest = unpacked("a.mp4")
    (stage.results / "resources/films/files/a.mp4").unlink()
    from_archive(stage, manifest, "a")
    assert stage.rows()["a"]["status"] == "failed"


@pytest.mark.usefixtures("told_often")
def test_the_account_of_videos_writes_its_progress_into_the_log(stage, server, film, capfd):
    shutil.copy(film, server.folder / "a.mp4")
    stage("a")
    assert re.search(r"^qvhighlights 00000: 1 of 1 video,", capfd.readouterr().err, re.MULTILINE)
