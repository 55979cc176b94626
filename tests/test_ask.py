"""A trained run answers queries about a video of one's own, as the stage `predict` answers them."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import fake_encoders
import numpy as np
import pytest
from made_videos import make_video
from tiny_benchmark import FEATURES, MODEL, N_CLIPS, PEERS, WITH_SOUND, Benchmark, experiment, list_stores, query

from pipeline import cli, datasets, files, records
from pipeline.asking import rows as asking_rows
from pipeline.asking import write
from pipeline.asking.answer import Answer, ScoredWindow
from pipeline.asking.moments import Moments
from pipeline.asking.pieces import Piece, longest_piece, merged_saliency, merged_windows, pieces_of
from pipeline.asking.words import Words, qid_of
from pipeline.encoders.base import Weights
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.features.making.encode import Recipe
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter

FAKES = {
    "clip-vit-b32": "fake_encoders:MeanColour",
    "clip-text": "fake_encoders:Letters",
    "pann-cnn14": "fake_encoders:Loudness",
}
SECONDS = 2 * N_CLIPS
QUERIES = ("a dog", "somebody opens a door", "the last word")


@pytest.fixture(scope="module", autouse=True)
def fakes():
    before = dict(FAMILIES)
    fake_encoders.take_the_place(FAKES)
    yield
    FAMILIES.update(before)


def recipe(family):
    grid = "tokens" if family == "clip-text" else "2s"
    return Recipe(family, grid, Weights.named("random:7", None), "float16")


class OwnVideos(Benchmark):
    """Runs that were trained on the rows of real files, one query each, under the passports of this version."""

    def __init__(self, folder: Path) -> None:
        self.results, self.folder = folder / "results", folder
        lengths = [SECONDS] * 5 + [SECONDS - 6]
        self.videos = [
            make_video(folder / f"v{n}.mp4", range(0, 600 * s, 150), width=64 + 16 * n, sound_s=s, rate=4)
            for n, s in enumerate(lengths)
        ]
        queries = [replace(query(n, n % 4, 3), query=QUERIES[n % 3], duration=float(s)) for n, s in enumerate(lengths)]
        self.splits = {"train": queries[:3], "val": queries[3:]}
        self.annotations = {name: self._annotate(name, some) for name, some in self.splits.items()}
        seen = [recipe("clip-vit-b32"), recipe("pann-cnn14")]
        encoded = [asking_rows.encode(video, seen, folder / "training" / video.stem) for video in self.videos]
        stores = []
        for made in (*seen, recipe("clip-text")):
            path = self.results / f"features/qvhighlights/{made.grid}/{made.family}/00000.h5"
            with StoreWriter(path, made.passport) as writer:
                for one, asked in zip(encoded, queries, strict=True):
                    is_text = made.family == "clip-text"
                    source = Words(made).store_of(asked.query, one.rows) if is_text else one.stores[made.family]
                    with Store([source]) as store:
                        key = qid_of(asked.query) if is_text else one.vid
                        writer.add(str(asked.qid) if is_text else one.vid, store.read(key))
            stores.append(path)
        self.features = [list_stores(self.results / "features/qvhighlights/all/00000.json", stores)]

    def run(self, name="tiny", **changes) -> Path:
        training = {"epochs": 2, "evaluation_batch_size": 1} | changes.pop("training", {})
        settings = experiment(**changes, training=training)
        self.train(settings, name)
        return self.predict(settings, name) / "all-s2017"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return OwnVideos(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def run(own):
    return own.run()


@pytest.fixture(scope="module")
def moments(run):
    return Moments.load(run)


@pytest.fixture(scope="module")
def encoded(own, moments):
    return moments.encode(own.videos[3])


def predicted(run, epoch="selected"):
    return [row for _, row in records.read_jsonl(run / f"predictions/val-{epoch}.jsonl")]


@pytest.mark.parametrize("name", ["tr_detr", *PEERS])
def test_every_method_answers_as_the_stage_predict_does(own, name):
    folder = own.run(f"of_{name}", model=PEERS.get(name, MODEL))
    moments = Moments.load(folder)
    for row in predicted(folder):
        video = own.folder / f"{row['vid']}.mp4"
        answer = moments.ask(moments.encode(video), row["query"])
        assert records.to_row(moments.prediction(answer, row["qid"], row["vid"])) == row


def test_the_last_epoch_answers_with_its_own_weights(own, run):
    row = predicted(run, "last")[0]
    moments = Moments.load(run, epoch="last")
    answer = moments.ask(moments.encode(own.folder / f"{row['vid']}.mp4"), row["query"])
    assert records.to_row(moments.prediction(answer, row["qid"], row["vid"])) == row


def test_a_second_question_reads_no_video_and_a_query_asked_before_needs_no_network(
    own, run, moments, encoded, monkeypatch
):
    first = moments.ask(encoded, "a dog")

    def must_not(*_, **__):
        raise AssertionError

    for name in ("probe", "encode_videos", "encode_sounds"):
        monkeypatch.setattr(asking_rows, name, must_not)
    monkeypatch.setattr(asking_rows.files, "sha256", must_not)
    monkeypatch.setattr(fake_encoders.Letters, "encode", must_not)
    again = Moments.load(run)
    assert again.ask(again.encode(own.videos[3]), "a dog") == first


def test_a_video_that_changed_is_encoded_again(run, tmp_path):
    moments = Moments.load(run)
    video = make_video(tmp_path / "mine.mp4", range(0, 600 * 8, 300), rate=2)
    before = moments.encode(video)
    make_video(video, range(0, 600 * 12, 300), rate=2)
    after = moments.encode(video)
    assert (before.duration_s, after.duration_s) == (8.0, 12.0)
    assert len(moments.ask(after, "a dog").saliency) == 6


def test_rows_that_are_damaged_are_made_again(own, moments, encoded, tmp_path):
    elsewhere = moments.encode(own.videos[3], rows=tmp_path)
    elsewhere.stores["clip-vit-b32"].write_bytes(b"half a file")
    assert moments.ask(moments.encode(own.videos[3], rows=tmp_path), "a dog") == moments.ask(encoded, "a dog")


def test_without_a_query_the_title_is_asked_and_that_is_said(run, tmp_path):
    moments = Moments.load(run)
    video = make_video(tmp_path / "my_holiday-2024.mp4", range(0, 600 * 8, 300), rate=2)
    answer = moments.ask(moments.encode(video))
    assert answer.query == "my holiday 2024"
    assert "No query was given, so the video's title was asked: my holiday 2024" in answer.notes


def test_a_silent_video_is_answered_and_its_rows_of_zeros_are_told(own, tmp_path):
    folder = own.run("heard", features=WITH_SOUND)
    moments = Moments.load(folder)
    video = make_video(tmp_path / "silent.mp4", range(0, 600 * 8, 300), rate=2)
    answer = moments.ask(moments.encode(video), "a dog")
    assert any("no sound" in note for note in answer.notes)
    assert len(answer.saliency) == 4


@pytest.mark.parametrize("text", ["a \x00 dog", "a \ud800 dog", "a \x1b[2J dog", "a" * 2001])
def test_a_query_that_no_store_or_terminal_can_take_is_refused(moments, encoded, text):
    with pytest.raises(PipelineError, match=r"query: .*(cannot be printed|2,001 characters)"):
        moments.ask(encoded, text)


def test_line_ends_in_a_query_are_blanks(moments, encoded):
    assert moments.ask(encoded, "a dog\n") == moments.ask(encoded, "\ta\ndog")


def test_a_video_that_was_encoded_for_other_features_is_refused(moments, encoded):
    other = replace(encoded, stores=encoded.stores | {"pann-cnn14": encoded.stores["clip-vit-b32"]})
    with pytest.raises(
        PipelineError, match=r"was encoded for another run: it has rows of clip-vit-b32 \(\w+\), pann-cnn14 \(\w+\)"
    ):
        moments.ask(other, "a dog")


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", "ein Hund \u2192 #1 & 50%.mp4".encode(), b"-begins.mp4"])
def test_a_video_of_any_name_is_answered_and_written(run, tmp_path, name):
    moments = Moments.load(run)
    made = make_video(tmp_path / "plain.mp4", range(0, 600, 300), rate=2)
    video = made.rename(tmp_path / os.fsdecode(name))
    answer = moments.ask(moments.encode(video), "a dog")
    assert len(answer.saliency) == 1
    paths = write.write([answer], tmp_path / "out")
    assert all(path.read_text(encoding="utf-8") for path in paths)


# Long videos.


@pytest.fixture(scope="module")
def long(own, run):
    """A video of five times the clips that training keeps, asked with a run that keeps twelve."""
    moments = Moments.load(own.run("short", training={"max_clips": N_CLIPS}))
    video = make_video(own.folder / "long.mp4", range(0, 600 * 5 * SECONDS, 300), rate=2)
    return moments, moments.encode(video)


def test_a_long_video_is_asked_in_pieces_and_the_rule_is_told(long):
    moments, encoded = long
    answer = moments.ask(encoded, "a dog")
    assert moments.longest_clips == N_CLIPS
    assert answer.n_pieces == 9
    assert len(answer.saliency) == 5 * N_CLIPS
    assert f"into pieces of {SECONDS} s" in answer.rule
    assert answer.windows
    assert all(0 <= window.start_s <= window.end_s <= 5 * SECONDS for window in answer.windows)
    assert [window.score for window in answer.windows] == sorted((w.score for w in answer.windows), reverse=True)


@pytest.mark.parametrize("name", PEERS)
def test_every_method_answers_a_long_video(own, long, name):
    moments = Moments.load(own.run(f"long_{name}", model=PEERS[name], training={"max_clips": N_CLIPS}))
    answer = moments.ask(moments.encode(long[1].video), "a dog")
    assert answer.n_pieces == 9
    assert len(answer.saliency) == 5 * N_CLIPS
    assert np.isfinite(answer.saliency).all()
    assert answer.windows
    assert all(0 <= window.start_s <= window.end_s <= 5 * SECONDS for window in answer.windows)


def test_every_piece_is_answered_as_a_video_of_its_own(long, tmp_path):
    """The rows of each piece are stored as those of a video; the means of their scores are taken here by hand."""
    moments, encoded = long
    family = "clip-vit-b32"
    with Store([encoded.stores[family]]) as store:
        rows = store.read(encoded.vid)
    shown = [[] for _ in rows]
    for start in range(0, len(rows) - N_CLIPS + 1, N_CLIPS // 2):
        folder = tmp_path / str(start)
        folder.mkdir()
        path = asking_rows.store_path(folder, recipe(family).passport)
        with StoreWriter(path, recipe(family).passport) as writer:
            writer.add("piece", rows[start : start + N_CLIPS])
        alone = replace(encoded, vid="piece", duration_s=float(SECONDS), rows=folder, stores={family: path})
        for clip, score in enumerate(moments.ask(alone, "a dog").saliency):
            shown[start + clip].append(score)
    found = moments.ask(encoded, "a dog").saliency
    # Saliency goes through float16, whose steps are a thousandth: batches differ by one of them at most.
    assert np.allclose(found, [np.mean(scores) for scores in shown], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("n", [1, 11, 12, 13, 18, 19, 75, 76, 1001])
@pytest.mark.parametrize("longest", [1, 2, 12, 75])
def test_pieces_are_equally_long_and_show_every_clip_and_every_short_moment_whole(n, longest):
    pieces = pieces_of(n, longest)
    assert {piece.n for piece in pieces} == {min(n, longest)}
    assert {clip for piece in pieces for clip in range(piece.start, piece.end)} == set(range(n))
    half = max(1, longest // 2)
    for start in range(n - half + 1):
        assert any(piece.start <= start and start + half <= piece.end for piece in pieces)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((75, 40, 150.0, 150.0, 2.0), 40),
        ((75, None, 150.0, 150.0, 2.0), 75),
        ((None, 40, 44.8, None, 1.0), 40),
        ((None, None, 44.8, None, 0.5), 90),
        ((200, None, 150.0, 150.0, 2.0), 75),
        ((None, None, 44.8, None, 1 / 6), 269),
    ],
)
def test_the_longest_piece_is_what_training_saw_and_never_more_than_windows_reach(given, expected):
    assert longest_piece(*given) == expected


def test_a_moment_that_a_piece_cuts_is_taken_from_the_piece_that_shows_it_whole():
    pieces = [Piece(0, 10), Piece(5, 10)]
    cut, whole = np.array([[8.0, 10.0, 0.9], [1.0, 3.0, 0.2]]), np.array([[3.0, 8.0, 0.8]])
    assert merged_windows([cut, whole], pieces, 1.0, 15).tolist() == [[8.0, 13.0, 0.8], [1.0, 3.0, 0.2]]


def test_the_same_moment_of_two_pieces_counts_once_and_windows_of_one_piece_stay_as_they_are():
    pieces = [Piece(0, 10), Piece(5, 10)]
    first = np.array([[6.0, 8.0, 0.9], [5.0, 8.0, 0.6]])
    second = np.array([[1.0, 3.0, 0.7], [7.0, 9.0, 0.1]])
    assert merged_windows([first, second], pieces, 1.0, 15).tolist() == [[6.0, 8.0, 0.9], [5.0, 8.0, 0.6]]
    alone = np.array([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
    assert merged_windows([alone], [Piece(0, 10)], 1.0, 10).tolist() == alone.tolist()


def test_a_clip_scores_the_mean_of_the_pieces_that_show_it():
    merged = merged_saliency([np.array([1.0, 3.0]), np.array([5.0, 9.0])], [Piece(0, 2), Piece(1, 2)], 3)
    assert merged.tolist() == [1.0, 4.0, 9.0]


# What cannot be asked.


def with_card(run, tmp_path, **changes):
    """A copy of a run's folder whose card says something else."""
    folder = tmp_path / "results/runs/other/all-s2017"
    folder.mkdir(parents=True)
    for name in ("selected.safetensors", "last.safetensors"):
        (folder / name).write_bytes((run / name).read_bytes())
    files.write_json(folder / "card.json", files.read_json(run / "card.json") | changes)
    return folder


