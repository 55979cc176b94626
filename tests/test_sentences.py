"""Tests of the sentence for each experiment under a row: every verdict, table, source and form."""

from __future__ import annotations

import csv
import io

import pytest
from made_results import QVH, Results, experiment, qvh_metrics, score_domain, tvsum_experiment

from pipeline import config
from pipeline.reporting.forms import FORMATS
from pipeline.reporting.published import ABOUT, table
from pipeline.reporting.reproduced import METRIC_OF

SEEDS = [2017, 0, 1]
COLUMNS = list(METRIC_OF)


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def published(number, key):
    """Return the numbers of a row that METRIC_OF knows, by column."""
    row = next(row for row in table(number) if row.key == key)
    return {column: float(row.values[column]) for column in COLUMNS if row.values.get(column)}


def metrics(values, queries):
    made = qvh_metrics(0.0, queries)
    made["unrounded"]["brief"] = {METRIC_OF[column]: value for column, value in values.items()}
    made["intervals"] = None
    return made


def found(results, number, key, offsets, *, queries=None, spread=0.3, split="test", **lines):
    """Return the sentences of a table with one experiment under a row. Its mean is `offsets` points from the published
    one."""
    seeds = lines.setdefault("seeds", SEEDS)
    printed = published(number, key)
    for place, seed in enumerate(seeds):
        off = spread * (place - (len(seeds) - 1) / 2)
        values = {column: value + offsets.get(column, offsets[""]) + off for column, value in printed.items()}
        asked = metrics(values, ABOUT[number].queries if queries is None else queries)
        results.score("mine", f"all-s{seed}", f"{split}-selected", asked)
    return results.build(f"table{number}", {"mine": experiment(table=number, row=key, report=split, **lines)}).sentences


def test_within_in_every_column_is_reproduced(results):
    assert found(results, 1, "TR-DETR V", {"": 0.1}) == [
        "TR-DETR V, mine: reproduced: mAP Avg. 42.72 against 42.62 published; three seeds; the epoch was selected on "
        "val."
    ]


def test_outside_in_every_column_is_not_reproduced_and_says_where_the_epoch_was_selected(results):
    lines = {"dataset": "charades_sta", "split": "val", "features": {"video": ["vgg16-imagenet"]}}
    assert found(results, 2, "TR-DETR VGG", {"": -9.0}, **lines) == [
        "TR-DETR VGG, mine: not reproduced: R1@0.5 44.47 against 53.47 published; three seeds; the epoch was selected "
        "on the reported split; vgg16-imagenet stands in for vgg16-charades."
    ]


def test_some_columns_within_are_counted(results):
    (said,) = found(results, 1, "TR-DETR V", {"": 0.1, "mAP Avg.": 9.0, "HIT@1": -9.0})
    assert "mine: not reproduced: mAP Avg. 51.62 against 42.62 published; reproduced in 5 of 7 columns; three" in said


@pytest.mark.parametrize(("seeds", "words"), [([1], "one seed;"), ([1, 2], "two seeds;")])
def test_too_few_runs_give_no_verdict(results, seeds, words):
    (said,) = found(results, 1, "TR-DETR V", {"": 0.1}, seeds=seeds)
    verdict = "no verdict, because a verdict needs three seeds"
    assert said.startswith(f"TR-DETR V, mine: {verdict}: mAP Avg. 42.72 against 42.62")
    assert words in said


def test_other_queries_give_no_verdict(results):
    (said,) = found(results, 1, "TR-DETR V", {"": 0.1}, queries=1529)
    assert "no verdict, because it has 1,529 queries and the published row has 1,542: mAP Avg. 42.72 against" in said


