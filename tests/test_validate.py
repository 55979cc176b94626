"""Every rule of validation reports line and qid. All forms of files that are allowed are accepted."""

from __future__ import annotations

import gzip
import json
import os

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.evaluation import by_qid, check, evaluate, format_findings, load_predictions, score_files, validate_files


def annotation(qid, /, **changes):
    row = {"qid": qid, "query": f"query {qid}", "vid": f"abc_def_{qid}_0.0_20.0", "duration": 20}
    rated = {"relevant_windows": [[0, 4]], "relevant_clip_ids": [0, 1], "saliency_scores": [[4, 0, 2], [3, 3, 3]]}
    return row | rated | changes


def prediction(qid, /, **changes):
    windows = [[0.0, 4.0, 0.9], [6.0, 10.0, 0.5]]
    return {
        "qid": qid,
        "query": f"query {qid}",
        "vid": f"abc_def_{qid}_0.0_20.0",
        "pred_relevant_windows": windows,
        "pred_saliency_scores": [0.5 - 0.1 * clip for clip in range(10)],
    } | changes


ANNOTATIONS = [annotation(qid) for qid in (7, 8, 9)]


def findings_of(rows, dataset="qvhighlights", annotations=ANNOTATIONS):
    return check(dataset, enumerate(rows, start=1), by_qid(dataset, annotations))


def the_finding(middle, **more):
    """Return the only finding after the second of three good rows was replaced."""
    _, findings = findings_of([prediction(7), middle, prediction(9)], **more)
    assert len(findings) == 1, findings
    return findings[0]


def test_a_good_file_has_no_findings():
    rows, findings = findings_of([prediction(qid) for qid in (9, 8, 7)])
    assert findings == []
    assert [row["qid"] for row in rows] == [9, 8, 7]


@pytest.mark.parametrize(
    ("level", "change", "said"),
    [
        ("E", {"pred_relevant_windows": []}, "at least one window"),
        ("E", {"pred_relevant_windows": None}, "at least one window"),
        ("E", {"pred_relevant_windows": [[0, 4]]}, "three finite numbers"),
        ("E", {"pred_relevant_windows": [0, 4, 0.5]}, "three finite numbers"),
        ("E", {"pred_relevant_windows": [[0, "4", 0.5]]}, "three finite numbers"),
        ("E", {"pred_relevant_windows": [[0, True, 0.5]]}, "three finite numbers"),
        ("E", {"pred_relevant_windows": [[0, float("nan"), 0.5]]}, "three finite numbers"),
        ("E", {"pred_relevant_windows": [[0, 10**400, 0.5]]}, "three finite numbers"),
        ("E", {"pred_relevant_windows": [[4, 2, 0.5]]}, "window [4, 2] ends before it starts"),
        ("W", {"pred_relevant_windows": [[4, 4, 0.5]]}, "window [4, 4] has no length"),
        ("W", {"pred_relevant_windows": [[-2, 4, 0.5]]}, "starts before 0"),
        ("W", {"pred_relevant_windows": [[0, 20.5, 0.5]]}, "ends after the video (20 s)"),
        ("W", {"pred_relevant_windows": [[0, 4, 0.5], [0, 4, 0.4]]}, "more than once"),
        ("W", {"pred_relevant_windows": [[0, k, 0.5] for k in range(1, 12)]}, "11 windows; only the first 10"),
        ("W", {"pred_relevant_windows": [[0, 4, 0.5], [0, 6, 0.7]]}, "first window, which R1 looks at"),
        ("W", {"pred_relevant_windows": [[0, 4, 0.9], [0, 6, 0.2], [0, 8, 0.5]]}, "not sorted by score"),
        ("E", {"pred_saliency_scores": []}, "finite numbers, at least one"),
        ("E", {"pred_saliency_scores": [0.5] * 9 + [float("inf")]}, "finite numbers, at least one"),
        ("E", {"pred_saliency_scores": [0.5] * 9 + [None]}, "finite numbers, at least one"),
        ("W", {"pred_saliency_scores": [0.1 * clip for clip in range(9)]}, "9 saliency scores for 10 clips"),
        ("E", {"pred_saliency_scores": [0.1 * clip for clip in range(8)]}, "8 saliency scores for 10 clips"),
        ("E", {"pred_saliency_scores": [0.1 * clip for clip in range(11)]}, "11 saliency scores for 10 clips"),
        ("W", {"pred_saliency_scores": [0.5] * 10}, "all saliency scores are equal"),
        ("W", {"vid": "another_0.0_20.0"}, "`vid` differs from the annotation"),
        ("W", {"query": "Query 8"}, "`query` differs from the annotation"),
        ("W", {"qid": "8"}, 'the string "8"; read as 8'),
    ],
)
def test_each_rule_finds_its_row(level, change, said):
    finding = the_finding(prediction(8) | change)
    assert (finding.level, finding.line, finding.qid) == (level, 2, 8)
    assert said in finding.what


