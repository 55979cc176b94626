"""Tables compare published and reproduced numbers, name each number's settings, and print only computed numbers."""

from __future__ import annotations

import pytest
from made_results import Results, experiment, qvh_metrics, score_domain, tvsum_experiment, under

from pipeline import config, files
from pipeline.errors import PipelineError
from pipeline.reporting import published, render, tables
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
