"""The other methods: their rows, the tables that show them, and the comparisons in pairs."""

from __future__ import annotations

import csv
import importlib
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import stage_jobs
import yaml
from made_results import QVH, Results, experiment, qvh_metrics, tvsum_experiment, under

from pipeline import config, files, provenance
from pipeline.acquire import sources
from pipeline.errors import PipelineError
from pipeline.evaluation import compare_files, score_files
from pipeline.reporting import forms, paired_forms, published, tables
from pipeline.reporting.paired import matrices

ROOT = Path(__file__).resolve().parents[1]
DOMAINS = config.DOMAINS


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


@pytest.fixture(scope="module")
def shipped():
    return config.load(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))


# the rows in config.yaml

ROWS = {
    1: "MDETR V, QD-DETR V, UniVTG V, UMT V+A, QD-DETR V+A, CG-DETR V, EaTR V",
    2: "UMT VGG+A, QD-DETR VGG, QD-DETR VGG+A, QD-DETR I3D, QD-DETR SF+C, UniVTG SF+C, CG-DETR SF+C",
    3: "QD-DETR V, QD-DETR V+A, UniVTG V, UMT V+A, CG-DETR V",
}


@pytest.mark.parametrize("number", ROWS)
@pytest.mark.parametrize("source", ["raw", "features"])
def test_every_row_of_a_method_that_is_trained_here_starts_from_raw_and_from_released_features(shipped, number, source):
    trained = {e.row for n in shipped.peers if (e := shipped.experiments[n]).table == number and e.source == source}
    assert set(ROWS[number].split(", ")) <= trained


def method_of(row: str) -> str:
    return {"MDETR": "moment_detr"}.get(row.split(maxsplit=1)[0], row.split(maxsplit=1)[0].lower().replace("-", "_"))


def test_every_experiment_trains_the_method_of_its_row(shipped):
    trained = [e for e in shipped.experiments.values() if e.row and e.source != "predictions" and not e.sweep]
    assert len(trained) > 40
    assert [e.row for e in trained if e.model.name != method_of(e.row)] == []


def test_a_row_from_raw_and_from_an_archive_differ_in_their_features_alone(shipped):
    def rest(name):
        return shipped.experiments[name].model_dump(exclude={"source", "archive", "features"})

    named = {
        name: f"{name}_released" if f"{name}_released" in shipped.peers else f"{name}_raw" for name in shipped.peers
    }
    pairs = [(a, b) for a, b in named.items() if b in shipped.peers]
    assert len(pairs) >= 18
    assert [a for a, b in pairs if rest(a) != rest(b)] == []


def test_the_tables_of_the_paper_show_no_peer_and_those_of_peers_show_all(shipped):
    for number in (1, 2, 3):
        ours, theirs = shipped.of_table(f"table{number}"), shipped.of_table(f"peers{number}")
        assert not set(ours) & set(shipped.peers)
        assert {*ours, *(n for n in shipped.peers if shipped.experiments[n].table == number)} == set(theirs)
    assert set(shipped.of_table("evidence")) == {"released_test_predictions", "released_val_predictions"}
    assert "ablation" in shipped.of_table("table4")


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        (["qd_detr_tvsum"], "`peers`: there is no experiment 'qd_detr_tvsum', but "),
        (["ablation", "ablation"], "`peers` names ablation twice"),
        (["figure4"], "`peers` names figure4, which is in no table: give `experiments.figure4` its `table`"),
    ],
)
def test_a_peer_that_cannot_be_shown_is_refused_by_name(peers, said):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    with pytest.raises(PipelineError) as refusal:
        config.load(raw | {"peers": peers})
    assert said in str(refusal.value)


METHODS = ("tr_detr", "moment_detr", "qd_detr", "umt", "univtg", "cg_detr", "eatr")
OWN_KEYS = {
    "refinement": "tr_detr",
    "text_mask": "umt",
    "warmup_epochs": "univtg",
    "dummies": "cg_detr",
    "slot_iterations": "eatr",
}


@pytest.mark.parametrize(
    ("method", "key"), [(m, key) for m in METHODS for key, owner in OWN_KEYS.items() if m != owner]
)
def test_a_key_of_another_method_is_refused_by_name(method, key):
    raw = {
        "datasets": {"qvhighlights": {"annotations": {"train": "a", "val": "b"}}},
        "training": {"qvhighlights": {}},
        "experiments": {"one": {**QVH, "model": {"name": method, key: 1}}},
    }
    with pytest.raises(PipelineError, match=rf"`experiments.one.model.{key}` is no key of the method {method}"):
        config.load(raw)


# released predictions