def passports(run, family="clip-vit-b32", **changes):
    features = files.read_json(run / "card.json")["features"]
    return features | {family: features[family] | changes}


def test_a_run_on_released_only_features_says_which_and_what_could_be_asked(run, tmp_path):
    released = asdict(replace(recipe("clip-vit-b32").passport, family="vgg16-charades", origin="vgg", dim=4096))
    features = files.read_json(run / "card.json")["features"] | {"vgg16-charades": released}
    reads = {"video": ["vgg16-charades"], "audio": [], "text": "clip-text"}
    folder = with_card(run, tmp_path, features=features, reads=reads)
    with pytest.raises(
        PipelineError, match=r"vgg16-charades is released only.*trained on vgg16-imagenet could be asked"
    ):
        Moments.load(folder)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"revision": 99}, r"made by revision 99, and this version makes revision \d"),
        ({"dim": 7}, "had rows of 7 numbers, and here it has 512"),
        ({"weights": "random:8"}, None),
        ({"preprocessing": "another"}, r"made with other settings here.*the run: another"),
        ({"weights": "a" * 64}, r"clip-vit-b32: these weights are not here.*fetch clip-vit-b32"),
    ],
)
def test_rows_of_another_kind_than_the_run_was_trained_on_are_refused(run, tmp_path, changes, why):
    folder = with_card(run, tmp_path, features=passports(run, **changes))
    if why is None:  # other random weights are made, as the passport says
        assert Moments.load(folder).recipes["clip-vit-b32"].weights.seed == 8
        return
    with pytest.raises(PipelineError, match=why):
        Moments.load(folder)


