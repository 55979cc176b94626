"""The report of a workflow: its pages, links, stories, and that it is made again only where something changed."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from urllib.parse import unquote

import pytest
import stage_jobs
from made_predictions import Outline, annotation, prediction, write
from made_report import Made
from made_results import experiment

from pipeline import commands, datasets, files
from pipeline.errors import PipelineError
from pipeline.manifests import files_of
from pipeline.reporting import published
from pipeline.reporting.page import figure_queries, overview
from pipeline.reporting.page.scored_files import examine
from pipeline.stages import STAGES


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = Made(tmp_path)
    assert found.report() is True
    return found


def test_it_lists_its_pages_and_is_made_again_only_after_a_change(made):
    listed = files_of(made.results / "report/report.json")
    assert {path.name for path in listed} == {"index.html", "qvhighlights-val.html"}
    assert made.report() is False
    made.train(end=24.0)
    assert made.report() is True


@pytest.mark.parametrize("option", ["released", "metrics"])
def test_files_of_an_experiment_that_were_not_named_are_asked_for(made, option):
    inputs = {"metrics": made.metrics, "predictions": made.predictions, "released": made.released, "runs": made.runs}
    settings = {"title": "Demo", "experiments": made.experiments}
    with pytest.raises(PipelineError, match=f"no manifest that `--{option}` names lists the {option} of "):
        stage_jobs.run("page", made.results, made.results / "other.json", inputs | {option: []}, settings)


def test_numbers_that_were_changed_after_they_were_made_are_not_shown(made, capsys):
    (manifest,) = [path for path in made.metrics if path.name == "mine.val.json"]
    show = commands.show
    show(Namespace(manifest=[manifest]))
    assert "all-s2017, qvhighlights: 6 queries" in capsys.readouterr().out
    scores = made.results / "metrics/mine/all-s1/val-selected.json"
    scores.write_text(scores.read_text().replace('"MR-full-mAP": 9', '"MR-full-mAP": 8'))
    with pytest.raises(PipelineError, match=r"val-selected\.json: was changed or damaged"):
        show(Namespace(manifest=[manifest]))
    files.write_json(manifest, {"stage": "score", "settings": None, "files": []})
    with pytest.raises(PipelineError, match="does not say from which dataset its numbers are"):
        show(Namespace(manifest=[manifest]))


@pytest.mark.parametrize("name", ["index.html", "qvhighlights-val.html"])
def test_every_link_leads_to_a_file_or_a_part_of_a_page_and_nowhere_else(made, name):
    page, folder = made.page(name), made.results / "report"
    data = json.loads(page.data)
    places = [address for address in page.addresses if not address.startswith("data:")]
    places += [address for story in data.get("stories", ()) for _, address in story["links"]]
    assert places
    for place in places:
        file, _, part = place.partition("#")
        assert "//" not in file
        target = folder / unquote(file or name)
        assert target.is_file(), place
        if part and not part.startswith("query-"):
            assert part in Outline(target.read_text()).ids, place


def test_strangers_text_is_text_on_every_page(made):
    for name in ("index.html", "qvhighlights-val.html"):
        page = made.page(name)
        assert [tag for tag, _ in page.tags].count("script") == 2
        assert [found["src"][:5] for tag, found in page.tags if tag == "img"] == ["data:"] * (name == "index.html")


def stories_of(page):
    """Return label → the story that a click on a number of its line opens."""
    stories = json.loads(page.data)["stories"]
    cells = [found for tag, found in page.tags if tag == "button" and found.get("class") == "cell"]
    opened = [stories[int(found["data-story"])] for found in cells if found["data-column"] == "mAP Avg."]
    assert sorted(map(str, opened)) == sorted(map(str, stories))
    return {story["label"]: story for story in stories}


def test_a_row_that_the_paper_does_not_have_tells_its_story_too(made):
    story = stories_of(made.page("index.html"))["beyond, CG-DETR V of Table 1"]
    printed = {row.key: row.values for row in published.beyond(1)}["CG-DETR V"]
    assert {column: told["published"] for column, told in story["columns"].items()} == printed


def test_a_reproduced_number_tells_its_story(made):
    story = stories_of(made.page("index.html"))["mine, (j) of Table 4"]
    column = story["columns"]["mAP Avg."]
    assert story["seeds"] == ["2017", "1"]
    assert len(column["values"]) == 2
    assert column["published"] == "45.09"
    assert column["verdict"] == "other queries"
    assert story["epochs"] == ["all-s2017: epoch 4 of 6, on cpu", "all-s1: epoch 4 of 6, on cpu"]
    said = "clip-vit-b32: 512 numbers on a grid of 2s, origin raw, weights w, revision 3; one frame"
    assert story["families"] == [said]
    assert story["command"].endswith("experiment_mine")
    assert story["revisions"] == ", ".join(f"{name} {STAGES[name].revision}" for name in ("train", "predict", "score"))


def test_a_story_tells_the_revisions_that_made_its_numbers_and_none_of_a_training_that_was_not_here(made):
    (manifest,) = made.results.glob("runs/mine.*.json")
    content = files.read_json(manifest)
    files.write_json(manifest, {key: value for key, value in content.items() if key != "seal"} | {"revision": 1})
    (made.results / "report/report.json").unlink()
    assert made.report()
    stories = stories_of(made.page("index.html"))
    assert stories["mine, (j) of Table 4"]["revisions"].startswith("train 1, predict ")
    assert stories["theirs, (j) of Table 4"]["revisions"] == f"score {STAGES['score'].revision}"


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (("0123456789ab\n", "0123456789ab\n"), ["0123456789ab: all-s2017, all-s1"]),
        (("0123456789ab+\n", None), ["0123456789ab with changed files: all-s2017", "not recorded: all-s1"]),
        ((None, None), []),
        (("<script>", "\udcff"), []),
    ],
)
def test_a_story_tells_the_commit_of_its_runs_and_no_table_depends_on_it(made, texts, told):
    table = made.results / "tables/table4.json"
    job = {"inputs": {"metrics": made.metrics, "predictions": made.predictions, "runs": made.runs}}
    job["settings"] = {"title": "t", "experiments": made.experiments}
    bytes_of = {}
    for written in (False, True):
        stage_jobs.run("tabulate", made.results, table, **job, table="table4")
        found = {path: path.read_bytes() for path in [table, made.runs, *files_of(table)]}
        assert bytes_of in ({}, found)
        bytes_of = found
        table.unlink()
        for run, text in zip(("all-s2017", "all-s1"), texts, strict=True):
            if text is not None and not written:
                (made.results / f"runs/mine/{run}/commit.txt").write_bytes(text.encode(errors="surrogateescape"))
    (made.results / "report/report.json").unlink()
    assert made.report() is True
    assert stories_of(made.page("index.html"))["mine, (j) of Table 4"]["commits"] == told


@pytest.fixture
def kitchen():
    """Register a dataset of one's own, and remove it after the test."""
    datasets.learn("kitchen", {"annotations": "k.csv", "videos": "videos", "clip": "2s", "raters": 0})
    yield
    datasets.register({})


