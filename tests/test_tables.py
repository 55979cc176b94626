"""Tables show published and reproduced numbers side by side, verdicts need runs, and no number is shown that was not
computed."""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
import subprocess
from html.parser import HTMLParser

import pytest
import stage_jobs
from made_results import Results, experiment, qvh_metrics, score_domain, tvsum_experiment, under

from pipeline import config, files
from pipeline.errors import PipelineError
from pipeline.evaluation.student import student_t
from pipeline.reporting import published, render, tables, verdict
from pipeline.reporting.page.tables import to_html
from pipeline.reporting.render_latex import to_latex
from pipeline.reporting.reproduced import METRIC_OF, curve


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def texts(line: render.TableLine) -> list[str]:
    return [cell.text for cell in line.cells.values()]


# what a table shows


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_without_runs_a_table_is_the_papers_alone(results, number):
    table = results.build(f"table{number}", {})
    assert {line.kind for line in table.lines} == {"published"}
    printed = [[cell.plain for cell in line.cells.values()] for line in table.lines]
    rows = published.table(number)
    assert printed == [[row.values[column] for column in published.columns(number)] for row in rows]


def test_reproduced_numbers_stand_under_their_row_with_what_they_stand_on(results):
    results.score("qvh_v", "all-s2017", "test-selected", qvh_metrics(60.0))
    table = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", note="CLIP only")})
    at = [line.label for line in table.lines].index("qvh_v")
    assert (table.lines[at - 1].label, table.lines[at - 1].features) == ("TR-DETR", "V")
    assert texts(table.lines[at]) == ["60.00", "61.00", "62.00", "63.00", "64.00", "65.00", "66.00"]
    assert texts(table.lines[at + 1]) == ["-4.66", "+12.04", "-1.98", "+19.27", "+21.38", "+25.09", "+2.58"]
    assert table.lines[at].facts == {
        "luck": "",
        "runs": "1 seed (2017)",
        "queries": "1,542 queries",
        "source": "from raw videos",
        "settings": "200 epochs, batch 32, learning rate 0.0001, clip-vit-b32 + clip-text",
        "selection": "epoch selected on val",
        "note": "CLIP only",
    }
    assert table.lines[at + 1].remark == "not enough runs for a verdict (n = 1)"
    assert not under(table, "last epoch")


def test_seeds_become_mean_and_standard_deviation(results):
    for seed, value in ((0, 60.0), (1, 62.0), (2, 64.0)):
        results.score("qvh_v", f"all-s{seed}", "test-selected", qvh_metrics(value))
    table = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[0, 1, 2])})
    (line,) = under(table, "reproduced")
    assert line.cells["R1@0.5"].text == "62.00 ± 2.00"
    assert line.facts["runs"] == "3 seeds (0, 1, 2)"
    (judged,) = under(table, "verdict")
    assert judged.cells["R1@0.5"].text == "within"
    assert judged.cells["R1@0.7"].text == "outside"
    (difference,) = under(table, "difference")
    assert difference.remark.startswith("published is within: R1@0.5, mAP@0.5, HIT@1; outside: R1@0.7*, ")


def test_a_number_on_other_queries_carries_the_published_denominator(results):
    results.score("qvh_v", "all-s2017", "test-selected", qvh_metrics(60.0, queries=23))
    table = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test")})
    assert under(table, "reproduced")[0].facts["queries"] == "23 queries (published: 1,542; not comparable)"
    assert under(table, "difference")[0].remark == "no verdict: other queries than the published number's"


def test_sweep_points_fill_the_rows_they_name_and_no_others(results):
    points = {point: {"model": {}, "training": {}} for point in ("a", "j")}
    results.score("ablation", "j-all-s1", "val-selected", qvh_metrics(60.0, queries=1550))
    results.score("ablation", "j-all-s1", "val-last", qvh_metrics(59.0, queries=1550))
    table = results.build("table4", {"ablation": experiment(table=4, row="({point})", sweep=points, seeds=[1])})
    assert [line.kind for line in table.lines[-5:]] == [
        "published", "reproduced", "difference", "verdict", "last epoch",
    ]  # fmt: skip
    assert len(under(table, "reproduced")) == 1