def test_a_weight_file_of_another_digest_is_refused(run, tmp_path):
    other = tmp_path / "weights.safetensors"
    other.write_bytes(b"others")
    folder = with_card(run, tmp_path, features=passports(run, weights="a" * 64))
    with pytest.raises(PipelineError, match=r"holds other weights of clip-vit-b32.*--weights clip-vit-b32=FILE"):
        Moments.load(folder, weights={"clip-vit-b32": other})
    with pytest.raises(PipelineError, match=r"reads no weights of that name; it reads clip-vit-b32"):
        Moments.load(folder, weights={"raft-large": other})


def test_fetched_weights_are_found_from_any_folder(run, tmp_path, monkeypatch):
    folder = with_card(run, tmp_path, features=passports(run, weights="a" * 64))
    place = tmp_path / "results/resources/clip-vit-b32"
    place.mkdir(parents=True)
    (place / "weights.bin").write_bytes(b"any")
    listed = [{"path": "results/resources/clip-vit-b32/weights.bin", "bytes": 3, "sha256": "a" * 64}]
    files.write_json(place / "fetch.json", {"stage": "fetch", "files": listed})
    monkeypatch.chdir(tmp_path.parent)
    assert Moments.load(folder).recipes["clip-vit-b32"].weights.path == place / "weights.bin"


