import csv
import os
import re
import shutil
import sys
import threading
import types
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import stage_jobs

from pipeline import files, provenance, records
from pipeline.acquire import archives, originals, patience, youtube
from pipeline.acquire.sources import COLUMNS as SOURCE_COLUMNS
from pipeline.acquire.weights import weights_file
from pipeline.config import Acquire, Dataset
from pipeline.errors import PipelineError
from pipeline.video.account import COLUMNS

av = pytest.importorskip("av")


def make_video(path, seconds=2, options=None):
    """A small H.264 MP4 at 10 frames per second."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(seconds * 10):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """One good video; copies of it stand for all others."""
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
    """The stage on a dataset of one shard whose videos come from a table of sources."""
    results = tmp_path / "results"
    acquire = Acquire(sources=str(tmp_path / "sources.csv"), attempts=1, timeout_s=5)

    def run(*vids, kind="video", url="{server}/{vid}.mp4", also=(), then=(), **acquiring):
        row = ["films", kind, "films.zip" if kind == "archive" else "{vid}.mp4", url.replace("{server}", server.url)]
        table = [SOURCE_COLUMNS, [*row, "", "", "", ""]]
        table += [[name, "video", "{vid}.mp4", f"{server.url}/{{vid}}.mp4", "", "", "", ""] for name in then]
        (tmp_path / "sources.csv").write_text("\n".join(map(",".join, table)))
        rows = [{"qid": i, "query": "q", "vid": vid, "duration": 2} for i, vid in enumerate(vids)]
        records.write_jsonl(results / "annotations/qvhighlights/val.jsonl", rows)
        annotations = results / "annotations/qvhighlights/val.json"
        described = [provenance.describe(results / "annotations/qvhighlights/val.jsonl")]
        files.write_json(annotations, {"stage": "annotate", "files": described})
        dataset = Dataset(shards=1, annotations={"val": "any"}, videos=["films", *then])
        settings = {"dataset": dataset, "acquire": acquire.model_copy(update=acquiring)}
        inputs = {"inputs": [annotations, *also]}
        return stage_jobs.run("videos", results, run.manifest, inputs, settings, dataset="qvhighlights", shard="00000")

    def rows():
        with open(results / "videos/qvhighlights/00000.csv", newline="") as file:
            return {row["vid"]: row for row in csv.DictReader(file)}

    run.results, run.rows, run.manifest = results, rows, results / "videos/qvhighlights/00000.json"
    return run


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
    """Vids whose files were read since it was called last."""
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


# ---- videos of an archive ----------------------------------------------------------------------------------------


@pytest.fixture
def unpacked(stage, film):
    """The index and manifest that `unpack` leaves, for members that are copies of the film."""

    def make(*members):
        home = stage.results / "resources/films"
        for member in members:
            (home / "files" / member).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(film, home / "files" / member)
        archives.write_index(home / "index.csv", dict.fromkeys(members, film.stat().st_size))
        described = [provenance.describe(home / "index.csv")]
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
    assert rows["c"]["why"].startswith("films: not among the 1 videos of films; more: ")


def test_a_member_that_was_removed_afterwards_is_a_failure(stage, unpacked):
    manifest = unpacked("a.mp4")
    (stage.results / "resources/films/files/a.mp4").unlink()
    from_archive(stage, manifest, "a")
    assert stage.rows()["a"]["status"] == "failed"


# ---- YouTube -----------------------------------------------------------------------------------------------------


@pytest.fixture
def library(monkeypatch, film):
    """yt-dlp's place taken by one that notes what it is asked and writes the film, or raises what it is told to."""

    class Error(Exception):
        pass

    class Library:
        asked, found, trouble, troubles, killed, received = [], [], None, [], False, 0

        def __init__(self, options):
            self.options = options

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def extract_info(self, url, download):
            Library.asked.append((url, self.options))
            folder = Path(self.options["paths"]["home"])
            Library.found += [path.name for path in folder.iterdir()]
            if Library.killed:
                (folder / "video.f134.mp4.part").write_bytes(b"half")
                raise KeyboardInterrupt
            if Library.troubles:
                raise Error(Library.troubles.pop())
            if Library.trouble:
                raise Error(Library.trouble)
            for hook in self.options["progress_hooks"]:
                hook({"status": "downloading", "downloaded_bytes": Library.received})
            shutil.copy(film, folder / "video.mp4")

    monkeypatch.setitem(sys.modules, "yt_dlp", types.SimpleNamespace(YoutubeDL=Library))
    monkeypatch.setitem(sys.modules, "yt_dlp.utils", types.SimpleNamespace(YoutubeDLError=Error))
    monkeypatch.setattr(youtube.shutil, "which", lambda program: f"/usr/bin/{program}")
    return Library


PAGE = "https://www.youtube.com/watch?v={vid}"


def test_vids_with_times_are_parts_of_one_video_that_is_fetched_once_and_whole(stage, library):
    stage("-_bcdefghij_0.0_1.0", "-_bcdefghij_0.5_2.0", kind="youtube", url=PAGE)
    ((url, options),) = library.asked
    assert url == "https://www.youtube.com/watch?v=-_bcdefghij"
    assert "download_ranges" not in options
    rows = stage.rows()
    assert [(row["status"], row["start_s"], row["duration_s"]) for row in rows.values()] == [
        ("ok", "0", "1"),
        ("ok", "1/2", "3/2"),
    ]
    assert [path.name for path in (stage.results / "resources/films/files").iterdir()] == ["-_bcdefghij.mp4"]