def test_every_row_of_a_sweep_has_differences_and_verdicts_of_its_own(results):
    points = {point: {"model": {}, "training": {}} for point in ("a", "j")}
    for point, start in (("a", 60.0), ("j", 70.0)):
        for seed in (1, 2, 3):
            results.score("abl", f"{point}-all-s{seed}", "val-selected", qvh_metrics(start + seed / 100, queries=1550))
    settings = experiment(table=4, row="({point})", sweep=points, seeds=[1, 2, 3])
    table = results.build("table4", {"abl": settings})
    rows = {row.key: row.values for row in published.table(4)}
    for key, line, start in zip(("(a)", "(j)"), under(table, "difference"), (60.02, 70.02), strict=True):
        assert line.cells["R1@0.5"].plain == f"{start - float(rows[key]['R1@0.5']):+.2f}"
    (note,) = [note for note in table.notes if note.startswith("Comparisons made here: 14 (14 verdicts")]
    assert "abl (a) R1@0.5" in note
    assert "abl (j) R1@0.5" in note


def test_selection_on_the_reported_split_is_marked_and_the_last_epoch_stands_beside_it(results):
    results.score("val", "all-s1", "val-selected", qvh_metrics(60.0))
    results.score("val", "all-s1", "val-last", qvh_metrics(58.5))
    table = results.build("table4", {"val": experiment(table=4, row="(j)", seeds=[1])})
    assert under(table, "reproduced")[0].facts["selection"] == "selected on the reported split"
    assert texts(under(table, "last epoch")[0])[0] == "58.50"


def test_points_of_a_sweep_that_share_a_row_are_told_apart(results):
    points = {point: {"model": {}, "training": {}} for point in ("a", "b")}
    for point in points:
        results.score("lam", f"{point}-all-s1", "test-selected", qvh_metrics(60.0))
    settings = experiment(table=1, row="TR-DETR V", report="test", sweep=points, seeds=[1])
    assert [line.label for line in under(results.build("table1", {"lam": settings}), "reproduced")] == [
        "lam a",
        "lam b",
    ]


def test_settings_say_what_differs_from_the_network_that_the_row_stands_for(results):
    modules = {"alignment": True, "refinement": False, "mr2hd": True, "hd2mr": True}
    small = {"hidden_dim": 64, "formulation": "paper"}
    shown = {}
    for name, model in (("exact", modules), ("other", modules | {"alignment": False} | small)):
        results.score(name, "all-s1", "val-selected", qvh_metrics(60.0))
        training = {"epochs": 2, "precision": "bfloat16"}
        shown[name] = experiment(table=4, row="(g)", seeds=[1], model=model, training=training)
    schedule = "2 epochs, batch 32, learning rate 0.0001, bfloat16"
    assert [line.facts["settings"] for line in under(results.build("table4", shown), "reproduced")] == [
        f"{schedule}, clip-vit-b32 + clip-text",
        f"{schedule}, formulation paper, hidden_dim 64, alignment false, clip-vit-b32 + clip-text",
    ]


def test_a_row_that_the_table_has_not_is_refused(results):
    with pytest.raises(PipelineError, match=r"Table 1 has no row 'TR-DETR  V', it has 'TR-DETR V'"):
        results.build("table1", {"x": experiment(table=1, row="TR-DETR  V", report="test")})


def test_a_line_that_ends_in_a_note_breaks_no_form(results):
    results.score("qvh_v", "all-s1", "test-selected", qvh_metrics(60.0))
    settings = experiment(table=1, row="TR-DETR V", report="test", seeds=[1], note="first\nsecond\n")
    table = results.build("table1", {"qvh_v": settings})
    assert under(table, "reproduced")[0].facts["note"] == "first second"
    assert "first second" in " ".join(render.to_text(table).split())


def test_a_metric_that_is_null_stays_empty(results):
    metrics = qvh_metrics(60.0)
    metrics["unrounded"]["brief"]["HL-min-VeryGood-mAP"] = None
    results.score("qvh_v", "all-s1", "test-selected", metrics)
    table = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[1])})
    assert under(table, "reproduced")[0].cells["HD mAP"].text == "–"
    assert "HD mAP" not in under(table, "difference")[0].cells


def test_a_family_that_stands_in_for_a_lost_one_is_named_under_every_row_it_touches(results):
    results.score("raw", "all-s2017", "val-selected", qvh_metrics(40.0, 3720))
    features = {"video": ["vgg16-imagenet"], "audio": ["pann-cnn14-centred"], "text": "glove-6b-300d"}
    shown = {"raw": experiment(table=2, row="TR-DETR VGG+A", dataset="charades_sta", features=features)}
    (line,) = under(results.build("table2", shown), "reproduced")
    assert line.facts["note"] == (
        "stand-in: vgg16-imagenet for vgg16-charades; stand-in: pann-cnn14-centred for pann-cnn14-charades"
    )