def test_rows_of_an_archive_are_made_here_and_that_is_told(own, run, tmp_path):
    features = passports(run, origin="moment-detr", weights="released")
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"any")
    moments = Moments.load(with_card(run, tmp_path, features=features), weights={"clip-vit-b32": weights})
    answer = moments.ask(moments.encode(own.videos[3], rows=tmp_path / "rows"), "a dog")
    assert any("from the archive moment-detr" in note for note in answer.notes)


def test_a_folder_that_holds_no_run_names_the_runs_below_it(run, tmp_path):
    with pytest.raises(PipelineError, match=r"holds no card.json → name a run below it: .*all-s2017"):
        Moments.load(run.parent)
    with pytest.raises(PipelineError, match=r"holds no card.json → name the folder of a finished run"):
        Moments.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"features": {}, "dataset": "qvhighlights"}'])
def test_a_card_that_is_damaged_is_named(run, tmp_path, text):
    folder = with_card(run, tmp_path)
    (folder / "card.json").write_text(text)
    with pytest.raises(PipelineError, match=r"card.json: "):
        Moments.load(folder)


@pytest.mark.parametrize("changes", [{"longest_clips": float("inf")}, {"longest_clips": -5}, {"threads": 0}])
def test_a_card_with_an_impossible_number_is_named(run, tmp_path, changes):
    copy = shutil.copytree(run, tmp_path / "a/b")
    (copy / "card.json").write_text(json.dumps(files.read_json(run / "card.json") | changes))
    with pytest.raises(PipelineError, match=f"`{next(iter(changes))}` is .*, which is no number from 1 on"):
        Moments.load(copy)