def test_the_released_predictions_of_other_systems_are_known_by_digest(shared_data):
    spec = shared_data.parent / "spec/released-predictions.csv"
    known = {source.digest: source for source in sources.load().by_name.values()}
    with open(spec, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    for row in rows:
        source = known[f"sha256:{row['sha256']}"]
        assert source.n_bytes == int(row["bytes"])
        assert source.addresses[0].endswith(f"{row['repository']}/{row['commit']}/{row['path']}")


# published numbers beyond the paper, and what other publications print


def test_rows_beyond_the_paper_are_complete_and_nothing_marks_them():
    for number in (1, 2, 3):
        for row in published.beyond(number):
            assert list(row.values) == published.columns(number)
            assert row.key not in {one.key for one in published.table(number)}
            assert not row.marks
            assert not any(key == row.key for key, _ in published.computed_marks(number))
    (cg_detr,) = [row for row in published.beyond(3) if row.key == "CG-DETR V"]
    *domains, average = cg_detr.values.values()
    assert float(average) == pytest.approx(sum(map(float, domains)) / 10, abs=0.06)


def test_every_remark_is_about_a_row_and_a_number_that_are_there():
    with open(published.REMARKS, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            (row,) = [row for row in published.known(int(line["table"])) if row.key == line["row"]]
            if line["own"]:
                assert row.values[line["column"]] not in ("", line["own"])
            else:
                assert line["remark"].endswith(".")


def test_with_the_number_of_its_own_publication_the_average_of_univtg_is_right():
    (row,) = [row for row in published.table(3) if row.key == "UniVTG V"]
    own = row.values | {"PR": "81.4"}
    *domains, average = own.values()
    assert float(average) == pytest.approx(sum(map(float, domains)) / 10, abs=0.051)


def test_a_table_keeps_the_papers_number_and_says_what_the_methods_own_publication_prints(results):
    table = results.build("table3", {})
    (cell,) = [line.cells["PR"].text for line in table.lines if line.label == "UniVTG"]
    assert cell == "87.0"
    (note,) = [note for note in table.notes if note.startswith("UniVTG V, PR")]
    assert "the paper prints 87.0, and UniVTG's own publication prints 81.4" in note
    assert not any("CG-DETR" in note for note in table.notes)


def test_rows_beyond_the_paper_stand_below_a_rule_in_the_tables_of_peers_alone(results):
    for number in (1, 2, 3):
        assert not under(results.build(f"table{number}", {}), "group")
        table = results.build(f"peers{number}", {})
        at = [line.kind for line in table.lines].index("group")
        assert table.lines[at].label == "beyond the paper"
        beyond = [f"{line.label} {line.features}" for line in table.lines[at + 1 :] if line.kind == "published"]
        assert beyond == [row.key for row in published.beyond(number)]
    markdown, latex = forms.FORMATS["md"](table), forms.FORMATS["tex"](table)
    assert "| beyond the paper |  |" in markdown
    assert r"{l}{\emph{beyond the paper}} \\" in latex
    assert '<tr class="group">\n<th scope="row">beyond the paper</th>' in forms.FORMATS["html"](table)


def test_a_run_of_a_row_beyond_the_paper_is_compared_with_what_its_own_paper_prints(results):
    results.score("cg", "all-s1", "test-selected", qvh_metrics(60.0))
    lines = {"row": "CG-DETR V", "report": "test", "seeds": [1], "model": {"name": "cg_detr"}}
    table = results.build("table1", {"cg": experiment(table=1, **lines)})
    assert [line.label for line in table.lines[-5:]] == ["beyond the paper", "CG-DETR", "cg", "difference", "cg"]
    assert under(table, "difference")[-1].cells["R1@0.5"].text == "-5.43"
    assert "method cg_detr" in under(table, "reproduced")[-1].facts["settings"]


# pairs


def queries(results, name, run, file, values, metric="MR-full-mAP", domain=None):
    """Scores of one run, query by query. values: qid → 0 to 1; a video is a domain, or a qid's first letter."""
    results.score(name, run, file, qvh_metrics(0.0, len(values)))
    rows = [{"qid": qid, "vid": qid, "video": domain or qid[0], metric: value} for qid, value in values.items()]
    path = results.scored[-1].with_suffix(".queries.jsonl")
    path.write_text("".join(json.dumps(row | ({"domain": domain} if domain else {})) + "\n" for row in rows))


def made(results, number, experiments):
    manifest = results.folder / "scored.json"
    files.write_json(manifest, {"stage": "score", "files": [provenance.describe(path) for path in results.scored]})
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
    """p 0.0312 of a single pair of six videos is below 0.05, and does not survive among three pairs."""
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
    assert "fewer is left out, because it was scored on 19 queries" in paired_forms.FORMATS["txt"](matrix)


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
    assert {path.name for path in provenance.files_of(manifest)} == {
        f"{name}.{suffix}" for name in ("peers1", "paired1-val") for suffix in forms.FORMATS
    }
    assert "Table 1 in pairs" in tables.texts(manifest)
    assert not stage_jobs.run("tabulate", results.folder, manifest, **job)
    job["settings"]["experiments"] = {"ours": shown["ours"]}
    assert stage_jobs.run("tabulate", results.folder, manifest, **job)
    assert not list(results.folder.glob("tables/paired*"))


def test_a_run_stands_beside_the_released_predictions_of_its_own_split(results):
    """The authors released val first and test second: the run on test is compared with those of test."""
    for name, run, split, start, n in (
        ("val", "released", "val", 70.0, 1550),
        ("test", "released", "test", 65.43, 1542),
        ("cg", "all-s1", "test", 60.0, 1542),
    ):
        results.score(name, run, f"{split}-selected", qvh_metrics(start, n))
        rows = [{"qid": q, "vid": q, "video": q, "MR-full-mAP": (start + q) / 100} for q in range(2)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        results.scored[-1].with_suffix(".queries.jsonl").write_text(lines)
    base = {"table": 1, "row": "CG-DETR V"}
    released = {"source": "predictions"}
    shown = {
        "val": experiment(**base, **released, predictions={"val": "x"}),
        "test": experiment(**base, **released, predictions={"test": "y"}, report="test"),
        "cg": experiment(**base, report="test", seeds=[1], model={"name": "cg_detr"}),
    }
    table = results.build("peers1", shown)
    notes = [line.facts["note"] for line in under(table, "reproduced")]
    assert notes[:2] == ["", ""]
    assert notes[2].startswith("seed 1 - test, paired over videos: MR-full-mAP -5.43")


# the study of TVSum


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("peers")


def curves(folder, name, seed, **of_domains):
    """The CSV file of one seed: every domain has the same curve, but those that are named."""
    rows = zip(*(of_domains.get(domain, of_domains["rest"]) for domain in DOMAINS), strict=True)
    lines = [",".join(map(str, [5 * (i + 1), *row])) for i, row in enumerate(rows)]
    (folder / f"{name}-s{seed}.csv").write_text("\n".join([f"epoch,{','.join(DOMAINS)}", *lines]) + "\n")


def test_the_page_of_the_study_says_what_is_best_last_and_level_and_who_stands_at_equal_scores(study, tmp_path):
    curves(tmp_path, "tr_detr_v", 0, rest=[50.0, 80.0, 40.0], BK=[50.0, 80.0, 29.1])
    curves(tmp_path, "tr_detr_v", 1, rest=[50.0, 90.0, 60.0])
    curves(tmp_path, "umt_va", 0, rest=[30.0, 30.0, 30.0])
    found = {name: study.read(tmp_path.glob(f"{name}-s*.csv")) for name in study.names_in(tmp_path)}
    lines = list(study.page(found, {"umt_va": 12.3}, dict.fromkeys(DOMAINS, 36.0) | {"BK": 29.1}))
    last = (9 * 40 + 29.1) / 10
    assert lines[2].startswith(f"| tr_detr_v | 2 | 3 | 85.00 ± 7.07 | {(last + 60) / 2:.2f} ± ")
    assert lines[3] == "| umt_va | 1 | 3 | 30.00 | 30.00 | 30.00 |  | 83.1 | 12 |"
    text = "\n".join(lines)
    assert "| (1) tr_detr_v | TR-DETR V | 85.00 | – | +55.00 [+55.00, +55.00], p 0.002** |" in text
    assert "- tr_detr_v: 1 of 60 (BK 1)" in text
    assert "- umt_va: 0 of 30" in text


def test_a_domain_that_is_still_going_is_taken_as_far_as_it_came(study, tmp_path):
    header = f"epoch,{','.join(DOMAINS)}\n"
    (tmp_path / "v-s0.csv").write_text(header + "5" + ",50.0" * 10 + "\n10" + ",60.0" * 9 + ",\n")
    (tmp_path / "v-s1.csv").write_text(header + "5" + ",50.0" * 9 + ",\n")
    (one,) = study.read(tmp_path.glob("v-s*.csv"))
    assert (one["VT"], one["DS"]) == ([50.0, 60.0], [50.0])


def test_the_studys_config_trains_what_the_shipped_one_trains_for_fewer_epochs(shipped):
    study = config.load(yaml.safe_load((ROOT / "docs/peers/study.yaml").read_text(encoding="utf-8")))
    rows = {e.row: e for n, e in shipped.experiments.items() if e.table == 3 and e.archive and n in shipped.peers}
    for one in study.experiments.values():
        assert (one.model, one.features) == (rows[one.row].model, rows[one.row].features)
        differs = {k for k, v in one.training.model_dump().items() if v != getattr(rows[one.row].training, k)}
        assert differs <= {"epochs", "precision"}
    assert set(rows) == {one.row for one in study.experiments.values()}