def test_a_section_that_an_earlier_version_cut_stays_in_use(stage, library, film):
    folder = stage.results / "resources/films/files"
    folder.mkdir(parents=True)
    shutil.copy(film, folder / "-_bcdefghij_60.0_62.0.mp4")
    stage("-_bcdefghij_60.0_62.0", kind="youtube", url=PAGE)
    assert library.asked == []
    row = stage.rows()["-_bcdefghij_60.0_62.0"]
    assert row["status"] == "ok" and "start_s" not in row


def test_a_whole_video_that_ends_before_its_section_is_told(stage, library):
    stage("-_bcdefghij_60.0_210.0", "_xMr-HKMfVA", kind="youtube", url=PAGE)
    row = stage.rows()["-_bcdefghij_60.0_210.0"]
    assert (row["status"], row["why"]) == ("corrupt", "lasts 2.00 s and shows nothing from 60 s to 210 s")
    assert stage.rows()["_xMr-HKMfVA"]["status"] == "ok"


def test_a_plain_id_is_the_whole_video(stage, library):
    stage("_xMr-HKMfVA", kind="youtube", url=PAGE)
    assert stage.rows()["_xMr-HKMfVA"]["status"] == "ok"
    assert library.asked[0][1]["format_sort"] == ["+res:256"]


@pytest.mark.parametrize("n_troubles", [2, 9])
def test_a_youtube_that_asks_for_patience_is_asked_again_and_not_for_ever(stage, library, n_troubles):
    library.troubles = ["ERROR: HTTP Error 429: Too Many Requests"] * n_troubles
    stage("_xMr-HKMfVA", kind="youtube", url=PAGE, attempts=5)
    row = stage.rows()["_xMr-HKMfVA"]
    assert (row["status"], len(library.asked)) == (("ok", 3) if n_troubles == 2 else ("failed", 5))


@pytest.mark.parametrize(("received", "status"), [(1_000, "ok"), (1_001, "failed")])
def test_a_video_of_youtube_has_a_largest_size(stage, library, received, status):
    library.received = received
    stage("_xMr-HKMfVA", kind="youtube", url=PAGE, largest_file_gb=1e-6)
    row = stage.rows()["_xMr-HKMfVA"]
    assert row["status"] == status
    assert row["why"].startswith("has more than 1e-06 GB" if status == "failed" else "")


def test_what_a_killed_fetch_left_is_gone_on_with(stage, library):
    library.killed = True
    with pytest.raises(KeyboardInterrupt):
        stage("_xMr-HKMfVA", kind="youtube", url=PAGE)
    (part,) = (stage.results / "resources/films/files/.youtube-_xMr-HKMfVA").iterdir()
    library.killed = False
    stage("_xMr-HKMfVA", kind="youtube", url=PAGE)
    assert library.found == [part.name]
    assert [path.name for path in (stage.results / "resources/films/files").iterdir()] == ["_xMr-HKMfVA.mp4"]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("ERROR: [youtube] x: Video unavailable. This video has been removed by the uploader", "missing"),
        ("ERROR: [youtube] x: Private video. Sign in if you've been granted access", "missing"),
        ("ERROR: [youtube] x: The uploader has not made this video available in your country", "missing"),
        ("ERROR: [youtube] x: Requested format is not available. Use --list-formats", "failed"),
        ("ERROR: [youtube] x: Sign in to confirm you are not a bot", "failed"),
        ("ERROR: Unable to download webpage: timed out", "failed"),
    ],
)
def test_a_video_that_is_gone_is_told_from_one_that_did_not_come(stage, library, said, status):
    library.trouble = said
    stage("_xMr-HKMfVA", kind="youtube", url=PAGE)
    row = stage.rows()["_xMr-HKMfVA"]
    assert row["status"] == status
    assert row["why"].startswith(f"YouTube: {said.removeprefix('ERROR: ')}")


@pytest.mark.parametrize("vid", ["00607", "_xMr-HKMfVA_60.0", "a" * 12])
def test_a_vid_that_is_no_youtube_id_is_a_failure_of_its_row(stage, library, vid):
    stage(vid, kind="youtube", url=PAGE)
    assert stage.rows()[vid]["status"] == "failed"
    assert library.asked == []


def test_qvhighlights_vids_are_split_from_the_right(shared_data):
    rows = (row for _, row in records.read_jsonl(shared_data / "annotations/qvhighlights_train.jsonl"))
    for vid in {row["vid"] for row in rows}:
        youtube_id, start, end = vid.rsplit("_", 2)
        assert youtube.section_of(vid) == youtube.Section(youtube_id, float(start), float(end))


# ---- weights -----------------------------------------------------------------------------------------------------


def test_weights_that_were_not_fetched_are_answered_with_the_command(tmp_path):
    with pytest.raises(PipelineError, match=r"python -m pipeline --results .* fetch clip-vit-b32"):
        weights_file("clip-vit-b32", tmp_path)


def test_fetched_weights_are_found(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"w")
    manifest = tmp_path / "resources/clip-vit-b32/fetch.json"
    files.write_json(manifest, {"stage": "fetch", "files": [provenance.describe(tmp_path / "weights.bin")]})
    assert weights_file("clip-vit-b32", tmp_path) == tmp_path / "weights.bin"


@pytest.mark.usefixtures("told_often")
def test_the_account_of_videos_writes_its_progress_into_the_log(stage, server, film, capfd):
    shutil.copy(film, server.folder / "a.mp4")
    stage("a")
    assert re.search(r"^qvhighlights 00000: 1 of 1 videos", capfd.readouterr().err, re.MULTILINE)