def test_the_scorers_notes_are_shown_once(results):
    for seed in (1, 2):
        metrics = qvh_metrics(60.0) | {"notes": ["scored on 1,500 of 1,542 queries"]}
        results.score("qvh_v", f"all-s{seed}", "test-selected", metrics)
    table = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[1, 2])})
    assert under(table, "reproduced")[0].facts["note"] == "scored on 1,500 of 1,542 queries"


def test_tvsums_ten_domains_make_one_row_with_their_mean(results):
    for i, domain in enumerate(config.DOMAINS):
        score_domain(results, domain, 0.8 + i / 100)
        score_domain(results, domain, 0.5, "last")
    table = results.build("table3", {"tvsum_v": tvsum_experiment(table=3, row="TR-DETR V", seeds=[1])})
    assert texts(under(table, "reproduced")[0]) == [f"{80 + i}.0" for i in range(10)] + ["84.5"]
    assert texts(under(table, "last epoch")[0]) == ["50.0"] * 11
    assert under(table, "reproduced")[0].facts["queries"] == "10 videos"
    assert under(table, "reproduced")[0].facts["source"] == "from released features (umt)"


def test_without_all_ten_domains_there_is_no_average(results):
    score_domain(results, "BK", 0.9)
    lines = {"table": 3, "row": "TR-DETR V", "seeds": [1], "domains": ["BK"]}
    table = results.build("table3", {"tvsum_v": tvsum_experiment(**lines)})
    cells = under(table, "reproduced")[0].cells
    assert (cells["BK"].text, cells["VT"].text, cells["Avg."].text) == ("90.0", "–", "–")


@pytest.mark.parametrize(("videos", "verdicts"), [(1, {"outside"}), (4, {"other queries"})])
def test_a_domain_has_a_verdict_only_on_one_video(results, videos, verdicts):
    for seed in (1, 2, 3):
        for domain in ("BK", "VT"):
            score_domain(results, domain, 0.5 + seed / 1000, seed=seed, videos=videos)
    settings = tvsum_experiment(table=3, row="TR-DETR V", seeds=[1, 2, 3], domains=["BK", "VT"])
    (judged,) = under(results.build("table3", {"tvsum_v": settings}), "verdict")
    assert set(texts(judged)) == verdicts


def test_released_predictions_that_agree_are_re_derived_exactly(results):
    row = next(row for row in published.table(1) if row.key == "TR-DETR V")
    metrics = qvh_metrics(0.0)
    brief = {METRIC_OF[column]: float(value) + 0.0043 for column, value in row.values.items()}
    metrics["unrounded"]["brief"] = brief
    results.score("released", "released", "test-selected", metrics)
    lines = {"table": 1, "row": "TR-DETR V", "report": "test", "source": "predictions", "predictions": {"test": "them"}}
    table = results.build("table1", {"released": experiment(**lines)})
    (difference,) = under(table, "difference")
    assert difference.remark == "re-derived exactly"
    assert set(texts(difference)) == {"0.00"}
    assert under(table, "reproduced")[0].facts["source"] == "prediction file (them)"


def test_real_released_predictions_re_derive_both_rows(shared_data, results):
    from pipeline.evaluation import score_files

    experiments = {}
    for number, key, split, truth in ((1, "TR-DETR V", "test", "test_with_gt"), (4, "(j)", "val", "val")):
        output = results.folder / "metrics" / f"released_{split}" / "released" / f"{split}-selected.json"
        predictions = shared_data / f"predictions/trdetr_qvhighlights_{split}.jsonl"
        score_files("qvhighlights", predictions, shared_data / f"annotations/qvhighlights_{truth}.jsonl", output)
        results.scored.append(output)
        lines = {"table": number, "row": key, "report": split, "source": "predictions", "predictions": {split: "x"}}
        experiments[f"released_{split}"] = experiment(**lines)
    table = results.build("evidence", experiments)
    assert [line.label for line in under(table, "published")] == ["Table 1, TR-DETR V", "Table 4, (j)"]
    assert [line.remark for line in under(table, "difference")] == ["re-derived exactly"] * 2