@pytest.mark.parametrize("qid", [8, 8.0, np.int64(8)])
def test_integers_of_any_kind_are_qids(qid):
    rows, findings = findings_of([prediction(7), prediction(8, qid=qid), prediction(9)])
    assert findings == []
    assert rows[1]["qid"] == 8


@pytest.mark.parametrize("qid", [None, 8.5, True, "eight", "٨", [8], float("nan")])
def test_anything_else_is_no_qid_and_its_query_is_missing(qid):
    _, findings = findings_of([prediction(7), prediction(8, qid=qid), prediction(9)])
    assert [(finding.level, finding.line) for finding in findings] == [("E", 2), ("E", None)]
    assert findings[1].qid == 8


def test_unknown_repeated_and_missing_queries_are_all_listed():
    _, findings = findings_of([prediction(7), prediction(70), prediction(7)])
    assert [(finding.line, finding.qid, finding.what) for finding in findings] == [
        (2, 70, "is no query of the annotations"),
        (3, 7, "repeats the query of line 1"),
        (None, 8, "has no prediction"),
        (None, 9, "has no prediction"),
    ]


def test_a_key_that_only_some_rows_have_is_an_error_in_the_others():
    partial_row = prediction(8)
    del partial_row["pred_saliency_scores"]
    assert the_finding(partial_row).what == "has no `pred_saliency_scores`, other rows have"


def test_a_file_without_any_scorable_key_is_an_error():
    rows, findings = findings_of([{"qid": qid} for qid in (7, 8, 9)])
    assert rows == []
    assert [finding.level for finding in findings] == ["E"]


def test_saliency_is_ignored_on_charades_and_windows_on_tvsum():
    charades = [{"qid": 7, "vid": "AB1CD", "query": "query 7", "duration": 20.5, "relevant_windows": [[0.0, 4.1]]}]
    row = {"qid": 7, "pred_relevant_windows": [[0.0, 4.0, 1.0]], "pred_saliency_scores": "ignored"}
    assert findings_of([row], "charades_sta", charades)[1] == []

    tvsum = [{"qid": "a-b", "vid": "a-b", "query": "q", "duration": 2, "domain": "VT", "label": [[1.0], [2.0]]}]
    row = {"qid": "a-b", "pred_relevant_windows": "ignored", "pred_saliency_scores": [0.0, 1.0]}
    assert findings_of([row], "tvsum", tvsum)[1] == []
    assert findings_of([row | {"pred_saliency_scores": [1.0]}], "tvsum", tvsum)[1][0].level == "W"
    assert "`qid` is not the vid" in findings_of([row | {"qid": 3}], "tvsum", tvsum)[1][0].what


