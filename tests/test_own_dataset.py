"""A table of a dataset of one's own: a CSV or JSONL file and a folder of videos, checked as a whole."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from made_own import GOOD, HEADER, SCORED, with_videos, write

from pipeline import datasets, records
from pipeline.datasets import own, own_table
from pipeline.datasets.own_queries import check_durations, queries_of
from pipeline.datasets.own_rows import split_of
from pipeline.errors import PipelineError

LENGTHS = {"a": 8, "b": 8, "c": 8, "d": 8}


@pytest.fixture
def folder(tmp_path):
    return with_videos(tmp_path)


def table(folder, rows=GOOD, header=HEADER, name="my.csv"):
    return own_table.read(write(folder, rows, header, name), folder / "videos")


def seconds(lengths=LENGTHS):
    return {vid: Fraction(length) for vid, length in lengths.items()}


def test_rows_of_one_video_and_query_are_one_query_with_several_windows(folder):
    found = table(folder)
    found.refuse()
    queries = [query for some in queries_of(found, seconds(), "2s").values() for query in some]
    by_qid = {query.qid: query for query in queries}
    assert [by_qid[qid].vid for qid in sorted(by_qid)] == ["a", "b", "c", "d"]
    assert by_qid[0].relevant_windows == ((0.0, 2.5), (4.0, 6.0))
    assert by_qid[0].saliency_scores is None


def test_scores_rate_the_clips_that_a_window_covers_and_the_better_one_counts(folder):
    rows = ["a,q,0,4,2", "a,q,3,5,4", "b,q,7.9,8,1", "c,q,0,1,0"]
    found = table(folder, rows, f"{HEADER},score")
    found.refuse()
    assert found.raters == 1
    queries = {query.vid: query for some in queries_of(found, seconds(), "2s").values() for query in some}
    assert queries["a"].relevant_clip_ids == (0, 1, 2)
    assert queries["a"].saliency_scores == ((2,), (4,), (4,))
    assert queries["b"].relevant_clip_ids == (3,)
    about = own.definition("mine", datasets.OwnFiles("", "", "2s", 1))
    rows = [records.to_row(query) for query in queries.values()]
    assert not any(rule(row) for rule in about.usable for row in rows)


def test_without_a_split_every_video_is_in_one_and_all_three_have_some(folder):
    split = split_of(table(folder))
    assert sorted(split) == ["a", "b", "c", "d"]
    assert sorted(split.values()) == ["test", "train", "train", "val"]
    assert split_of(table(folder, list(reversed(GOOD)))) == split


@pytest.mark.parametrize("n", [2, 3, 7, 20, 200])
def test_shares_of_the_splits(tmp_path, n):
    (tmp_path / "videos").mkdir()
    for k in range(n):
        (tmp_path / "videos" / f"v{k}.mp4").write_bytes(b"")
    split = list(split_of(table(tmp_path, [f"v{k},q,0,1" for k in range(n)])).values())
    held_out = max(1, round(0.15 * n))
    assert split.count("val") == held_out
    assert split.count("test") == (held_out if n > 2 else 0)


BAD = [
    ("start that is no number", "a,q,soon,2", r"line 7, start: 'soon' is no number of seconds"),
    ("end that is no number", "a,q,1,", r"line 7, end: '' is no number of seconds"),
    ("infinite end", "a,q,1,inf", r"line 7, end: 'inf' is no number of seconds"),
    ("end before start", "a,q,4,2", r"line 7, end: 2 is not after the start at 4 s"),
    ("no length", "a,q,4,4", r"line 7, end: 4 is not after the start at 4 s"),
    ("negative start", "a,q,-1,2", r"line 7, start: -1 is before the beginning of the video"),
    ("beyond the end", "a,q,1,9.2", r"line 7, end: 9.2 is after the end of the video at 8.000 s"),
    ("all of it beyond the end", "a,q,8.01,8.04", r"line 7, start: 8.01 is after the end of the video at 8.000 s"),
    ("unknown video", "e.mp4,q,1,2", r"line 7, video: 'e.mp4' is no video in the folder .*videos"),
    ("another suffix", "a.mkv,q,1,2", r"line 7, video: 'a.mkv' is no video in the folder .*there is a.mp4"),
    ("a slip of the pen", "dd.mp4,q,1,2", r"line 7, video: 'dd.mp4' is no video in the folder .*\(there is d.mp4\)"),
    ("a path", "../a.mp4,q,1,2", r"line 7, video: '../a.mp4' is no video in the folder"),
    ("empty query", "a, ,1,2", r"line 7, query: '' is empty"),
    ("unprintable query", "a,q\x1b[31m,1,2", r"line 7, query: .*cannot be printed"),
    ("duplicate", "b,somebody sits,1,3.0", r"line 7, row: 'somebody sits' is the same window as line 4"),
    ("too few columns", "a,q,1", r"line 7, row: 'a,q,1' has 3 values for 4 columns"),
    ("too many columns", "a,q,1,2,3", r"line 7, row: 'a,q,1,2,3' has 5 values for 4 columns \(put quotes"),
    ("a comma for a point", 'a,q,1,"2,5"', r"line 7, end: '2,5' is no number of seconds \(write 2.5\)"),
    ("minutes", "a,q,1,1:05.5", r"line 7, end: '1:05.5' is no number of seconds \(write 65.5\)"),
    ("hours", "a,q,1,1:00:05", r"line 7, end: '1:00:05' is no number of seconds \(write 3605\)"),
]


@pytest.mark.parametrize(("row", "said"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_row_is_named_by_line_column_and_value(folder, row, said):
    found = table(folder, [*GOOD, row])
    if not found.complaints:
        check_durations(found, seconds(), "2s")
    with pytest.raises(PipelineError, match=said) as caught:
        found.refuse()
    assert "1 of 6 rows cannot be used, 5 are good" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,q,1,2,5,train", r"line 7, score: '5' is none of 0 to 4"),
        ("a,q,1,2,,train", r"line 7, score: '' is none of 0 to 4"),
        ("a,q,1,2,2.5,train", r"line 7, score: '2.5' is none of 0 to 4"),
        ("a,q,1,2,1,dev", r"line 7, split: 'dev' is none of train, val, test"),
        ("a,q,1,2,1,", r"line 7, split: '' is none of train, val, test"),
        ("a,q,1,2,1,val", r"line 7, split: 'val' puts a in two splits \(line 2\)"),
    ],
)
def test_a_bad_score_or_split_is_named(folder, row, said):
    with pytest.raises(PipelineError, match=said):
        table(folder, [*SCORED, row], f"{HEADER},score,split").refuse()


def test_every_bad_row_is_named_at_once_and_none_is_dropped(folder):
    with pytest.raises(PipelineError) as caught:
        table(folder, [*GOOD, *(row for name, row, _ in BAD if "beyond the end" not in name)]).refuse()
    said = str(caught.value)
    assert f"{len(BAD) - 2} of {len(GOOD) + len(BAD) - 2} rows cannot be used, 5 are good" in said
    assert all(f"line {line}, " in said for line in range(7, 7 + len(BAD) - 2))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("video,query,start", "its header lacks end"),
        ("video,query,start,end,spilt", "has the unknown columns spilt"),
        ("video,query,start,end,end", "has end twice"),
        ("video;query;start;end", "its values are separated by semicolons → separate them by commas"),
        ("video\tquery\tstart\tend\tscore", "its values are separated by tabs → separate them by commas"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(folder, header, said):
    with pytest.raises(PipelineError, match=said):
        table(folder, [], header)


def test_files_that_are_no_table_end_in_one_sentence(folder):
    with pytest.raises(PipelineError, match="holds no row"):
        table(folder, [])
    for name in ("my.xlsx", "my.txt", "my"):
        with pytest.raises(PipelineError, match=f"{name}: is neither CSV nor JSONL by its name → save it as CSV"):
            table(folder, GOOD, name=name)
    with pytest.raises(PipelineError, match="cannot be read"):
        own_table.read(folder / "none.csv", folder / "videos")
    (folder / "latin.csv").write_bytes(b"video,query,start,end\na,caf\xe9,0,1\n")
    with pytest.raises(PipelineError, match="cannot be read"):
        own_table.read(folder / "latin.csv", folder / "videos")
    with pytest.raises(PipelineError, match="cannot be read"):
        own_table.read(write(folder, GOOD), folder / "nowhere")


def test_a_row_that_names_two_videos_is_told_and_the_other_mistakes_too(folder):
    (folder / "videos/a.mkv").write_bytes(b"")
    with pytest.raises(PipelineError) as caught:
        table(folder, [*GOOD, "b,q,4,2"]).refuse()
    said = "names two videos, a.mkv and a.mp4 (rename one: a video is known by its name without the suffix)"
    assert f"line 2, video: 'a.mp4' {said}\n  line 3, video: 'a' {said}\n  line 7, end: 2 is not" in str(caught.value)
    table(folder, [row for row in GOOD if row[0] != "a"]).refuse()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('c,"a dog,1,2', r"""line 8, row: 'c,"a dog,1,2' \(a quote is opened and not closed, so the rows after it"""),
        (
            'c,"a "dog",1,2',
            r"""line 8, row: 'c,"a "dog",1,2' \(a quote is in the wrong place \(.*\), so the rows after""",
        ),
    ],
)
def test_a_quote_without_an_end_is_told_by_line_and_so_are_the_mistakes_before_it(folder, row, said):
    with pytest.raises(PipelineError, match=rf"2 of 7 rows .*\n  line 7, end: 2 is not .*\n  {said}"):
        table(folder, [*GOOD, "b,q,4,2", row, "d,q,1,2", "d,r,1,2"]).refuse()


def test_a_byte_order_mark_and_blanks_around_cells_are_no_mistake(folder):
    path = folder / "my.csv"
    path.write_bytes("\ufeffvideo, query ,start,end\na, a dog ,0 , 1\nb,c,0,1\n".encode())
    found = own_table.read(path, folder / "videos")
    found.refuse()
    assert found.rows[0].query == "a dog"


def test_jsonl_in_the_communitys_form_gives_the_same_queries(folder):
    rows = [
        {"qid": 7, "query": "a dog runs", "vid": "a", "duration": 8, "relevant_windows": [[0, 2.5], [4, 6]]},
        {"qid": 8, "query": "somebody sits", "vid": "b", "relevant_windows": [[1, 3]]},
        {"qid": 9, "query": "a door opens", "vid": "c", "relevant_windows": [[0.5, 7]]},
        {"qid": 1, "query": "a car passes", "vid": "d", "relevant_windows": [[2, 4]]},
    ]
    records.write_jsonl(folder / "my.jsonl", rows)
    found = own_table.read(folder / "my.jsonl", folder / "videos")
    found.refuse()
    assert queries_of(found, seconds(), "2s") == queries_of(table(folder), seconds(), "2s")


def test_jsonl_with_rated_clips_keeps_every_raters_score(folder):
    rated = {"relevant_clip_ids": [0, 1], "saliency_scores": [[1, 2, 3], [4, 4, 0]]}
    rows = [{"query": "q", "vid": vid, "relevant_windows": [[0, 4]], **rated} for vid in "abc"]
    records.write_jsonl(folder / "my.jsonl", rows)
    found = own_table.read(folder / "my.jsonl", folder / "videos")
    found.refuse()
    assert found.raters == 3
    query = next(iter(queries_of(found, seconds(), "2s")["train"]))
    assert query.saliency_scores == ((1, 2, 3), (4, 4, 0))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"query": "q", "vid": 1', r"""line 4, row: '{"query": "q", "vid": 1' is no JSON \(Expecting"""),
        ("[1]", r"line 4, row: '\[1\]' is a list, not a JSON object"),
        ('{"query": "q", "vid": "a"}', r"line 4, relevant_windows: None holds no"),
        ('{"query": "q", "vid": "z", "relevant_windows": [[0, 1]]}', r"line 4, vid: 'z' is no video in the folder"),
        ('{"query": "q", "vid": "a", "relevant_windows": [[2, 1]]}', r"line 4, relevant_windows|line 4, end: 1"),
        ('{"query": 7, "vid": "a", "relevant_windows": [[true, 1]]}', r"line 4, relevant_windows: True is no number"),
        (
            '{"query": "q", "vid": "a", "relevant_windows": [[0, 1]], "saliency_scores": [[9]],'
            ' "relevant_clip_ids": [0]}',
            r"line 4, saliency_scores: \[\[9\]\] is no row of 0 to 4",
        ),
        (
            '{"query": "q", "vid": "a", "relevant_windows": [[0, 1]], "saliency_scores": [[1]],'
            ' "relevant_clip_ids": [1e999]}',
            r"line 4, relevant_clip_ids: \[inf\] is no list of whole numbers",
        ),
        (
            '{"query": "q", "vid": "a", "relevant_windows": [[0, 1]], "saliency_scores": [[1]],'
            ' "relevant_clip_ids": [0.7]}',
            r"line 4, relevant_clip_ids: \[0.7\] is no list of whole numbers",
        ),
        (
            '{"query": "q", "vid": "a", "relevant_windows": [[0, 1]], "saliency_scores": [[1], [2]],'
            ' "relevant_clip_ids": [1, 1]}',
            r"line 4, relevant_clip_ids: \[1, 1\] names a clip twice",
        ),
        (
            '{"query": "q", "vid": "a", "relevant_windows": [[0, 1]], "saliency_scores": [[2.9]],'
            ' "relevant_clip_ids": [0]}',
            r"line 4, saliency_scores: \[\[2.9\]\] is no row of 0 to 4",
        ),
        (
            '{"query": "q", "vid": "a", "relevant_windows": [[0, 1]], "saliency_scores": ["2"],'
            ' "relevant_clip_ids": [0]}',
            r"line 4, saliency_scores: \['2'\] is no row of 0 to 4",
        ),
        (
            '{"query": "q", "vid": "a", "relevant_windows": [[0, 1]], "saliency_scores": [[1]],'
            ' "relevant_clip_ids": [0]}',
            r"the first rows of each number are: 0 in line 1, 1 in line 4",
        ),
        ('{"query": ["q"], "vid": "a", "relevant_windows": [[0, 1]]}', r"line 4, query: \['q'\] is no text"),
        (
            f'{{"query": "q", "vid": "a", "relevant_windows": [[0, {"9" * 400}]]}}',
            r"line 4, relevant_windows: 9+ is",
        ),
        ('{"query": "q", "vid": "a", "relevant_windows": [[0, 2]], "split": "val"}', r"line 1, split: None is none of"),
    ],
)
def test_a_bad_row_of_jsonl_is_named(folder, row, said):
    good = [json.dumps({"query": "q", "vid": vid, "relevant_windows": [[0, 1]]}) for vid in "abc"]
    (folder / "my.jsonl").write_text("\n".join([*good, row]))
    with pytest.raises(PipelineError, match=said):
        own_table.read(folder / "my.jsonl", folder / "videos").refuse()
