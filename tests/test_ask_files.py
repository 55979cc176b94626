"""The files of an answer: JSON, CSV, edit lists, clips that are cut out, and the page."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_videos import make_video

from pipeline.asking import write
from pipeline.asking.answer import Answer, ScoredWindow
from pipeline.errors import PipelineError


class Page(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._hidden = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        self.text += "" if self._hidden else data


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("answered") / "a.mp4"
    return make_video(path, range(0, 600 * 20, 150), width=96, sound_s=20, rate=4)


def answer_about(video, query):
    """Return an answer about 20 seconds of video."""
    windows = tuple(
        ScoredWindow(*row) for row in [(4.0, 9.5, 0.9), (4.5, 9.5, 0.8), (0.0, 2.0, 0.5), (16.0, 20.0, 0.1)]
    )
    return Answer(query, video, 20.0, "a/b", 2.0, windows, tuple(np.sin(np.arange(10)).tolist()))


@pytest.fixture(scope="module")
def written(video, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    answers = [answer_about(video, text) for text in ("a dog", "<script>alert('x')</script>")]
    return answers, folder, write.write(answers, folder, cut=True)


def test_json_and_csv_hold_what_was_answered(written):
    answers, folder, paths = written
    assert all(path.is_file() for path in paths)
    found = json.loads((folder / "answers.json").read_text())
    assert [row["windows"] for row in found] == [[[*astuple(w)] for w in a.windows] for a in answers]
    assert [row["saliency"] for row in found] == [list(answer.saliency) for answer in answers]
    with open(folder / "windows.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["query"] == "a dog"]
    shown = answers[0].shown()
    assert [(float(row["start_s"]), float(row["end_s"])) for row in rows] == [(w.start_s, w.end_s) for w in shown]


def astuple(window):
    return window.start_s, window.end_s, window.score


def test_the_page_escapes_what_it_is_told_and_loads_nothing(written):
    _, folder, _ = written
    text = (folder / "index.html").read_text()
    page = Page(text)
    assert "<script>alert" not in text
    assert "<script>alert('x')</script>" in page.text
    assert [tag for tag, _ in page.tags].count("script") == 1
    addresses = [value for _, given in page.tags for key, value in given.items() if key in ("src", "href")]
    assert [address[:20] for address in addresses] == ["data:video/mp4;base6"]
    assert not re.search(r"https?://", text.replace(addresses[0], ""))


def test_the_page_has_a_mark_for_every_window_and_a_curve_over_the_whole_video(written):
    answers, folder, _ = written
    page = Page((folder / "index.html").read_text())
    seconds = [float(given["data-second"]) for _, given in page.tags if "data-second" in given]
    assert seconds == [window.start_s for answer in answers for window in answer.shown()]
    curve = next(given["points"] for tag, given in page.tags if tag == "polyline").split()
    assert len(curve) == 2 * len(answers[0].saliency)
    assert (curve[0].split(",")[0], curve[-1].split(",")[0]) == ("0.0", "1000.0")


CLICK = """<script>
setTimeout(() => {
  document.querySelectorAll("[data-second]")[1].click();
  setTimeout(() => { document.title = `at ${video.currentTime}, ${video.videoWidth} wide, ${video.error}`; }, 800);
}, 500);
</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
def test_a_click_plays_the_window_in_a_real_browser(written, tmp_path):
    answers, folder, _ = written
    page = tmp_path / "clicked.html"
    page.write_text((folder / "index.html").read_text().replace("</body>", CLICK))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    (title,) = re.findall(r"<title>([^<]*)", shown)
    second = float(re.search(r"at ([\d.]+), \d+ wide, null", title)[1])
    start = [window.start_s for answer in answers for window in answer.shown()][1]
    assert start <= second <= start + 3


def test_a_large_video_is_played_from_where_it_lies(monkeypatch, tmp_path):
    from pipeline.asking import page

    monkeypatch.setattr(page, "EMBEDDED_BYTES", 10)
    video = tmp_path / "a folder" / "mine #1.mp4"
    video.parent.mkdir()
    video.write_bytes(b"0" * 11)
    assert page.address_of(video, tmp_path / "out") == ("../a%20folder/mine%20%231.mp4", False)


@pytest.mark.parametrize("name", [*write.FILES, "query-1.edl", "query-1-2.mp4", "query-1-1.mkv"])
def test_a_file_that_no_answer_wrote_is_kept(video, tmp_path, name):
    (tmp_path / name).write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(PipelineError, match=rf"{name}: is there already, and no answer wrote it → .*--output DIR"):
        write.write([answer_about(video, "a dog")], tmp_path, cut=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, '{"mine": 1}')]


def test_a_file_like_those_of_an_answer_is_kept_where_no_earlier_answer_is(video, tmp_path):
    for name in ("query-2.edl", "query-3-1.mp4"):  # this answer writes neither of them
        (tmp_path / name).write_text("mine")
    write.write([answer_about(video, "a dog")], tmp_path)
    assert [(tmp_path / name).read_text() for name in ("query-2.edl", "query-3-1.mp4")] == ["mine", "mine"]


