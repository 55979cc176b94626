"""Videos of YouTube, whole or as parts of one. A video that is gone is distinguished from one that failed this time."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import pytest

pytest.importorskip("av")

from account_stage import AccountStage, make_video

from pipeline import records
from pipeline.acquire import patience, youtube


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "BACKOFF_S", 0.0)
    return AccountStage(tmp_path)


@pytest.fixture
def library(monkeypatch, film):
    """Replace yt-dlp by a fake that notes each request, and writes the film or raises the error that it is told to."""

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
