"""Verdicts: a published number against the spread of runs, and prediction files at the digits that are printed."""

from __future__ import annotations

import json
import statistics

from pipeline.evaluation.student import student_t
from pipeline.reporting import verdict


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


def test_a_run_stands_beside_released_predictions_with_their_paired_difference(tmp_path):
    for name, hits in {"ours": (1, 0, 1, 0), "theirs": (1, 1, 1, 0)}.items():
        rows = [{"qid": i, "vid": f"v{i}", "video": f"v{i}", "MR-full-mAP": hit} for i, hit in enumerate(hits)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = verdict.paired(tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl", "MR-full-mAP")
    text = "MR-full-mAP -25.00 [-104.56, +54.56]*, such a pair resolves ±79.56"
    assert verdict.paired_text(found, "*") == text
    assert verdict.paired(tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl", "HL-min-VeryGood-mAP") is None
