"""A trained run answers queries about a video of one's own, as the stage `predict` answers them."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace

import fake_encoders
import numpy as np
import pytest
from made_videos import make_video
from own_videos import SECONDS, own_videos, recipe
from tiny_benchmark import MODEL, N_CLIPS, PEERS, WITH_SOUND

from pipeline import cli, files, records
from pipeline.asking import rows as asking_rows
from pipeline.asking import text, write
from pipeline.asking.answer import scored
from pipeline.asking.moments import Moments
from pipeline.errors import PipelineError
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    with own_videos(tmp_path_factory.mktemp("own")) as found:
        yield found


@pytest.fixture(scope="module")
def run(own):
    return own.run()


@pytest.fixture(scope="module")
def moments(run):
    return Moments.load(run)


@pytest.fixture(scope="module")
def encoded(own, moments):
    return moments.encode(own.videos[3])


@pytest.fixture(scope="module")
def long(own):
    return make_video(own.folder / "long.mp4", range(0, 600 * 5 * SECONDS, 300), rate=2)


def predicted(run, epoch="selected"):
    return [row for _, row in records.read_jsonl(run / f"predictions/val-{epoch}.jsonl")]


@pytest.fixture(scope="module", params=["tr_detr", *PEERS])
def of_a_method(own, request):
    """Return the folder of a run of each method, and the run."""
    folder = own.run(f"of_{request.param}", model=PEERS.get(request.param, MODEL))
    return folder, Moments.load(folder)


def test_every_method_answers_as_the_stage_predict_does(own, of_a_method):
    folder, moments = of_a_method
    for row in predicted(folder):
        answer = moments.ask(moments.encode(own.folder / f"{row['vid']}.mp4"), row["query"])
        assert records.to_row(moments.prediction(answer, row["qid"], row["vid"])) == row


def test_every_method_answers_a_long_video_in_pieces_and_tells_the_rule(of_a_method, long):
    """A video five times as long as those that training saw."""
    _, moments = of_a_method
    answer = moments.ask(moments.encode(long), "a dog")
    assert moments.longest_clips == N_CLIPS
    assert answer.n_pieces == 9
    assert len(answer.saliency) == 5 * N_CLIPS
    assert np.isfinite(answer.saliency).all()
    assert answer.windows
    assert all(0 <= window.start_s <= window.end_s <= 5 * SECONDS for window in answer.windows)
    assert [window.score for window in answer.windows] == sorted((w.score for w in answer.windows), reverse=True)
    assert f"into pieces of {SECONDS} s" in answer.rule
    told = text.text(answer).splitlines()
    assert max(map(len, told[2:])) == text.WIDTH
    assert answer.rule in " ".join(line.strip() for line in told)


def test_the_last_epoch_answers_with_its_own_weights(own, run):
    row = predicted(run, "last")[0]
    moments = Moments.load(run, epoch="last")
    answer = moments.ask(moments.encode(own.folder / f"{row['vid']}.mp4"), row["query"])
    assert records.to_row(moments.prediction(answer, row["qid"], row["vid"])) == row


def test_every_piece_is_answered_as_a_video_of_its_own(moments, long, tmp_path):
    """The rows of each piece are stored as those of a video; the means of their scores are taken here by hand."""
    encoded = moments.encode(long)
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


def test_a_second_question_reads_no_video_and_a_query_asked_before_needs_no_network(
    own, run, moments, encoded, monkeypatch
):
    first = moments.ask(encoded, "a dog")

    def must_not(*_, **__):
        raise AssertionError

    again = Moments.load(run)
    for name in ("probe", "encode_videos", "encode_sounds"):
        monkeypatch.setattr(asking_rows, name, must_not)
    monkeypatch.setattr(asking_rows.files, "sha256", must_not)
    monkeypatch.setattr(fake_encoders.Letters, "encode", must_not)
    assert again.ask(again.encode(own.videos[3]), "a dog") == first


def test_a_video_that_changed_is_encoded_again(moments, tmp_path):
    video = make_video(tmp_path / "mine.mp4", range(0, 600 * 8, 300), rate=2)
    before = moments.encode(video)
    make_video(video, range(0, 600 * 12, 300), rate=2)
    after = moments.encode(video)
    assert (before.duration_s, after.duration_s) == (8.0, 12.0)
    assert len(moments.ask(after, "a dog").saliency) == 6


def test_rows_that_are_damaged_are_made_again(own, moments, encoded, tmp_path):
    rows = shutil.copytree(encoded.rows, tmp_path / "rows")
    (rows / encoded.stores["clip-vit-b32"].name).write_bytes(b"half a file")
    assert moments.ask(moments.encode(own.videos[3], rows=rows), "a dog") == moments.ask(encoded, "a dog")


@pytest.mark.parametrize("changes", [{"title": ["a"]}, {"duration_s": "-3"}, {"duration_s": "1/0"}, {"sha256": 1}])
def test_facts_of_a_video_that_are_none_are_read_again(own, moments, encoded, tmp_path, changes):
    rows = shutil.copytree(encoded.rows, tmp_path / "rows")
    files.write_json(rows / "video.json", files.read_json(rows / "video.json") | changes)
    again = moments.encode(own.videos[3], rows=rows)
    assert (again.duration_s, again.title) == (encoded.duration_s, encoded.title)
    assert files.read_json(rows / "video.json") == files.read_json(encoded.rows / "video.json")


def test_a_silent_video_is_answered_and_its_rows_of_zeros_are_told(own, tmp_path):
    folder = own.run("heard", features=WITH_SOUND)
    moments = Moments.load(folder)
    video = make_video(tmp_path / "silent.mp4", range(0, 600 * 8, 300), rate=2)
    answer = moments.ask(moments.encode(video), "a dog")
    assert any("no sound" in note for note in answer.notes)
    assert len(answer.saliency) == 4


def test_a_video_of_any_name_is_answered_and_written(moments, tmp_path):
    made = make_video(tmp_path / "plain.mp4", range(0, 1200, 300), rate=2)
    video = made.rename(tmp_path / os.fsdecode("-ein Hund \u2192 #1 & 50% ".encode() + b"caf\xe9.mp4"))
    answer = moments.ask(moments.encode(video), "a dog")
    assert len(answer.saliency) == 1
    paths = write.write([answer], tmp_path / "out")
    assert all(path.read_text(encoding="utf-8") for path in paths)


def test_a_video_that_is_shorter_than_a_clip_is_refused_with_both_lengths(moments, tmp_path):
    video = make_video(tmp_path / "blink.mp4", range(0, 600, 300), rate=2)
    said = r"blink\.mp4: lasts 1 s, less than a clip of 2 s → ask about a longer video, or ask a run"
    with pytest.raises(PipelineError, match=said):
        moments.encode(video)
    assert not list(tmp_path.glob("*.rows/*.h5"))


def test_no_window_without_a_length_and_no_negative_zero_is_written(moments, encoded):
    answer = replace(
        moments.ask(encoded, "a dog"), windows=scored([(-0.0, 4.0, 0.9), (2.0, 2.0, 0.5), (-0.0, 0.0, 0.4)])
    )
    assert str(answer.to_row()["windows"]) == "[[0.0, 4.0, 0.9]]"


def test_a_run_that_predicts_no_window_with_a_length_says_so(moments, encoded, monkeypatch):
    monkeypatch.setattr(Moments, "_windows", lambda *_: [[2.0, 2.0, 0.5]])
    answer = moments.ask(encoded, "a dog")
    assert "No window that the run predicts has a length, so none is shown." in answer.notes
    assert (answer.shown(), answer.to_row()["windows"]) == ([], [])


@pytest.mark.parametrize("broken", ["no video", "missing", "unwritable"])
def test_a_video_that_cannot_be_asked_about_ends_in_one_sentence(moments, tmp_path, broken):
    video, rows = tmp_path / "a.mp4", None
    if broken == "no video":
        video.write_text("text")
    if broken == "unwritable":
        make_video(video, range(0, 1200, 300), rate=2)
        (tmp_path / "file").write_text("")
        rows = tmp_path / "file/rows"
    with pytest.raises(PipelineError, match=r"--rows FOLDER" if rows else r"a\.mp4"):
        moments.encode(video, rows=rows)


@pytest.mark.parametrize("video", [".", "/", ""])
def test_a_path_without_a_name_is_no_video(moments, video):
    with pytest.raises(PipelineError, match=r"is a folder and no video → name a video file"):
        moments.encode(video)


def test_a_video_that_was_encoded_for_other_features_is_refused(moments, encoded):
    other = replace(encoded, stores=encoded.stores | {"pann-cnn14": encoded.stores["clip-vit-b32"]})
    with pytest.raises(
        PipelineError, match=r"was encoded for another run: it has rows of clip-vit-b32 \(\w+\), pann-cnn14 \(\w+\)"
    ):
        moments.ask(other, "a dog")


def test_rows_of_other_weights_are_refused_though_the_families_are_the_same(moments, encoded):
    others = {family: path.with_name(f"{family}.000000000000.h5") for family, path in encoded.stores.items()}
    with pytest.raises(
        PipelineError, match=r"was encoded for another run: it has rows of .*0000\), and this run reads"
    ):
        moments.ask(replace(encoded, stores=others), "a dog")


def test_without_a_query_the_title_is_asked_and_that_is_said(moments, tmp_path):
    video = make_video(tmp_path / "my_holiday-2024.mp4", range(0, 600 * 8, 300), rate=2)
    answer = moments.ask(moments.encode(video))
    assert answer.query == "my holiday 2024"
    assert "No query was given, so the video's title was asked: my holiday 2024" in answer.notes


def test_a_long_or_unprintable_title_is_asked_as_one_short_line(moments, encoded):
    answer = moments.ask(replace(encoded, title="a \x1b[2J dog" + "g" * 3000))
    assert answer.query.startswith(r"a \x1b[2J dogg")
    assert len(answer.query) == 2000


@pytest.mark.parametrize("text", ["a \x00 dog", "a \ud800 dog", "a \x1b[2J dog", "a" * 2001])
def test_a_query_that_no_store_or_terminal_can_take_is_refused(moments, encoded, text):
    with pytest.raises(PipelineError, match=r"query: .*(cannot be printed|2,001 characters)"):
        moments.ask(encoded, text)


def test_line_ends_in_a_query_are_blanks(moments, encoded):
    assert moments.ask(encoded, "a dog\n") == moments.ask(encoded, "\ta\ndog")


def test_the_command_prints_every_answer_and_names_its_files(own, run, encoded, tmp_path, capsys):
    out = tmp_path / "out"
    given = [str(own.videos[3]), "a dog", "a cat", "--run", str(run), "--output", str(out)]
    cli.main(["ask", *given])
    said = capsys.readouterr().out
    assert "query: a dog" in said
    assert "query: a cat" in said
    assert str(out / "index.html") in said
    assert re.search(r"^ 1 \d:\d\d\.\d - \d:\d\d\.\d +\d\.\d{4}  \|[.#]{48}\|$", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--cut"], r"ask: --cut: needs a folder for the clips"),
        (["--top", "0"], r"ask: --top: is 0 → name a number from 1 on"),
        (["--weights", "clip"], r"ask: --weights clip: names no weight file"),
        (["--run", "nowhere"], r"ask: nowhere: holds no card.json"),
        (["--output", __file__], r"ask: .*test_ask.py: is a file and no folder → name another folder"),
        (["--output", f"{__file__}/below"], r"ask: .*test_ask.py: is a file and no folder → name another folder"),
    ],
)
def test_options_that_cannot_work_end_in_one_sentence(own, run, words, why):
    with pytest.raises(SystemExit, match=why):
        cli.main(["ask", str(own.videos[3]), "a dog", "--run", str(run), *words])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["v.mp4", "--serve", "--output", "out"], r"ask: --output: has nothing to write: .* → name a query, or leave"),
        (["https://a.org/v.mp4", "a dog"], r"ask: https://a.org/v.mp4: is an address and no file → download it"),
    ],
)
def test_what_can_never_be_answered_is_told_before_the_run_is_read(words, why):
    with pytest.raises(SystemExit, match=why):
        cli.main(["ask", *words, "--run", "nowhere"])


def test_the_advice_about_a_broken_video_of_no_dataset_names_none(moments, tmp_path, capsys):
    video = tmp_path / "a.mp4"
    video.write_text("text")
    with pytest.raises(PipelineError) as error:
        moments.encode(video)
    with pytest.raises(SystemExit):
        cli.main(["probe", str(video)])
    for said in (error.value.remedy, capsys.readouterr().out):
        assert "put a good copy in its place" in said
        assert "dataset" not in said
