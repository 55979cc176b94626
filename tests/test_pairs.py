"""Pairwise comparison of methods on the same queries, tested by whole videos, in every form of the matrix."""

from __future__ import annotations

import csv
import io
import itertools
import json

import numpy as np
import pytest
import stage_jobs
from made_results import Results, experiment, qvh_metrics, tvsum_experiment

from pipeline import config, files
from pipeline.evaluation import compare_files, score_files
from pipeline.manifests import describe, files_of
from pipeline.reporting import forms, paired_forms, tables
from pipeline.reporting.paired import matrices

DOMAINS = config.DOMAINS


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def queries(results, name, run, file, values, metric="MR-full-mAP", domain=None):
    """Write the scores of one run, query by query. values: qid → 0 to 1. A video is a domain, or a qid's first
    letter."""
    results.score(name, run, file, qvh_metrics(0.0, len(values)))
    rows = [{"qid": qid, "vid": qid, "video": domain or qid[0], metric: value} for qid, value in values.items()]
    path = results.scored[-1].with_suffix(".queries.jsonl")
    path.write_text("".join(json.dumps(row | ({"domain": domain} if domain else {})) + "\n" for row in rows))


def made(results, number, experiments):
    manifest = results.folder / "scored.json"
    files.write_json(manifest, {"stage": "score", "files": [describe(path) for path in results.scored]})
    return {matrix.name: matrix for matrix in matrices(number, "Test", experiments, [manifest])}


def qvh(row, **lines):
    return experiment(table=1, row=row, report="test", **lines)


TEN = {f"{video}{i}": 0.1 for video in "abcdefghij" for i in range(2)}


def test_two_methods_are_compared_by_the_exact_test_over_videos(results):
    better = {qid: value + (0.2 if qid[0] != "a" else -0.1) for qid, value in TEN.items()}
    queries(results, "ours", "all-s1", "test-selected", better)
    queries(results, "theirs", "all-s1", "test-selected", TEN)
    shown = {"ours": qvh("TR-DETR V", seeds=[1]), "theirs": qvh("QD-DETR V", seeds=[1])}
    matrix = made(results, 1, shown)["paired1-test"]
    one, sign = matrix.between("ours", "theirs")
    assert sign == 1
    assert one.difference.value == pytest.approx(17.0)
    # Sums of the ten videos are 0.4 nine times and -0.2: of all sign patterns, the one found, those with that one
    # video's sign flipped, and their opposites are as far from zero.
    sums = [40.0] * 9 + [-20.0]
    flips = [abs(np.dot(signs, sums)) for signs in itertools.product((1, -1), repeat=10)]
    assert one.p == pytest.approx(np.mean([flip >= abs(sum(sums)) - 1e-9 for flip in flips]))
    assert one.smallest_p == pytest.approx(2 / 1024)


def test_the_way_back_has_the_opposite_sign_in_every_form(results):
    queries(results, "ours", "all-s1", "test-selected", {qid: 0.4 + 0.01 * i for i, qid in enumerate(TEN)})
    queries(results, "theirs", "all-s1", "test-selected", TEN)
    matrix = made(results, 1, {"ours": qvh("TR-DETR V", seeds=[1]), "theirs": qvh("QD-DETR V", seeds=[1])})[
        "paired1-test"
    ]
    there, back = list(csv.DictReader(io.StringIO(paired_forms.FORMATS["csv"](matrix))))
    assert (there["row"], there["column"], back["row"]) == ("ours", "theirs", "theirs")
    assert float(there["difference"]) == -float(back["difference"]) > 0
    assert (float(there["low"]), float(there["high"])) == (-float(back["high"]), -float(back["low"]))
    assert float(there["low"]) < float(there["difference"]) < float(there["high"])
    assert there["p"] == back["p"]
    text = paired_forms.FORMATS["md"](matrix)
    assert "| (1) ours | TR-DETR V | 49.50 | – | +39.50 [+" in text
    assert "| (2) theirs | QD-DETR V | 10.00 | −39.50 [−" in text
    for suffix in ("tex", "html", "txt"):
        assert "39.50" in paired_forms.FORMATS[suffix](matrix)


def test_holms_correction_is_over_all_pairs_of_the_matrix(results):
    """The p of a single pair of six videos, 0.0312, is below 0.05. It does not survive the correction for three
    pairs."""
    six = {f"{video}0": 0.1 for video in "abcdef"}
    queries(results, "one", "all-s1", "test-selected", {qid: v + 0.1 for qid, v in six.items()})
    queries(results, "two", "all-s1", "test-selected", six)
    pair = {"one": qvh("TR-DETR V", seeds=[1]), "two": qvh("QD-DETR V", seeds=[1])}
    alone = made(results, 1, pair)["paired1-test"]
    assert alone.survives == {("one", "two")}
    queries(results, "three", "all-s1", "test-selected", six | {"a0": 0.3})
    three = made(results, 1, pair | {"three": qvh("MDETR V", seeds=[1])})["paired1-test"]
    assert not three.survives
    assert three.between("one", "two")[0].p == alone.between("one", "two")[0].p == pytest.approx(1 / 32)
    notes = " ".join(paired_forms.as_table(three).notes)
    assert "Pairs: 3." in notes
    assert "after Holm's correction for all 3: none" in notes
    assert "p 0.031*" in paired_forms.FORMATS["md"](three)
    assert "p 0.031**" in paired_forms.FORMATS["md"](alone)


