"""A dataset of one's own: a CSV or JSONL file and a folder of videos, checked as a whole, then used like any other."""

from __future__ import annotations

import csv
import json
import os
from fractions import Fraction

import pytest
import yaml
from made_videos import make_video
from small_workflow import Workflow

from pipeline import cli, config, datasets, files, records
from pipeline.datasets import own, own_table
from pipeline.datasets.own_queries import check_durations, queries_of
from pipeline.datasets.own_rows import split_of
from pipeline.errors import PipelineError
from pipeline.grids import grid_seconds, is_grid

HEADER = "video,query,start,end"
GOOD = [
    "a.mp4,a dog runs,0,2.5",
    "a,a dog runs,4,6",
    "b.mp4,somebody sits,1,3",
    "c.mkv,a door opens,0.5,7",
    "d.mp4,a car passes,2,4",
]
LENGTHS = {"a": 8, "b": 8, "c": 8, "d": 8}


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setenv(own.VARIABLE, "")
    yield
    datasets.register({})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mkv", "d.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"")
    return tmp_path


def write(folder, rows, header=HEADER, name="my.csv"):
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


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
    ("end before start", "a,q,4,2", r"line 7, end: 2.0 is not after the start at 4 s"),
    ("no length", "a,q,4,4", r"line 7, end: 4.0 is not after the start at 4 s"),
    ("negative start", "a,q,-1,2", r"line 7, start: -1.0 is before the beginning of the video"),
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
    (
        "too many columns",
        "a,q,1,2,3",
        r"line 7, row: 'a,q,1,2,3' has 5 values for 4 columns",
    ),
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


SCORED = [
    f"{row},{score},{split}"
    for row, score, split in zip(GOOD, "01234", ("train", "train", "val", "test", "val"), strict=True)
]


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


def test_two_videos_of_one_name_are_refused(folder):
    (folder / "videos/a.mkv").write_bytes(b"")
    with pytest.raises(PipelineError, match=r"holds two videos of one name, a.mkv and a.mp4"):
        table(folder)


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
        ("{", r"line 4, row: .*is no JSON"),
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


@pytest.mark.parametrize("name", ["2s", "0.5s", "1-6s", "10s", "2.5s", "0.7s", "3s", "1.125s"])
def test_any_length_from_half_a_second_to_ten_names_a_grid(name):
    assert is_grid(name)
    assert 0 < grid_seconds(name) <= 10


@pytest.mark.parametrize(
    "name", ["", "s", "0s", "0.4s", "10.5s", "11s", "2.0s", "02s", "2", "-2s", "1-7s", "2,5s", "0.12345s"]
)
def test_other_lengths_and_other_spellings_name_none(name):
    assert not is_grid(name)
    with pytest.raises(PipelineError, match="no such clip grid"):
        grid_seconds(name)


def section(folder, **more):
    return {"annotations": str(folder / "my.csv"), "videos": str(folder / "videos"), **more}


def raw(folder, name="mine", **more):
    experiment = {"dataset": name, "features": {"video": ["clip-vit-b32"], "text": "clip-text"}, "report": "test"}
    return {"datasets": {name: section(folder, **more)}, "training": {}, "experiments": {"first": experiment}}


def test_a_config_may_name_it_and_every_process_it_starts_knows_it(folder):
    write(folder, SCORED, f"{HEADER},score,split")
    cfg = config.load(raw(folder, clip="1s"))
    assert cfg.experiments["first"].about.highlights == datasets.definition.Highlights("1s", 1, "levels")
    assert cfg.datasets["mine"].annotations == dict.fromkeys(("test", "train", "val"), str(folder / "my.csv"))
    assert cfg.datasets["mine"].shards == 1
    assert own.known_here() == {"mine": datasets.OwnFiles(str(folder / "my.csv"), str(folder / "videos"), "1s", 1)}


def test_a_config_without_it_forgets_it(folder):
    write(folder, GOOD)
    config.load(raw(folder))
    assert "mine" in datasets.DATASETS
    config.load({"datasets": {}, "training": {}, "experiments": {}})
    assert "mine" not in datasets.DATASETS


FACTS = {"annotations": "my.csv", "videos": "videos", "clip": "2s", "raters": 1}