def test_another_split_gives_no_verdict_even_if_it_has_as_many_queries(results):
    """QVHighlights val has 1,550 queries. If the videos of eight are missing, it has as many as test."""
    (said,) = found(results, 1, "TR-DETR V", {"": 0.1}, split="val")
    assert "no verdict, because it is of val and the published row is of test: mAP Avg. 42.72 against" in said
    lines = {"table": 1, "row": "TR-DETR V", "report": "val", "seeds": SEEDS}
    table = results.build("table1", {"mine": experiment(**lines)})
    (line,) = [line for line in table.lines if line.kind == "reproduced"]
    assert line.facts["queries"] == "1,542 queries of val (published: 1,542 of test; not comparable)"


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ({"": 0.0}, "re-derived exactly: mAP Avg. 42.62 against 42.62 published."),
        ({"": 0.0, "R1@0.5": 1.0}, "re-derived in 6 of 7 columns: mAP Avg. 42.62 against 42.62 published."),
        ({"": 1.0}, "not re-derived: mAP Avg. 43.62 against 42.62 published."),
    ],
)
def test_a_prediction_file_is_re_derived_or_not_and_has_no_seeds(results, offsets, words):
    values = {c: v + offsets.get(c, offsets[""]) for c, v in published(1, "TR-DETR V").items()}
    results.score("mine", "released", "test-selected", metrics(values, 1542))
    lines = QVH | {"source": "predictions", "predictions": {"test": "x"}, "report": "test"}
    made = results.build("table1", {"mine": experiment(table=1, row="TR-DETR V", **lines)})
    assert made.sentences == [f"TR-DETR V, mine: {words}"]


def test_ten_domains_are_one_sentence_about_their_mean_and_the_reported_video(results):
    for domain in config.DOMAINS:
        for place, seed in enumerate(SEEDS):
            score_domain(results, domain, 0.5 + place / 100, seed=seed)
    made = results.build("table3", {"tvsum_v": tvsum_experiment(table=3, row="TR-DETR V", seeds=SEEDS)})
    assert made.sentences == [
        "TR-DETR V, tvsum_v: not reproduced: Avg. 51.0 against 88.1 published; three seeds; the epoch was selected on "
        "the reported video."
    ]


def test_a_part_of_the_domains_is_judged_by_what_is_there(results):
    for place, seed in enumerate(SEEDS):
        score_domain(results, "BK", 0.5 + place / 100, seed=seed)
    made = results.build("table3", {"tvsum_v": tvsum_experiment(table=3, row="TR-DETR V", seeds=SEEDS, domains=["BK"])})
    (said,) = made.sentences
    assert said.startswith("TR-DETR V, tvsum_v: not reproduced: BK 51.0 against ")


def test_every_row_of_a_sweep_has_its_sentence_and_a_row_without_runs_none(results):
    points = {point: {"model": {}, "training": {}} for point in "aj"}
    for key in points:
        for seed in SEEDS:
            values = {c: v - 9 + seed % 10 / 10 for c, v in published(4, f"({key})").items()}
            results.score("abl", f"{key}-all-s{seed}", "val-selected", metrics(values, 1550))
    made = results.build("table4", {"abl": experiment(table=4, row="({point})", sweep=points, seeds=SEEDS)})
    assert [said.split(":")[0] for said in made.sentences] == ["(a), abl", "(j), abl"]


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_of_a_table_has_the_sentences(results, form):
    for seed in SEEDS:
        results.score("a_b", f"all-s{seed}", "test-selected", qvh_metrics(60.0 + seed % 7))
    made = results.build("table1", {"a_b": experiment(table=1, row="TR-DETR V", report="test", seeds=SEEDS)})
    (said,) = made.sentences
    text = FORMATS[form](made)
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["note"] for row in rows if row["line"] == "verdict"] == [said]
    else:
        expected = said.replace("_", r"\_") if form == "tex" else said
        assert " ".join(text.split()).count(expected) == 1
        assert "What was found" in text


def test_a_table_without_runs_says_nothing_of_what_was_found(results):
    made = results.build("table1", {})
    assert made.sentences == []
    assert all("What was found" not in form(made) for form in FORMATS.values())
