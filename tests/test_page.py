"""The page of prediction files: what it holds, strangers' text, limits, and errors that a user can act on."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest
from made_predictions import HOSTILE, Outline, annotation, prediction, write

from pipeline.errors import PipelineError
from pipeline.evaluation import evaluate
from pipeline.evaluation.anatomy import KINDS
from pipeline.reporting.page import build, leaderboard, mistakes, queries
from pipeline.reporting.page.own import report, videos_in
from pipeline.reporting.page.scored_files import examine, named_files


@pytest.fixture
def two_files(tmp_path):
    """Return three queries and two prediction files. The second file is worse on the first query."""
    truth = [annotation(1, [[10, 20]], HOSTILE), annotation(2, [[40, 80]]), annotation(3, [[0, 6], [100, 110]])]
    good = [[[10, 20, 0.9], [60, 70, 0.2]], [[40, 82, 0.8]], [[0, 6, 0.7]]]
    bad = [[[60, 70, 0.9], [10, 20, 0.2]], [[40, 82, 0.8]], [[0, 6, 0.7]]]
    a = write(tmp_path / "good.jsonl", map(prediction, truth, good))
    b = write(tmp_path / "bad.jsonl", map(prediction, truth, bad))
    return [a, b], write(tmp_path / "truth.jsonl", truth)


def outline(folder):
    return Outline((folder / "index.html").read_text())


def test_strangers_text_is_shown_as_text_and_asks_for_nothing(two_files, tmp_path):
    predictions, truth = two_files
    report("qvhighlights", predictions, truth, tmp_path / "out", names=[HOSTILE, "b"])
    page = outline(tmp_path / "out")
    assert [tag for tag, _ in page.tags].count("img") == 0
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert {address for address in page.addresses if not address.startswith("#")} == {"data:,"}
    assert json.loads(page.data)["query"][0] == HOSTILE
    assert json.loads(page.data)["files"][0]["label"] == HOSTILE


def test_every_link_leads_to_a_part_of_the_page(two_files, tmp_path):
    report("qvhighlights", *two_files, tmp_path / "out")
    page = outline(tmp_path / "out")
    qids = {f"query-{qid}" for qid in json.loads(page.data)["qid"]}
    links = [address[1:] for address in page.addresses if address.startswith("#")]
    assert links
    assert set(links) <= page.ids | qids


def test_the_list_holds_what_the_files_say(two_files):
    predictions, truth = two_files
    found = queries.data(examine("qvhighlights", named_files(predictions), truth), {})
    assert [one["label"] for one in found["files"]] == ["good", "bad"]
    assert found["windows"] == [[[10, 20]], [[40, 80]], [[0, 6], [100, 110]]]
    bad = found["files"][1]
    assert bad["score"] == [50.0, 100.0, 50.0]
    assert [found["kinds"][n] for n in bad["mistake"][:1]] == ["elsewhere"]
    assert [kind for k, kind in enumerate(found["kinds"]) if bad["mistakes"][0] >> k & 1] == ["elsewhere", "ranked low"]
    start, end, score, iou, fate = bad["windows"][0][0]
    assert (start, end, score, iou, found["fates"][fate]) == (60, 70, 0.9, 0.0, "elsewhere")
    assert found["ratings"][0] == "." * 5 + "g" * 5 + "." * 65  # a mean of 2 from 0 to 4 is the middle of 13 letters


def test_saliency_is_a_rank_and_equal_scores_share_it():
    assert queries.saliency_ranks([-5.0, 3.0, 3.0, -7.5]) == [3, 1, 1, 4]


def test_queries_with_a_mistake_are_counted_beside_those_of_which_it_is_the_costliest(two_files):
    predictions, truth = two_files
    found = {
        cost.kind: cost for cost in mistakes.costs(examine("qvhighlights", named_files(predictions), truth).files[1])
    }
    counted = {kind: (cost.queries, cost.main) for kind, cost in found.items() if cost.queries}
    assert counted == {"elsewhere": (1, 1), "ranked low": (1, 0), "one of several missed": (1, 1)}


def test_a_changed_query_is_named_with_both_scores(two_files):
    predictions, truth = two_files
    benchmark = examine("qvhighlights", named_files(predictions), truth)
    found = mistakes.changed(benchmark, *benchmark.files)
    assert (found.n_better, found.n_worse, found.n_equal) == (0, 1, 2)
    assert found.worse == [(1, HOSTILE, 100.0, 50.0)]
    assert found.pairs == [("none", "elsewhere", 1)]


def test_the_groups_of_each_division_hold_every_query_once(two_files):
    predictions, truth = two_files
    benchmark = examine("qvhighlights", named_files(predictions), truth)
    numbers: dict[str, int] = {}
    for group in mistakes.groups(benchmark, benchmark.files[0]):
        numbers[group.of] = numbers.get(group.of, 0) + group.n
    assert len(numbers) == 4
    assert set(numbers.values()) == {3}


def test_the_matrix_is_the_comparison_of_each_pair_read_both_ways(two_files):
    predictions, truth = two_files
    benchmark = examine("qvhighlights", named_files(predictions), truth)
    (matrix,) = leaderboard.matrices(benchmark, ("MR-full-mAP",))
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in [*predictions, truth]]
    means = [evaluate("qvhighlights", one, rows[2]).metrics["unrounded"]["brief"]["MR-full-mAP"] for one in rows[:2]]
    there, back = matrix.cells["good"]["bad"], matrix.cells["bad"]["good"]
    assert there.value == pytest.approx(means[0] - means[1])
    assert (back.value, back.low, back.high) == (-there.value, -there.high, -there.low)
    assert there.p == back.p


def test_charades_has_no_highlights_and_tvsum_no_mistakes(tmp_path):
    row = {"qid": 1, "query": "q", "vid": "v", "duration": 30.0, "relevant_windows": [[1.5, 9.0]]}
    guess = {k: row[k] for k in ("qid", "query", "vid")} | {"pred_relevant_windows": [[1.5, 9.0, 1.0]]}
    files = [write(tmp_path / "p.jsonl", [guess]), write(tmp_path / "t.jsonl", [row])]
    page = report("charades_sta", files[:1], files[1], tmp_path / "charades").read_text()
    assert 'id="mistakes"' in page
    assert "HD mAP" not in page
    label = [[1.0] * 20, [5.0] * 20, [3.0] * 20, [1.0] * 20, [2.0] * 20, [2.0] * 20]
    rated = {"qid": "AwmHb44_ouw", "vid": "AwmHb44_ouw", "query": "q", "duration": 12, "domain": "VT", "label": label}
    scores = {"qid": "AwmHb44_ouw", "vid": "AwmHb44_ouw", "query": "q", "pred_saliency_scores": [1, 9, 5, 0, 2, 3]}
    files = [write(tmp_path / "s.jsonl", [scores]), write(tmp_path / "r.jsonl", [rated])]
    page = report("tvsum", files[:1], files[1], tmp_path / "tvsum").read_text()
    assert 'id="mistakes"' not in page
    assert "top-5 mAP" in page


def test_videos_are_named_relative_to_the_page_and_only_those_that_are_there(two_files, tmp_path):
    predictions, truth = two_files
    folder = tmp_path / "my videos#1"
    folder.mkdir()
    (folder / "video1_0.0_150.0.mp4").touch()
    (folder / "other.mp4").touch()
    benchmark = examine("qvhighlights", named_files(predictions), truth)
    found = videos_in(folder, benchmark, tmp_path / "out")
    assert found == {"video1_0.0_150.0": "../my%20videos%231/video1_0.0_150.0.mp4"}
    with pytest.raises(PipelineError, match=r"is no folder"):
        videos_in(tmp_path / "none", benchmark, tmp_path)


@pytest.mark.parametrize(("names", "said"), [(["a"], "1 name"), (["a", "a"], "1 different")])
def test_names_that_do_not_fit_are_refused(tmp_path, names, said):
    with pytest.raises(PipelineError, match=said):
        named_files([tmp_path / "x.jsonl", tmp_path / "y.jsonl"], names)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    assert list(named_files([tmp_path / "a/p.jsonl.gz", tmp_path / "b/p.jsonl"])) == ["a/p", "b/p"]
    with pytest.raises(PipelineError, match="--names"):
        named_files([tmp_path / "a/p.jsonl", tmp_path / "a/p.jsonl"])


def test_a_file_with_errors_is_refused_before_anything_is_written(two_files, tmp_path):
    predictions, truth = two_files
    predictions[0].write_text(predictions[0].read_text().splitlines()[0] + "\n")
    with pytest.raises(PipelineError, match="has no prediction"):
        report("qvhighlights", predictions, truth, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_page_takes_the_place_of_a_page_and_of_nothing_else(two_files, tmp_path):
    made = report("qvhighlights", *two_files, tmp_path / "out")
    assert report("qvhighlights", *two_files, tmp_path / "out") == made
    made.write_text("<!doctype html><title>mine</title>")
    with pytest.raises(PipelineError, match="exists and is not a page of this program"):
        report("qvhighlights", *two_files, tmp_path / "out")
    assert "mine" in made.read_text()


def test_the_same_files_give_the_same_page(two_files, tmp_path):
    first, second = (report("qvhighlights", *two_files, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second


def test_numbers_have_minus_signs_and_no_negative_zero():
    assert build.signed(-1.234) == "−1.23"
    assert build.signed(1.5, 1) == "+1.5"
    assert build.signed(-0.001) == build.signed(0.001) == "0.00"
    assert build.number(float("nan")) == "–"


def test_every_kind_of_mistake_is_told_in_words():
    for kind, meaning in KINDS.items():
        assert meaning.endswith("."), kind
        assert "Repair: " in meaning


def test_two_released_files_make_a_small_page_quickly(shared_data, tmp_path):
    files = [shared_data / f"predictions/{name}_qvhighlights_val.jsonl" for name in ("trdetr", "momentdetr")]
    began = time.process_time()
    page = report(
        "qvhighlights", files, shared_data / "annotations/qvhighlights_val.jsonl", tmp_path, names=["TR", "M"]
    )
    assert time.process_time() - began < 10
    assert page.stat().st_size < 5e6
    text = page.read_text()
    assert re.search(r"TR</b>: mAP Avg\. is 45\.09 \[43\.\d\d, 46\.\d\d\] on 1,550 queries", text)
    data = json.loads(outline(tmp_path).data)
    assert np.mean(data["files"][0]["score"]) == pytest.approx(45.09, abs=0.01)