@pytest.mark.parametrize("changes", [{}, {"annotations": "moved/my.csv", "videos": "moved"}])
def test_a_dataset_may_be_learnt_twice_where_its_labels_are_equal(changes):
    datasets.learn("mine", FACTS)
    before = datasets.get("mine")
    datasets.learn("mine", FACTS | changes)
    assert datasets.get("mine") is before


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "mine",
            {"clip": "1s"},
            r"known here as clips of 2s, rated by 1, and .* as clips of 1s, rated by 1",
        ),
        ("mine", {"raters": 0}, r"known here as clips of 2s, rated by 1, and .* as clips of 2s, not rated"),
        (
            "mine",
            {"raters": 3},
            r"known here as clips of 2s, rated by 1, and is to be known as clips of 2s, rated by 3",
        ),
        ("tvsum", {}, r"known here as a dataset of the papers, and is to be known as clips of 2s, rated by 1"),
    ],
)
def test_another_dataset_of_a_known_name_is_refused_and_the_first_stays(name, changes, said):
    datasets.learn("mine", FACTS)
    before = dict(datasets.DATASETS)
    with pytest.raises(PipelineError, match=f"dataset {name}: is {said} → work with the two in processes"):
        datasets.learn(name, FACTS | changes)
    assert before == datasets.DATASETS


def test_what_a_workflow_tells_its_jobs_counts_more_than_what_lies_in_the_folder(tmp_path, capsys):
    files.write_json(tmp_path / "annotations/mine/dataset.json", FACTS)
    datasets.register({"mine": datasets.OwnFiles("my.csv", "videos", "1s", 0)})
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--results", str(tmp_path), "--help"])
    assert own.labels(datasets.get("mine")) == "clips of 1s, not rated"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("tvsum", {}, r"`datasets.tvsum` is a dataset of the paper"),
        ("Mine!", {}, r"`datasets.Mine!` is no name for a dataset"),
        ("mine", {"videos": ["x"]}, r"`datasets.mine.videos` is missing → name a folder of videos there"),
        ("mine", {"clip": "11s"}, r"datasets.mine.clip.*no such clip grid"),
        ("mine", {"annotations": "nowhere.csv"}, r"nowhere.csv: cannot be read"),
        (
            "mine",
            {"videos": "$NO_SUCH_VARIABLE/x"},
            r"`datasets.mine.videos`: the variable NO_SUCH_VARIABLE is not set",
        ),
        ("mine", {"spilt": 1}, r"datasets.mine.spilt.*unknown key"),
    ],
)
def test_a_section_that_does_not_fit_is_refused(folder, name, more, said):
    write(folder, GOOD)
    with pytest.raises(PipelineError, match=said):
        config.load(raw(folder, name, **more))


def test_bad_rows_are_told_when_the_config_is_read(folder):
    write(folder, [*GOOD, "a,q,4,2"])
    with pytest.raises(PipelineError, match=r"my.csv: 1 of 6 rows cannot be used"):
        config.load(raw(folder))


def test_the_command_describes_a_file_and_writes_a_config_that_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    for k, name in enumerate("abc"):
        make_video(tmp_path / "videos" / f"{name}.mp4", range(0, 600 * (8 + k), 300), rate=2)
    write(tmp_path, ["a,q,0,2", "a,q,4,6", "b,r,1,3", "c,s,0,9"])
    cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "mine", "--clip", "1s"])
    said = capsys.readouterr().out
    assert "mine: 3 videos, 0.01 hours, 3 queries; clips of 1s, not rated: moments only" in said
    assert "windows per query: 1.33 on average, 2 at most" in said
    assert "snakemake --cores 2 table_mine --configfile mine.yaml" in said
    assert 'ask VIDEO "query" --run results/runs/mine_clip/all-s2017 --output DIR' in said
    assert "hours of video" in said
    cfg = config.load_file(tmp_path / "mine.yaml")
    assert cfg.datasets["mine"].clip == "1s"
    assert cfg.experiments["mine_clip"].seeds == [2017, 0, 1]
    cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "mine", "--clip", "1s"])
    with pytest.raises(SystemExit, match=r"mine.yaml: is there already"):
        cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "mine", "--clip", "2s"])
    with pytest.raises(SystemExit, match=r"`tvsum` cannot be the name of your dataset"):
        cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "tvsum"])
    with pytest.raises(SystemExit, match=r"videos: is a folder and no file"):
        cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "mine", "--output", "videos"])
    (tmp_path / "$HOME.csv").write_text("")
    with pytest.raises(SystemExit, match=r"HOME.csv: holds a `\$`, .* → rename that file or folder"):
        cli.main(["new-dataset", "$HOME.csv", "--videos", "videos", "--name", "mine"])
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SystemExit, match=r"pipe.csv: is a pipe or a device and no file → name a file"):
        cli.main(["new-dataset", "pipe.csv", "--videos", "videos", "--name", "mine"])
    write(tmp_path, ["a,q,0,2,train", "b,r,1,3,val", "c,s,0,9,train"], f"{HEADER},split")
    cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "untested"])
    assert config.load_file(tmp_path / "untested.yaml").experiments["untested_clip"].report == "val"
    write(tmp_path, ["a,q,0,2", "b,r,1,3", "c,s,0,10.5", "z,t,0,1"])
    said = r"2 of 4 rows .*\n  line 4, end: 10.5 is after the end of the video at 10.000 s\n  line 5, video: 'z'"
    with pytest.raises(SystemExit, match=said):
        cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "other"])