def test_seeds_enter_as_their_mean_and_a_seed_without_all_domains_not_at_all(results):
    domains = {domain: {f"{domain}": 0.5} for domain in DOMAINS}
    for seed, shift in ((1, 0.0), (2, 0.2)):
        for domain in DOMAINS if seed == 1 else DOMAINS[:-1]:
            queries(results, "v", f"{domain}-s{seed}", "val-selected", {domain: 0.5 + shift}, "top5-mAP", domain)
    for domain in DOMAINS:
        queries(results, "w", f"{domain}-s1", "val-selected", domains[domain], "top5-mAP", domain)
        queries(results, "w", f"{domain}-s2", "val-selected", {domain: 0.9}, "top5-mAP", domain)
    shown = {
        "v": tvsum_experiment(table=3, row="TR-DETR V", seeds=[1, 2]),
        "w": tvsum_experiment(table=3, row="QD-DETR V", seeds=[1, 2], model={"name": "qd_detr"}),
    }
    matrix = made(results, 3, shown)["paired3-val"]
    assert {one.label: (one.seeds, round(one.mean("top5-mAP"), 9)) for one in matrix.contestants} == {
        "v": (1, 50.0),
        "w": (2, 70.0),
    }
    assert matrix.between("w", "v")[0].videos == 10
    assert "all 2^10 ways to flip" in " ".join(paired_forms.as_table(matrix).notes)


def test_where_the_epoch_was_selected_on_the_reported_split_the_last_epoch_has_a_matrix_of_its_own(results):
    for name, selected, last in (("v", 0.9, 0.4), ("w", 0.7, 0.6)):
        for domain in DOMAINS:
            queries(results, name, f"{domain}-s1", "val-selected", {domain: selected}, "top5-mAP", domain)
            queries(results, name, f"{domain}-s1", "val-last", {domain: last}, "top5-mAP", domain)
    shown = {name: tvsum_experiment(table=3, row="TR-DETR V", seeds=[1]) for name in ("v", "w")}
    found = made(results, 3, shown)
    assert set(found) == {"paired3-val", "paired3-val-last"}
    assert found["paired3-val"].between("v", "w")[0].difference.value == pytest.approx(20)
    assert found["paired3-val-last"].between("v", "w")[0].difference.value == pytest.approx(-20)
    assert "too high by its luck; the matrix of the last epoch is paired3-val-last" in " ".join(
        paired_forms.as_table(found["paired3-val"]).notes
    )


def test_what_stands_on_other_queries_is_left_out_and_named(results):
    for name in ("a", "b"):
        queries(results, name, "all-s1", "test-selected", TEN)
    queries(results, "fewer", "all-s1", "test-selected", dict(list(TEN.items())[:-1]))
    shown = {name: qvh("TR-DETR V", seeds=[1]) for name in ("fewer", "a", "b")}
    matrix = made(results, 1, shown)["paired1-test"]
    assert [one.label for one in matrix.contestants] == ["a", "b"]
    text = paired_forms.FORMATS["txt"](matrix)
    said = "fewer is left out, because it was scored on 19 queries, and this matrix is about 20 queries: they are not"
    assert said in " ".join(text.split())


def test_what_has_no_value_of_the_metric_is_left_out_and_named(results):
    for name in ("a", "b"):
        queries(results, name, "all-s1", "test-selected", TEN)
    queries(results, "clips", "all-s1", "test-selected", TEN, "HL-min-VeryGood-mAP")
    shown = {name: qvh("TR-DETR V", seeds=[1]) for name in ("a", "clips", "b")}
    matrix = made(results, 1, shown)["paired1-test"]
    assert [one.label for one in matrix.contestants] == ["a", "b"]
    assert matrix.left_out == ["clips is left out, because its predictions give no value of mAP Avg."]


def domains(results, **of_experiments):
    """Write the scores of one seed of each experiment, domain by domain, and return the matrices of Table 3."""
    for name, scored in of_experiments.items():
        for domain in scored:
            queries(results, name, f"{domain}-s1", "val-selected", {domain: 0.5}, "top5-mAP", domain)
    lines = {"table": 3, "row": "TR-DETR V", "seeds": [1]}
    return made(results, 3, {name: tvsum_experiment(**lines, domains=of) for name, of in of_experiments.items()})