def test_weights_that_are_gone_or_of_another_network_are_named(run, tmp_path):
    folder = with_card(run, tmp_path)
    (folder / "selected.safetensors").unlink()
    with pytest.raises(PipelineError, match=r"selected.safetensors: is missing beside the run's card"):
        Moments.load(folder)
    card = files.read_json(run / "card.json")
    files.write_json(folder / "card.json", card | {"model": card["model"] | {"hidden_dim": 16}})
    with pytest.raises(PipelineError, match=r"last.safetensors: does not fit the network of its card"):
        Moments.load(folder, epoch="last")


def test_an_old_card_takes_the_order_of_its_families_from_the_manifest_or_says_so(own, run, tmp_path):
    old = {key: value for key, value in files.read_json(run / "card.json").items() if key != "reads"}
    folder = with_card(run, tmp_path)
    files.write_json(folder / "card.json", old)
    with pytest.raises(PipelineError, match="the order in which the network reads its families"):
        Moments.load(folder)
    manifest = files.read_json(own.results / "runs/tiny.1of1.json")
    files.write_json(tmp_path / "results/runs/tiny.1of1.json", manifest)
    assert Moments.load(folder).card.features == FEATURES


@pytest.mark.parametrize("broken", ["no video", "missing", "unwritable"])
def test_a_video_that_cannot_be_asked_about_ends_in_one_sentence(run, tmp_path, broken):
    moments, video, rows = Moments.load(run), tmp_path / "a.mp4", None
    if broken == "no video":
        video.write_text("text")
    if broken == "unwritable":
        make_video(video, range(0, 1200, 300), rate=2)
        (tmp_path / "file").write_text("")
        rows = tmp_path / "file/rows"
    with pytest.raises(PipelineError, match=r"--rows FOLDER" if rows else r"a\.mp4"):
        moments.encode(video, rows=rows)