# The real workflow.


CONFIG = """
encoding: {weights: {clip-vit-b32: "random:0"}}
model: {hidden_dim: 16, heads: 2, queries: 3, t2v_layers: 1, encoder_layers: 1, decoder_layers: 1, feedforward_dim: 16}
datasets:
  mine: {annotations: my.csv, videos: videos, clip: 2.5s}
training:
  mine: {epochs: 2, batch_size: 4, evaluate_every: 2}
experiments:
  first: {dataset: mine, features: {video: [clip-vit-b32], text: clip-text}, report: test, seeds: [1, 2]}
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """A folder with six videos and a CSV, taken to metrics by Snakemake; the encoders are fakes."""
    folder = tmp_path_factory.mktemp("own")
    videos = folder / "flow" / "videos"
    flow = Workflow(folder / "flow", videos).prepare()
    videos.mkdir()
    for k, name in enumerate("abcdef"):
        make_video(videos / f"{name}.mp4", range(0, 600 * (10 + k), 150), rate=4)
    rows = [
        f"{name}.mp4,{query},{start},{start + 4},{k % 5}"
        for k, name in enumerate("abcdef")
        for query, start in (("a dog", k), ("a cat sits", 5))
    ]
    write(flow.folder, rows, f"{HEADER},score")
    flow.write("config.yaml", CONFIG)
    flow.first = flow.run("experiment_first", "table_mine")
    return flow


def test_a_csv_goes_from_nothing_to_metrics(workflow):
    assert workflow.first["annotate"] == 3
    metrics = files.read_json(workflow.results / "metrics/first/all-s1/test-selected.json")
    assert metrics["n_queries"]["all"] == 2
    assert {"MR-full-R1@0.5", "MR-full-mAP", "HL-min-VeryGood-mAP"} <= set(metrics["brief"])
    card = files.read_json(workflow.results / "runs/first/all-s1/card.json")
    assert card["features"]["clip-vit-b32"]["grid"] == "2.5s"
    assert "numbers of first: python -m pipeline show" in workflow.said


def test_it_has_a_table_of_its_own_with_the_spread_over_seeds_and_an_interval(workflow):
    with open(workflow.results / "tables/own_mine.csv", newline="") as file:
        rows = {row["line"]: row for row in csv.DictReader(file)}
    scored = [files.read_json(workflow.results / f"metrics/first/all-s{seed}/test-selected.json") for seed in (1, 2)]
    for column, metric in (("R1@0.5", "MR-full-R1@0.5"), ("HD mAP", "HL-min-VeryGood-mAP")):
        values = [metrics["unrounded"]["brief"][metric] for metrics in scored]
        assert float(rows["reproduced"][column]) == pytest.approx(sum(values) / 2, abs=0.005)
        assert float(rows["standard deviation"][column]) == pytest.approx(
            abs(values[0] - values[1]) / 2**0.5, abs=0.005
        )
    assert rows["reproduced"]["runs"] == "2 seeds (1, 2)"
    assert rows["reproduced"]["features"] == "clip-vit-b32 + clip-text"
    assert "Dataset mine" in (workflow.results / "tables/own_mine.md").read_text()


def test_nothing_is_done_twice_and_a_video_that_changed_is_read_again(workflow):
    assert workflow.run("experiment_first", "table_mine") == {}
    make_video(workflow.videos / "a.mp4", range(30, 600 * 10, 150), rate=4)
    os.utime(workflow.videos / "a.mp4")
    done = workflow.run("experiment_first")
    assert done["videos looked at"] == 1
    assert done["extract"] == 1


def test_a_bad_row_ends_the_plan_and_names_the_row(workflow, tmp_path):
    flow = workflow.copy(tmp_path / "copy")
    text = (flow.folder / "my.csv").read_text()
    flow.write("my.csv", f"{text}a.mp4,a bird,x,3,1\n")
    process = flow.start("experiment_first")
    said, _ = process.communicate()
    assert process.returncode
    assert "line 14, start: 'x' is no number of seconds" in said


def test_a_run_on_it_is_asked_without_any_config(workflow, monkeypatch):
    import fake_encoders

    from pipeline.asking.moments import Moments
    from pipeline.families import FAMILIES

    fakes = {"clip-vit-b32": "fake_encoders:MeanColour", "clip-text": "fake_encoders:Letters"}
    fake_encoders.take_the_place(fakes, lambda table, key, value: monkeypatch.setitem(FAMILIES, key, value))
    moments = Moments.load(workflow.results / "runs/first/all-s1")
    answer = moments.ask(moments.encode(workflow.videos / "b.mp4"), "a dog")
    assert (answer.clip_s, len(answer.saliency)) == (2.5, 4)
    assert yaml.safe_load(CONFIG)["datasets"]["mine"]["clip"] == "2.5s"