def test_a_dataset_of_ones_own_has_its_table_in_the_index(made, kitchen):
    keys = ("qid", "query", "vid", "duration", "relevant_windows")
    rows = [{key: row[key] for key in keys} for row in made.truth]
    guesses = [{**{key: row[key] for key in keys[:3]}, "pred_relevant_windows": [[10, 22, 0.9]]} for row in rows]
    lines = {"dataset": "kitchen", "source": "predictions", "predictions": {"val": "cooks"}, "report": "val"}
    annotations = made.listed(
        "annotate", "annotations/kitchen/val.json", [made.write("annotations/kitchen/val.jsonl", rows)]
    )
    released = made.listed("fetch", "resources/cooks/fetch.json", [made.write("resources/cooks/p.jsonl", guesses)])
    for name in ("first", "second"):
        made.experiments[name] = experiment(**lines)
        made.metrics.append(made.results / f"metrics/{name}.val.json")
        inputs, settings = {"predictions": released, "annotations": annotations}, {"experiment": made.experiments[name]}
        stage_jobs.run("score", made.results, made.metrics[-1], inputs, settings, experiment=name, split="val")
    made.annotations, made.released = [made.annotations, annotations], [made.released, released]
    assert made.report() is True
    page = made.page("index.html")
    assert "#part-own_kitchen" in page.addresses
    assert {"part-own_kitchen", "own_kitchen"} <= page.ids
    text = (made.results / "report/index.html").read_text()
    table = text[text.index('id="own_kitchen"') :].split("</table>")[0]
    assert table.count("<tbody") == table.count("</tbody>") == 2  # each experiment is sorted with what is beneath it
    assert [name in table for name in ("first", "second", "mine")] == [True, True, False]
    assert "↳ first" not in table
    told = json.loads(page.data)["stories"]
    opened = {told[int(number)]["label"] for number in re.findall(r'data-story="(\d+)"', table)}
    assert opened == {"first, dataset kitchen", "second, dataset kitchen"}
    (first,) = (story for story in told if story["label"] == "first, dataset kitchen")
    assert first["command"].endswith("experiment_first")
    assert first["queries"] == len(rows)
    assert {column["published"] for column in first["columns"].values()} == {None}