def test_arrays_are_as_good_as_lists():
    rows = [
        prediction(qid)
        | {
            "pred_relevant_windows": np.array(prediction(qid)["pred_relevant_windows"], dtype=np.float32),
            "pred_saliency_scores": np.array(prediction(qid)["pred_saliency_scores"], dtype=np.float16),
        }
        for qid in (7, 8, 9)
    ]
    as_lists = [
        row | {key: row[key].tolist() for key in ("pred_relevant_windows", "pred_saliency_scores")} for row in rows
    ]
    assert evaluate("qvhighlights", rows, ANNOTATIONS) == evaluate("qvhighlights", as_lists, ANNOTATIONS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"relevant_windows": None}, "has no `relevant_windows`"),
        ({"relevant_windows": []}, "at least one"),
        ({"relevant_windows": [[0, float("nan")]]}, "finite"),
        ({"relevant_windows": [[0, 10**400]]}, "finite"),
        ({"relevant_windows": 4}, "at least one [start, end]"),
        ({"relevant_windows": ["ab"]}, "at least one [start, end]"),
        ({"relevant_clip_ids": [0, 10]}, "the video's 10 clips (found 10)"),
        ({"relevant_clip_ids": [-1, 0]}, "the video's 10 clips (found -1)"),
        ({"relevant_clip_ids": [0, 1.5]}, "the video's 10 clips (found 1.5)"),
        ({"relevant_clip_ids": 5}, "needs 3 `saliency_scores` for each"),
        ({"saliency_scores": [[1, 2, 3]]}, "needs 3 `saliency_scores` for each"),
        ({"saliency_scores": [[1, 2, 3], [4, 5, 0]]}, "integers 0 to 4 (found 5)"),
        ({"saliency_scores": [[1, 2, 3], [4, 3.9, 0]]}, "integers 0 to 4 (found 3.9)"),
        ({"saliency_scores": [[1, 2, 3], [4, None, 0]]}, "integers 0 to 4 (found None)"),
        ({"duration": "20"}, "`duration` '20' is no positive number"),
        ({"duration": float("inf")}, "is no positive number"),
        ({"duration": 10**400}, "is no positive number"),
        ({"vid": 5}, "`vid` 5 is no text"),
        ({"qid": 7}, "repeats a qid"),
        ({"qid": "x"}, "qid is no integer"),
    ],
)
def test_annotations_that_cannot_be_ground_truth_are_refused_by_row(changes, said):
    with pytest.raises(PipelineError, match="row 2") as refusal:
        by_qid("qvhighlights", [annotation(7), annotation(8, **changes)])
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"duration": 40}, "duration 40 fits 2 labelled clips neither as clips nor as seconds"),
        ({"label": [[1.0], [2.0, 3.0]]}, "equally many annotators"),
        ({"label": [["a"], ["b"]]}, "a finite number each"),
        ({"label": 5}, "equally many annotators"),
        ({"domain": ["VT"]}, "`domain` ['VT'] is no text"),
    ],
)
def test_tvsum_annotations_that_cannot_be_scored_are_refused_before_any_prediction_is_looked_at(changes, said):
    row = {"qid": "a", "vid": "a", "query": "q", "duration": 2, "domain": "VT", "label": [[1.0], [2.0]]}
    with pytest.raises(PipelineError) as refusal:
        by_qid("tvsum", [row | changes])
    assert said in str(refusal.value)


def test_a_file_without_any_key_of_the_dataset_is_told_of_those_alone():
    charades = [{"qid": 7, "vid": "AB1CD", "query": "q", "duration": 20.5, "relevant_windows": [[0.0, 4.1]]}]
    _, (finding,) = findings_of([{"qid": 7, "pred_saliency_scores": [1.0]}], "charades_sta", charades)
    assert finding.what == "no row has `pred_relevant_windows`"


# ------------------------------------------------------------------------------------------------ files


def written(path, lines):
    data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def annotation_file(tmp_path):
    return written(tmp_path / "annotations.jsonl", ANNOTATIONS)