# The files.


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
def written(own, moments, encoded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    answers = [moments.ask(encoded, text) for text in ("a dog", "<script>alert('x')</script>")]
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


def test_the_video_itself_is_never_written_over(own, moments, tmp_path):
    clip = shutil.copy(own.videos[3], tmp_path / "query-1-1.mp4")
    answer = moments.ask(moments.encode(clip), "a dog")
    before = clip.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(PipelineError, match=r"query-1-1.mp4: would be overwritten → name another folder"):
            write.write([answer], folder, cut=True)
    assert clip.read_bytes() == before
    write.write([answer], tmp_path)


def test_a_run_is_known_from_its_own_folder(run, monkeypatch):
    monkeypatch.chdir(run)
    card = Moments.load(".").card
    assert (card.name, card.results) == (f"{run.parent.name}/{run.name}", run.parents[2])


@pytest.mark.parametrize("video", [".", "/", ""])
def test_a_path_without_a_name_is_no_video(moments, video):
    with pytest.raises(PipelineError, match=r"is a folder and no video → name a video file"):
        moments.encode(video)


def test_a_long_or_unprintable_title_is_asked_as_one_short_line(moments, encoded):
    answer = moments.ask(replace(encoded, title="a \x1b[2J dog" + "g" * 3000))
    assert answer.query.startswith(r"a \x1b[2J dogg")
    assert len(answer.query) == 2000


def test_rows_of_other_weights_are_refused_though_the_families_are_the_same(moments, encoded):
    others = {family: path.with_name(f"{family}.000000000000.h5") for family, path in encoded.stores.items()}
    with pytest.raises(
        PipelineError, match=r"was encoded for another run: it has rows of .*0000\), and this run reads"
    ):
        moments.ask(replace(encoded, stores=others), "a dog")


@pytest.mark.parametrize("changes", [{"title": ["a"]}, {"duration_s": "-3"}, {"duration_s": "1/0"}, {"sha256": 1}])
def test_facts_of_a_video_that_are_none_are_read_again(own, moments, tmp_path, changes):
    first = moments.encode(own.videos[0], rows=tmp_path)
    facts = files.read_json(tmp_path / "video.json")
    files.write_json(tmp_path / "video.json", facts | changes)
    assert moments.encode(own.videos[0], rows=tmp_path) == first


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
    assert len(answer.to_row()["windows"]) == 4


def test_the_command_prints_every_answer_and_names_its_files(own, run, encoded, tmp_path, capsys):
    out = tmp_path / "out"
    given = [str(own.videos[3]), "a dog", "a cat", "--run", str(run), "--output", str(out)]
    cli.main(["ask", *given])
    said = capsys.readouterr().out
    assert "query: a dog" in said
    assert "query: a cat" in said
    assert str(out / "index.html") in said
    assert re.search(r"^ 1 \d:\d\d\.\d - \d:\d\d\.\d +\d\.\d{4}  \|[.#]{48}\|$", said, re.MULTILINE)


def test_the_card_says_what_a_dataset_of_ones_own_is_whatever_this_folder_calls_by_its_name(own, run, tmp_path, capsys):
    facts = {"annotations": "my.csv", "videos": "videos", "clip": "2s", "raters": 3}
    folder = with_card(run, tmp_path, dataset="mine", own_dataset=facts)
    files.write_json(tmp_path / "here/annotations/mine/dataset.json", facts | {"clip": "1s", "raters": 0})
    words = ["--results", str(tmp_path / "here"), "ask", str(own.videos[3]), "--run", str(folder), "a dog"]
    cli.main(words)
    assert f"{N_CLIPS} clips of 2 s" in capsys.readouterr().out
    assert datasets.get("mine").highlights == datasets.definition.Highlights("2s", 3, "levels")
    datasets.register({})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--cut"], r"ask: --cut: needs a folder for the clips"),
        (["--top", "0"], r"ask: --top: is 0 → name a number from 1 on"),
        (["--weights", "clip"], r"ask: --weights clip: names no weight file"),
        (["--run", "nowhere"], r"ask: nowhere: holds no card.json"),
    ],
)
def test_options_that_cannot_work_end_in_one_sentence(own, run, words, why):
    with pytest.raises(SystemExit, match=why):
        cli.main(["ask", str(own.videos[3]), "a dog", "--run", str(run), *words])