def test_a_mean_over_some_domains_is_not_called_the_papers_mean(results):
    matrix = domains(results, v=["VT", "VU"], w=["VT", "VU"])["paired3-val"]
    assert "row - column, mean over 2 of the 10 domains in points" in matrix.title
    assert matrix.column == "mean of 2"
    assert "With so few videos no p can be below 0.05." in " ".join(paired_forms.as_table(matrix).notes)


def test_experiments_on_one_video_have_no_test_and_those_on_another_video_are_named(results):
    matrix = domains(results, v=["VT"], w=["VT"], x=["VU"])["paired3-val"]
    notes = " ".join(paired_forms.as_table(matrix).notes)
    assert "There is one video, so there is no interval and no p." in notes
    assert "exact" not in notes
    assert "x is left out, because it was scored on 1 video, and this matrix is about 1 video: they are not" in notes


def test_a_matrix_of_the_last_epoch_that_is_not_there_is_not_named(results):
    """Released predictions have no last epoch, so a single trained experiment beside them has nothing to be compared
    with."""
    queries(results, "theirs", "released", "val-selected", TEN)
    for file in ("val-selected", "val-last"):
        queries(results, "ours", "all-s1", file, TEN)
    released = {"source": "predictions", "predictions": {"val": "x"}}
    lines = {"table": 4, "row": "(j)"}
    found = made(results, 4, {"theirs": experiment(**lines, **released), "ours": experiment(**lines, seeds=[1])})
    assert set(found) == {"paired4-val"}
    notes = " ".join(paired_forms.as_table(found["paired4-val"]).notes)
    assert "too high by its luck." in notes
    assert "paired4-val-last" not in notes


def test_methods_that_do_not_differ_and_a_single_one_break_nothing(results):
    queries(results, "a", "all-s1", "test-selected", TEN)
    assert made(results, 1, {"a": qvh("TR-DETR V", seeds=[1])}) == {}
    queries(results, "b", "all-s1", "test-selected", TEN)
    matrix = made(results, 1, {name: qvh("TR-DETR V", seeds=[1]) for name in ("a", "b")})["paired1-test"]
    assert matrix.between("a", "b")[0].p == 1
    for write in paired_forms.FORMATS.values():
        assert "nan" not in write(matrix)


def test_real_predictions_of_two_systems_differ_as_compare_says(shared_data, results):
    truth = shared_data / "annotations/qvhighlights_val.jsonl"
    names = {"ours": "trdetr_qvhighlights_val", "theirs": "momentdetr_qvhighlights_val"}
    shown = {}
    for label, name in names.items():
        output = results.folder / "metrics" / label / "released" / "val-selected.json"
        score_files("qvhighlights", shared_data / f"predictions/{name}.jsonl", truth, output)
        results.scored.append(output)
        lines = {"table": 1, "row": "TR-DETR V", "source": "predictions", "predictions": {"val": "x"}}
        shown[label] = experiment(**lines)
    matrix = made(results, 1, shown)["paired1-val"]
    (expected,) = [
        row
        for row in compare_files(
            "qvhighlights", *(shared_data / f"predictions/{name}.jsonl" for name in names.values()), truth
        )
        if row.metric == "MR-full-mAP"
    ]
    found, _ = matrix.between("ours", "theirs")
    assert (found.difference.value, found.p, found.videos) == (
        pytest.approx(expected.difference.value),
        pytest.approx(expected.p),
        expected.videos,
    )
    assert found.difference.value == pytest.approx(45.09 - 32.20, abs=0.01)


def test_a_table_of_peers_writes_its_matrices_beside_it(results):
    for name in ("ours", "theirs"):
        queries(results, name, "released", "val-selected", TEN)
    lines = {"table": 1, "row": "TR-DETR V", "source": "predictions", "predictions": {"val": "x"}}
    shown = {name: experiment(**lines) for name in ("ours", "theirs")}
    scored, _ = results.manifests(shown)
    manifest = results.folder / "tables/peers1.json"
    job = {"inputs": {"metrics": scored}, "settings": {"title": "Test", "experiments": shown}, "table": "peers1"}
    assert stage_jobs.run("tabulate", results.folder, manifest, **job)
    assert {path.name for path in files_of(manifest)} == {
        f"{name}.{suffix}" for name in ("peers1", "paired1-val") for suffix in forms.FORMATS
    }
    assert "Table 1 in pairs" in tables.texts(manifest)
    assert not stage_jobs.run("tabulate", results.folder, manifest, **job)
    job["settings"]["experiments"] = {"ours": shown["ours"]}
    assert stage_jobs.run("tabulate", results.folder, manifest, **job)
    assert not list(results.folder.glob("tables/paired*"))