@pytest.mark.parametrize("name", ["predictions.jsonl", "predictions.jsonl.gz"])
def test_plain_and_gzipped_files_load_without_a_final_newline_and_with_extra_keys(tmp_path, annotation_file, name):
    path = written(tmp_path / name, [prediction(7, extra=1), b"", prediction(8), prediction(9)])
    rows, findings = load_predictions(path, by_qid("qvhighlights", ANNOTATIONS), "qvhighlights")
    assert findings == []
    assert len(rows) == 3
    assert validate_files("qvhighlights", path, annotation_file) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{'qid': 8}", "is no JSON"),
        (b"[1, 2]", "is a list, not a JSON object"),
        (b'{"qid": 8, "query": "caf\xe9"}', "is not UTF-8"),
        (b"[" * 100_000, "has more than 100 lists and objects inside each other"),
        (b'{"qid": 8, "query": "\\ud800"}', "half a character"),
    ],
)
def test_a_broken_line_is_named_and_hides_no_other_finding(tmp_path, annotation_file, line, said):
    path = written(tmp_path / "p.jsonl", [prediction(7), line, prediction(9, vid="x_0.0_20.0")])
    findings = validate_files("qvhighlights", path, annotation_file)
    assert [(finding.level, finding.line, finding.qid) for finding in findings] == [
        ("E", 2, None),
        ("W", 3, 9),
        ("E", None, 8),
    ]
    assert said in findings[0].what


def test_nan_is_an_error_even_in_a_key_that_nobody_reads(tmp_path, annotation_file):
    path = written(tmp_path / "p.jsonl", [prediction(7), prediction(8, extra=float("nan")), prediction(9)])
    (finding,) = validate_files("qvhighlights", path, annotation_file)
    assert (finding.level, finding.line, finding.qid) == ("E", 2, 8)
    assert "NaN" in finding.what


PACKED = gzip.compress(b'{"qid": 7}', mtime=0)


@pytest.mark.parametrize(
    "data",
    [PACKED[:20], PACKED[:10] + b"\xff" + PACKED[11:]],
    ids=["cut short", "damaged"],
)
def test_a_packed_file_that_is_cut_short_or_damaged_is_named(tmp_path, annotation_file, data):
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(PipelineError, match=r"p\.jsonl\.gz: cannot be read"):
        validate_files("qvhighlights", path, annotation_file)


def test_a_missing_query_ends_in_one_line_with_file_qid_and_remedy(tmp_path, annotation_file):
    path = written(tmp_path / "p.jsonl", [prediction(7), prediction(9)])
    with pytest.raises(PipelineError) as refusal:
        score_files("qvhighlights", path, annotation_file, None)
    assert str(refusal.value).startswith(f"{path}: qid 8: has no prediction → ")
    assert "\n" not in str(refusal.value)


def test_a_repeated_query_ends_in_one_line_with_file_lines_and_remedy(tmp_path, annotation_file):
    path = written(tmp_path / "p.jsonl", [prediction(7), prediction(8), prediction(9), prediction(8)])
    with pytest.raises(PipelineError) as refusal:
        score_files("qvhighlights", path, annotation_file, None)
    assert str(refusal.value).startswith(f"{path}: line 4, qid 8: repeats the query of line 2 → ")


def test_several_errors_are_all_listed_below_the_first_line(tmp_path, annotation_file):
    path = written(tmp_path / "p.jsonl", [prediction(7), prediction(8, pred_relevant_windows=[])])
    with pytest.raises(PipelineError) as refusal:
        score_files("qvhighlights", path, annotation_file, None)
    head, *listed, remedy = str(refusal.value).splitlines()
    assert head == f"{path}: 2 errors"
    assert len(listed) == 2
    assert "correct the file" in remedy


def test_findings_that_say_the_same_share_a_line():
    _, findings = findings_of([prediction(7), prediction(80), prediction(81)])
    assert format_findings(findings).splitlines() == [
        "error: is no query of the annotations (2 times): line 2, qid 80; line 3, qid 81",
        "error: has no prediction (2 times): qid 8; qid 9",
    ]