def test_evidence_of_several_tables_has_the_columns_of_all(results):
    score_domain(results, "BK", 0.5)
    results.score("qvh", "released", "test-selected", qvh_metrics(60.0))
    results.score("tv", "released", "val-selected", files.read_json(results.scored[0]))
    shown = {
        "qvh": experiment(table=1, row="TR-DETR V", report="test", source="predictions", predictions={"test": "x"}),
        "tv": experiment(dataset="tvsum", table=3, row="TR-DETR V", source="predictions", predictions={"val": "x"}),
    }
    table = results.build("evidence", shown)
    assert table.columns == [*published.columns(1), *published.columns(3)]
    assert [line.cells["BK"].text for line in under(table, "published") if "BK" in line.cells] == ["91.3"]


def test_evidence_without_a_row_of_a_table_is_refused(results):
    with pytest.raises(PipelineError, match="evidence: none of these experiments is in a table"):
        results.build("evidence", {})


def test_only_the_manifest_of_a_table_has_a_text(results):
    for content in ({"stage": "draw", "files": []}, {"stage": "x", "files": [1]}, [1]):
        files.write_json(results.folder / "other.json", content)
        with pytest.raises(PipelineError, match=r"other\.json: (is no manifest|lists a file without path or digest)"):
            tables.texts(results.folder / "other.json")


def test_the_resolution_of_the_benchmark_stands_below(results):
    results.score("qvh_v", "all-s1", "test-selected", qvh_metrics(60.0))
    table = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[1])})
    assert table.notes[1].startswith(
        "Resolution of the benchmark of Table 1 (half of the 95 % interval of one file alone, over 476 videos"
    )
    assert "R1@0.5 ±2.25" in table.notes[1]


def test_table_1_says_that_test_is_self_scored(results):
    assert "scored by ourselves" in results.build("table1", {}).notes[0]


@pytest.mark.parametrize("content", [{"brief": {}}, {"unrounded": {"brief": {}}}, [], {"unrounded": {"brief": 5}}])
def test_a_file_that_is_no_metrics_file_is_named(results, content):
    results.score("qvh_v", "all-s1", "test-selected", content)
    with pytest.raises(PipelineError, match=r"test-selected.json: is no metrics file of qvhighlights"):
        results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[1])})


# luck


def test_luck_is_read_from_the_log(results):
    results.score("qvh_v", "all-s1", "test-selected", qvh_metrics(60.0))
    results.log("qvh_v", "all-s1", "MR-full-mAP", ["", 40, "", 41, "", 44, "", 42])
    table = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[1])})
    assert under(table, "reproduced")[0].facts["luck"] == "2.50"


def test_a_single_evaluation_has_no_luck(results):
    results.score("qvh_v", "all-s1", "test-selected", qvh_metrics(60.0))
    results.log("qvh_v", "all-s1", "MR-full-mAP", [40])
    table = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[1])})
    assert under(table, "reproduced")[0].facts["luck"] == ""


def test_tvsum_logs_are_fractions(results):
    results.log("tvsum_v", "BK-s1", "average", [0.5, "", 0.75])
    assert curve(results.logs[0], "tvsum") == [50.0, 75.0]


def test_luck_of_the_released_run(shared_data, results):
    with open(shared_data / "predictions/trdetr_qvhighlights_val_curve.csv", newline="") as file:
        values = [row["MR-full-mAP"] for row in csv.DictReader(file)]
    results.score("val", "all-s1", "val-selected", qvh_metrics(60.0))
    results.log("val", "all-s1", "MR-full-mAP", values)
    table = results.build("table4", {"val": experiment(table=4, row="(j)", seeds=[1])})
    assert under(table, "reproduced")[0].facts["luck"] in ("1.29", "1.30")  # 1.295


# verdict


def test_students_t_is_the_tables():
    known = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 9: 2.2622, 30: 2.0423, 1000: 1.9623}
    assert {n: round(student_t(n), 4) for n in known} == known


def test_the_verdict_is_a_prediction_interval():
    values = [42.0, 43.0, 44.0]
    reach = 4.30265 * statistics.stdev(values) * (4 / 3) ** 0.5
    assert verdict.against_runs(f"{43 + reach - 0.001:.4f}", values) == "within"
    assert verdict.against_runs(f"{43 + reach + 0.001:.4f}", values) == "outside"
    assert verdict.against_runs("43", values[:2]) == "not enough runs"


