"""No text of a stranger is a formula in a CSV that people open in a spreadsheet."""

from __future__ import annotations

import csv
import json

import pytest
from made_videos import make_video

from pipeline.asking import write
from pipeline.asking.answer import Answer, ScoredWindow
from pipeline.reporting import render
from pipeline.spreadsheet import cell

FORMULAS = (
    '=HYPERLINK("http://a.b","c")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1,2)",
    "\t=1+1",
    " =1+1",
    "＝1+1",
    "--x",
)
PLAIN = ("a dog", "1-2", "a = b", "", "-", "=", "'tis", "–", "-1.5", "+0.25", "-1e-05", "inf", "(j)", 3, -0.5, None)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe_and_is_whole_behind_it(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", PLAIN)
def test_texts_and_numbers_stay_as_they_are(value):
    assert cell(value) is value


def test_the_csvs_of_an_answer_hold_no_formula_and_the_json_holds_every_query_as_it_is(tmp_path):
    video = make_video(tmp_path / "v.mp4", range(0, 1200, 300), rate=2)
    windows = (ScoredWindow(0.0, 1.0, -0.5), ScoredWindow(1.0, 2.0, -1.0))
    answers = [Answer(text, video, 2.0, "a/b", 1.0, windows, (-1.0, 0.5)) for text in FORMULAS if text.isprintable()]
    write.write(answers, tmp_path / "out")
    for name, column, numbers in (
        ("windows.csv", "score", {"-0.5", "-1.0"}),
        ("clips.csv", "saliency", {"-1.0", "0.5"}),
    ):
        with open(tmp_path / "out" / name, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert {row["query"] for row in rows} == {f"'{answer.query}" for answer in answers}
        assert {row[column] for row in rows} == numbers
    found = json.loads((tmp_path / "out/answers.json").read_text(encoding="utf-8"))
    assert [row["query"] for row in found] == [answer.query for answer in answers]


def test_the_csv_of_a_table_holds_no_formula_in_any_text():
    cells = {"a": render.Cell("-0.50", "-0.50")}
    line = render.TableLine("reproduced", "=1+1", "@SUM(1)", cells, facts={"runs": "-2+3"})
    (found,) = csv.DictReader(render.to_csv(render.Table("t", (), ("a",), [line], ())).splitlines())
    assert (found["label"], found["features"], found["a"], found["runs"]) == ("'=1+1", "'@SUM(1)", "-0.50", "'-2+3")