def test_when_asked_what_can_be_scored_is_scored_and_the_denominator_is_said(tmp_path, annotation_file):
    lines = [prediction(7), prediction(8, pred_relevant_windows=[[0, "x", 1]]), prediction(9)]
    path = written(tmp_path / "p.jsonl", lines)
    result = score_files("qvhighlights", path, annotation_file, None, despite_errors=True)
    assert result.metrics["n_queries"]["all"] == 2
    assert result.metrics["brief"]["MR-full-R1@0.5"] == 100.0
    assert any("2 of 3 queries" in note for note in result.metrics["notes"])
    assert any("despite 1 error" in note for note in result.metrics["notes"])


def test_when_asked_a_repeated_query_scores_as_the_communitys_scorer_has_it(tmp_path, annotation_file):
    first, last = [[0.0, 4.0, 0.9]], [[10.0, 14.0, 0.8]]
    lines = [prediction(7), prediction(9), prediction(8, pred_relevant_windows=first)]
    path = written(tmp_path / "p.jsonl", [*lines, prediction(8, pred_relevant_windows=last)])
    result = score_files("qvhighlights", path, annotation_file, None, despite_errors=True)
    row = next(row for row in result.queries if row["qid"] == 8)
    assert row["MR-full-mAP"] == 1.0, "AP pools the windows of both rows"
    assert row["MR-full-R1@0.5"] == 0.0, "R1 sees the last row only"


def test_nothing_is_scored_when_no_row_can_be():
    with pytest.raises(PipelineError, match=r"has no prediction .* qid 7; qid 8; qid 9"):
        evaluate("qvhighlights", [], ANNOTATIONS)


def test_an_unknown_dataset_is_named_with_the_known_ones():
    with pytest.raises(PipelineError, match=r"qvh: .*qvhighlights, charades_sta, tvsum"):
        evaluate("qvh", [], ANNOTATIONS)


def test_half_a_character_in_the_only_row_is_called_so(tmp_path, annotation_file):
    path = written(tmp_path / "p.jsonl", [b'{"qid": 7, "vid": "\\ud800"}'])
    found = validate_files("qvhighlights", path, annotation_file)
    assert any("half a character" in finding.what for finding in found)


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"qid": "\\ud800"}', b'{"qid": NaN}', b"caf\xe9", b'{"qid": 8, "qid": 9}']
)
def test_a_line_of_annotations_that_nobody_can_read_is_named(tmp_path, line):
    path = written(tmp_path / "a.jsonl", [annotation(7), line])
    with pytest.raises(PipelineError, match=r"a\.jsonl, line 2: "):
        validate_files("qvhighlights", path, path)


# ------------------------------------------------------------------------------------------------ what is written


@pytest.fixture
def inputs(tmp_path, annotation_file):
    return written(tmp_path / "p.jsonl", map(prediction, (7, 8, 9))), annotation_file


def test_an_output_takes_the_place_of_an_earlier_one(tmp_path, inputs):
    for _ in range(2):
        score_files("qvhighlights", *inputs, tmp_path / "lam-0.1.json")
    assert (tmp_path / "lam-0.1.queries.jsonl").is_file()


@pytest.mark.parametrize("name", ["lam-0.1", ".", "..", "", "p.jsonl"])
def test_an_output_that_is_no_json_file_is_refused(tmp_path, inputs, name):
    with pytest.raises(PipelineError, match="is no name for a metrics file"):
        score_files("qvhighlights", *inputs, tmp_path / name)


def test_an_output_that_would_take_the_place_of_an_input_is_refused(tmp_path, inputs):
    predictions, annotations = inputs
    for name in ("p.json", "a.queries.jsonl"):
        moved = annotations.rename(tmp_path / name)
        with pytest.raises(PipelineError, match="is an input and must not be overwritten"):
            score_files("qvhighlights", predictions, moved, tmp_path / f"{name[0]}.json")
        annotations = moved


def test_an_output_that_is_there_and_no_plain_file_is_refused(tmp_path, inputs):
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "elsewhere.json")
    for name in ("folder.json", "pipe.json", "link.json"):
        with pytest.raises(PipelineError, match=f"{name}: exists and is not a plain file"):
            score_files("qvhighlights", *inputs, tmp_path / name)
    assert (tmp_path / "link.json").is_symlink()