def test_a_folder_that_no_disk_can_name_is_refused_in_one_line(video, tmp_path):
    with pytest.raises(PipelineError, match=r"cannot be written \(File name too long\)"):
        write.write([answer_about(video, "a dog")], tmp_path / ("x" * 300))


def test_an_empty_list_of_the_user_is_no_earlier_answer(video, tmp_path):
    (tmp_path / "answers.json").write_text("[]")
    (tmp_path / "query-7.edl").write_text("mine")
    with pytest.raises(PipelineError, match="no answer wrote it"):
        write.write([answer_about(video, "a dog")], tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"answers.json": "[]", "query-7.edl": "mine"}


def test_an_answer_takes_the_place_of_an_earlier_one(video, tmp_path):
    (tmp_path / "query-notes.txt").write_text("mine")
    write.write([answer_about(video, query) for query in ("a dog", "a bird")], tmp_path, cut=True, most=3)
    asked_about = shutil.copy(tmp_path / "query-2-1.mp4", tmp_path / "query-9-1.mp4")
    written = write.write([answer_about(asked_about, "a cat")], tmp_path, cut=True, most=1)
    assert "a cat" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert {*tmp_path.iterdir()} == {*written, asked_about, tmp_path / "query-notes.txt"}


def test_an_edit_list_counts_frames(tmp_path):
    windows = (ScoredWindow(1.5, 3.0, 0.9), ScoredWindow(62.0, 3602.5, 0.5))
    answer = Answer("a dog", Path("mine.mp4"), 4000.0, "a/b", 2.0, windows, (0.0,) * 2000)
    codes = re.findall(r"\d\d:\d\d:\d\d:\d\d", write.edit_list(answer, 24))
    assert codes == [
        *("00:00:01:12", "00:00:03:00", "00:00:00:00", "00:00:01:12"),
        *("00:01:02:00", "01:00:02:12", "00:00:01:12", "00:59:02:00"),
    ]


def test_an_event_is_equally_long_on_both_sides_and_counts_the_videos_own_frames():
    windows = (ScoredWindow(0.02, 1.01, 0.9), ScoredWindow(1000.0, 1001.02, 0.5), ScoredWindow(2002.0, 3003.0, 0.4))
    answer = Answer("a dog", Path("mine.mp4"), 4000.0, "a/b", 2.0, windows, (0.0,) * 2000)
    codes = re.findall(r"(\d\d):(\d\d):(\d\d):(\d\d)", write.edit_list(answer, Fraction(30000, 1001)))
    frames = [((int(h) * 60 + int(m)) * 60 + int(s)) * 30 + int(f) for h, m, s, f in codes]
    events = [frames[k : k + 4] for k in range(0, 12, 4)]
    assert all(source[1] - source[0] == source[3] - source[2] for source in events)
    assert events[2][:2] == [60000, 90000]


def test_the_video_itself_is_never_written_over(video, tmp_path):
    clip = shutil.copy(video, tmp_path / "query-1-1.mp4")
    answer = answer_about(clip, "a dog")
    before = clip.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(PipelineError, match=r"query-1-1.mp4: would be overwritten → name another folder"):
            write.write([answer], folder, cut=True)
    assert clip.read_bytes() == before
    write.write([answer], tmp_path)


def test_clips_are_cut_out_without_encoding_and_hold_the_window(written):
    from pipeline.video.probe import probe

    answers, _, paths = written
    clips = [path for path in paths if path.suffix == ".mp4"]
    assert len(clips) == sum(len(answer.shown()) for answer in answers)
    for path, window in zip(clips, answers[0].shown(), strict=False):
        facts = probe(path)
        assert facts.codec == "h264"
        assert float(facts.duration) >= window.end_s - window.start_s - 0.5


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_cut_holds_the_windows_beginning_in_any_container(tmp_path, suffix):
    from pipeline.asking.cutting import cut_out
    from pipeline.video.probe import probe

    video = make_video(tmp_path / f"v.{suffix}", range(0, 20_000, 40), rate=15)  # key frames at 0 s and 16.7 s
    for window, seconds in (((2, 6), 6), ((10, 20), 20), ((18, 20), 20 - 50 / 3)):
        clip = cut_out(video, ScoredWindow(*window, 1.0), tmp_path / "clip")
        assert float(probe(clip).duration) == pytest.approx(seconds, abs=0.2)


def test_windows_that_lie_over_a_better_one_are_not_shown_but_kept():
    windows = tuple(ScoredWindow(*row) for row in [(0, 10, 0.9), (1, 10, 0.8), (20, 20, 0.7), (5, 15, 0.6)])
    answer = Answer("a", Path("a.mp4"), 30.0, "a/b", 2.0, windows, (1.0, 3.0, 2.0))
    assert [(w.start_s, w.end_s) for w in answer.distinct()] == [(0, 10), (5, 15)]
    assert [(w.start_s, w.score) for w in answer.best_clips(2)] == [(2.0, 3.0), (4.0, 2.0)]
    assert answer.to_row()["windows"] == [[0, 10, 0.9], [1, 10, 0.8], [5, 15, 0.6]]