def test_a_printed_number_stands_for_all_that_round_to_it():
    assert verdict.against_runs("64.66", [64.6612] * 3) == "within"
    assert verdict.against_runs("64.66", [64.6652] * 3) == "outside"


def test_predictions_are_judged_at_the_decimals_that_are_printed():
    assert verdict.against_predictions("89.3", 89.34) == "re-derived exactly"
    assert verdict.against_predictions("58.80", 58.804) == "re-derived exactly"
    assert verdict.against_predictions("58.80", 58.806) == "not re-derived"


# written forms


@pytest.fixture
def table(results):
    for seed, value in ((0, 60.0), (1, 62.0)):
        results.score("abl_j", f"all-s{seed}", "val-selected", qvh_metrics(value))
        results.score("abl_j", f"all-s{seed}", "val-last", qvh_metrics(value - 1))
        results.log("abl_j", f"all-s{seed}", "MR-full-mAP", [40, 43, 42])
    return results.build("table4", {"abl_j": experiment(table=4, row="(j)", seeds=[0, 1], note="a | b_c & 50 % <i>")})


def test_csv_has_plain_numbers_and_every_line(table):
    rows = list(csv.DictReader(io.StringIO(render.to_csv(table))))
    ours = {row["line"]: row for row in rows if row["label"] == "abl_j"}
    assert ours["reproduced"]["R1@0.5"] == "61.00"
    assert ours["standard deviation"]["R1@0.5"] == "1.41"
    assert ours["reproduced"]["luck"] == "2.00"
    assert ours["reproduced"]["selection"] == "selected on the reported split"
    assert ours["verdict"]["R1@0.5"] == "other queries"
    assert [row["line"] for row in rows].count("published") == 10
    assert rows[9]["R1@0.5"] == "67.10"


def test_markdown_rows_have_as_many_cells_as_the_header(table):
    lines = [line for line in render.to_markdown(table).splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1
    assert "**67.10**" in render.to_markdown(table)
    assert "<u>66.32</u>" in render.to_markdown(table)


def test_latex_escapes_what_it_must_and_prints_numbers_only(table):
    text = to_latex(table)
    assert r"a | b\_c \& 50 \% \textless{}i\textgreater{}" in text
    assert r"\textbf{67.10}" in text
    assert r" & 61.00 & " in text
    assert r" & {\tiny $\pm$1.41} & " in text
    assert r"\label{tab:table4}" in text
    assert "difference" not in text
    assert r"\caption{QVHighlights val, the modules one by one}" in text
    assert all(line.count("&") - line.count(r"\&") == 11 for line in text.splitlines() if line.endswith(r"\\"))


def test_html_is_well_formed_and_escapes_notes(table):
    text = to_html(table)
    stack = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "link"):
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Checker().feed(text)
    assert not stack
    assert "50 % &lt;i&gt;" in text


def test_the_terminal_shows_the_same_numbers_aligned(table):
    text = render.to_text(table)
    body = [line for line in text.splitlines() if line.startswith("(")]
    assert len(body) == 10
    assert len({len(line) for line in body}) == 1
    assert "[1] 2 seeds (0, 1); 1,542 queries (published: 1,550; not comparable); from raw videos" in text
    assert "**" not in text


def test_what_lines_stand_on_stands_once_beneath_the_table(results):
    points = {point: {"model": {}, "training": {}} for point in ("f", "j")}
    for point in points:
        results.score("abl", f"{point}-all-s1", "val-selected", qvh_metrics(60.0))
    both = {"alignment": False, "refinement": False, "mr2hd": True, "hd2mr": True}
    points["f"]["model"] = both
    made = results.build("table4", {"abl": experiment(table=4, row="({point})", sweep=points, seeds=[1])})
    (fact,) = {line.stands_on for line in under(made, "reproduced")}
    for written in (render.to_markdown(made), render.to_text(made), to_html(made)):
        assert " ".join(written.split()).count("1 seed (1)") == 1
    assert render.to_markdown(made).count("| [1] |") == 2
    assert f"- [1] {fact}" in render.to_markdown(made)