def test_the_overview_says_what_was_reproduced_what_not_and_what_it_cost(made):
    text = " ".join((made.results / "report/index.html").read_text().split())
    assert "1 of 10 rows have runs." in text
    assert "0 of 13 rows have runs.</b> CG-DETR V, beyond: " in text
    assert "With runs, and not in the paper: CG-DETR V." in text
    assert "</b> (j), mine: no verdict, because" in text
    assert "Without runs here: TR-DETR V, TR-DETR V+A." in text
    assert "2 trained runs are here. Their epochs took 2 min 21 s in all." in text


def test_files_of_the_papers_method_come_first_with_the_queries_that_were_scored(made):
    data = json.loads(made.page("qvhighlights-val.html").data)
    assert [one["label"] for one in data["files"]] == ["mine", "theirs", "beyond"]
    assert len(data["qid"]) == 6


def test_table_4_is_shown_as_steps_from_published_and_reproduced_numbers(made):
    found = overview.steps({})
    assert [(step.key, step.published) for step in found] == [
        ("(a)", 38.03),
        ("(f)", 39.80),
        ("(g)", 41.21),
        ("(j)", 45.09),
    ]
    assert overview.scale(found) == 50


def test_figures_2_and_3_show_queries_that_the_rule_chooses(tmp_path):
    truth = [annotation(n, [[10, 20]], f"query {n}") for n in range(9)]
    ends = [20, 22, 24, 26, 28, 30, 32, 34, 36]
    guess = [prediction(row, [[10, end, 0.9]]) for row, end in zip(truth, ends, strict=True)]
    paths = {"a": write(tmp_path / "a.jsonl", guess)}
    benchmark = examine("qvhighlights", paths, write(tmp_path / "val.jsonl", truth))
    scores = sorted((benchmark.files[0].scores[row["qid"]]["MR-full-mAP"], row["qid"]) for row in truth)
    shown = figure_queries.figure(benchmark, {})
    assert [one.qid for one in shown] == [scores[2][1], scores[4][1], scores[6][1]]
    assert shown[0].frames == []
    assert shown[0].truth == [(66.7, 66.7)]


def test_frames_come_from_the_video_where_it_can_be_decoded(shared_data, tmp_path):
    pytest.importorskip("av")
    from pipeline.reporting.page.frames import frames_of

    found = frames_of(shared_data / "videos/charades.mp4", 4)
    assert len(set(found)) == 4
    assert all(address.startswith("data:image/jpeg;base64,") for address in found)
    (tmp_path / "no.mp4").write_bytes(b"no video")
    assert frames_of(tmp_path / "no.mp4", 4) == []