def test_rules_stand_between_kinds_of_features_and_minus_signs_before_numbers(results):
    results.score("qvh_v", "all-s1", "test-selected", qvh_metrics(60.0))
    made = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[1])})
    starts = [(line.label, line.features) for line in made.lines if line.starts_group]
    assert starts == [("UMT", "V+A")]
    for write in (render.to_markdown, render.to_text, to_html):
        assert "−4.66" in write(made)
    assert "-4.66" in render.to_csv(made)
    text = render.to_text(made).splitlines()
    umt = next(n for n, line in enumerate(text) if line.startswith("UMT"))
    assert set(text[umt - 1]) == {"-"}
    assert to_latex(made).count(r"\midrule") == 2


def test_a_prediction_file_has_its_interval_in_the_table(results):
    results.score("mine", "released", "test-selected", qvh_metrics(60.0))
    lines = {"table": 1, "row": "TR-DETR V", "report": "test", "source": "predictions", "predictions": {"test": "mine"}}
    made = results.build("table1", {"mine": experiment(**lines)})
    (line,) = under(made, "interval")
    assert line.label == "95 % interval over 476 videos"
    assert line.cells["R1@0.5"].text == "±2.25"


def test_the_stage_writes_five_files_and_then_has_nothing_to_do(results):
    results.score("qvh_v", "all-s1", "test-selected", qvh_metrics(60.0))
    experiments = {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[1])}
    metrics, runs = results.manifests(experiments)
    job = {"inputs": {"metrics": metrics, "runs": runs}, "settings": {"title": "Demo", "experiments": experiments}}
    made = results.folder / "table1.json"
    assert [stage_jobs.run("tabulate", results.folder, made, **job, table="table1") for _ in range(2)] == [True, False]
    assert {path.name for path in (results.folder / "tables").iterdir()} == {
        "table1.csv", "table1.md", "table1.tex", "table1.html", "table1.txt",
    }  # fmt: skip
    assert (results.folder / "tables/table1.md").read_text().startswith("### Demo, Table 1: ")


@pytest.fixture
def full(results):
    """Each table with two seeds under TR-DETR's row, so that every column has a spread."""
    for seed in (0, 1):
        for name, split in (("one", "test"), ("two", "val"), ("four", "val")):
            results.score(name, f"all-s{seed}", f"{split}-selected", qvh_metrics(60.0 + seed))
        for domain in config.DOMAINS:
            score_domain(results, domain, 0.9 + seed / 100, seed=seed)
    audio = {"video": ["vgg16-imagenet"], "audio": ["pann-cnn14-centred"], "text": "glove-6b-300d"}
    points = {point: {"model": {}, "training": {}} for point in "abcdefghij"}
    for point in points:
        for seed in (0, 1):
            results.score("four", f"{point}-all-s{seed}", "val-selected", qvh_metrics(60.0 + seed))
    seeds = {"seeds": [0, 1]}
    return {
        1: {"one": experiment(table=1, row="TR-DETR V", report="test", **seeds)},
        2: {"two": experiment(table=2, row="TR-DETR VGG+A", dataset="charades_sta", features=audio, **seeds)},
        3: {"tvsum_v": tvsum_experiment(table=3, row="TR-DETR V", **seeds)},
        4: {"four": experiment(table=4, row="({point})", sweep=points, **seeds)},
    }


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here")
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_latex_compiles_and_fits_on_a_page(tmp_path, results, full, number):
    preamble = r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{booktabs,amssymb}\begin{document}"
    made = tables.build(f"table{number}", "A & B_c", full[number], *results.manifests(full[number]))
    body = rf"See Table~\ref{{tab:table{number}}}. {to_latex(made)}"
    (tmp_path / "t.tex").write_text(f"{preamble}\n{body}\n\\end{{document}}", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    for _ in range(2):
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout[-2000:]
    for complaint in ("Overfull", "Float too large", "undefined"):
        assert complaint not in answer.stdout


def test_a_run_stands_beside_released_predictions_with_their_paired_difference(tmp_path):
    for name, hits in {"ours": (1, 0, 1, 0), "theirs": (1, 1, 1, 0)}.items():
        rows = [{"qid": i, "vid": f"v{i}", "video": f"v{i}", "MR-full-mAP": hit} for i, hit in enumerate(hits)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = verdict.paired(tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl", "MR-full-mAP")
    text = "MR-full-mAP -25.00 [-104.56, +54.56]*, such a pair resolves ±79.56"
    assert verdict.paired_text(found, "*") == text
    assert verdict.paired(tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl", "HL-min-VeryGood-mAP") is None
