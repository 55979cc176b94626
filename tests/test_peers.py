"""The other methods: their rows, the tables that show them, and the comparisons in pairs."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path

import pytest
import yaml
from made_results import Results, experiment, qvh_metrics, under

from pipeline import config
from pipeline.acquire import sources
from pipeline.errors import PipelineError
from pipeline.reporting import forms, published

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
    2: "UMT VGG+A, QD-DETR VGG, QD-DETR VGG+A, QD-DETR I3D, QD-DETR SF+C, UniVTG SF+C, CG-DETR VGG, CG-DETR SF+C",
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


def test_a_row_whose_authors_released_no_options_says_so_in_its_note(shipped):
    of_charades = [e for e in shipped.experiments.values() if e.table == 2 and e.source != "predictions"]
    without = [e for e in of_charades if e.model.name in ("tr_detr", "qd_detr")]
    assert len(without) == 16
    assert all("options for this dataset were " in (e.note or "") for e in without)
    assert not [e.row for e in of_charades if e not in without and "options for this dataset" in (e.note or "")]
    audio = [e for e in shipped.experiments.values() if e.table == 3 and e.row == "TR-DETR V+A"]
    assert [e.note for e in audio if "16 pairs of loss weights" not in (e.note or "")] == []


def test_a_row_from_raw_and_from_an_archive_differ_in_their_features_alone(shipped):
    def rest(name):
        return shipped.experiments[name].model_dump(exclude={"source", "archive", "features"})

    named = {
        name: f"{name}_released" if f"{name}_released" in shipped.peers else f"{name}_raw" for name in shipped.peers
    }
    pairs = [(a, b) for a, b in named.items() if b in shipped.peers]
    assert len(pairs) >= 18
    assert [a for a, b in pairs if rest(a) != rest(b)] == []


def test_only_cg_detr_looks_up_the_last_word_of_a_sentence_with_its_full_stop(shipped):
    words = {name: e.features.text for name, e in shipped.experiments.items() if e.features}
    kept = {name for name, text in words.items() if text == "glove-6b-300d-kept-stop"}
    assert kept == {"cg_detr_charades_vgg", "cg_detr_charades_vgg_released"}


NOTED = {
    "cg_detr_charades_sf_clip": "selects the epoch by the mean of R1@0.5 and R1@0.7, and here",
    "cg_detr_charades_vgg": "selects the epoch by the mean of R1@0.5 and R1@0.7, and here",
    "univtg_charades_sf_clip": "selects the epoch by R1@0.3, and here it",
    "umt_charades_vgg_audio": "UMT read the original sentences",
    "qd_detr_charades_i3d": "the words (GloVe) are those of TR-DETR here",
}
"""Experiment of Table 2 -> what differs from its authors' protocol or was chosen here, which its note has to say."""


@pytest.mark.parametrize("name", NOTED)
def test_a_row_says_where_it_departs_from_the_protocol_of_its_authors(shipped, name):
    for each in (name, f"{name}_released"):
        assert NOTED[name] in shipped.experiments[each].note
    assert shipped.experiments[name].about.selected_by_label == "mAP Avg."


def test_every_released_file_of_qd_detrs_rows_says_that_the_weights_of_the_published_row_were_lost(shipped):
    for name in ("released_qd_detr_val", "released_qd_detr_va_val"):
        assert "not the weights of the published row, which were lost" in shipped.experiments[name].note


def test_univtg_is_evaluated_on_charades_sta_as_in_the_one_copy_of_its_options(shipped):
    training = shipped.experiments["univtg_charades_sf_clip"].training
    assert (training.evaluate_every, training.evaluation_batch_size) == (1, 4)


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


def test_a_run_stands_beside_the_released_predictions_of_its_own_split(results):
    """The first released file of the authors is val, and the second is test. Our run on test is compared with the
    second."""
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
    """Write the CSV file of one seed. Every domain has the same curve, except those that are named."""
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


def test_networks_with_nearly_equal_scores_are_counted_also_if_no_training_has_ended(study):
    ended = {("BK-s0", "selected"): 0.0005, ("BK-s0", "last"): 0.25, ("VT-s0", "last"): 0.75}
    *_, first, second = study.nearly_equal({"umt_va": ended, "cg_detr_v": {("VU-s1", "selected"): 0.3}, "x": {}})
    assert first == "| umt_va | 1 of 1 (BK 1) | 0 of 2 | 0.5 |"
    assert second == "| cg_detr_v | 0 of 1 | 0 of 0 |  |"


def test_the_figures_of_the_page_are_those_of_the_curves_beside_it(study):
    """The counts of equal scores are not compared, because they need the annotations, nor are the times."""
    page = (ROOT / "docs/peers.md").read_text(encoding="utf-8").splitlines()
    folders = {"tr_detr_v": ROOT / "docs/table3/v", "tr_detr_va": ROOT / "docs/table3/va"}
    folders |= {name: ROOT / f"docs/peers/{name}" for name in study.names_in(ROOT / "docs/peers")}
    found = {name: study.read(folders[name].parent.glob(f"{folders[name].name}-s*.csv")) for name in study.ROW_OF}
    lines = "\n".join(study.page(found, {}, dict.fromkeys(DOMAINS, -1.0))).splitlines()
    assert len(lines) > 60
    made = [line.rpartition(" | ")[0] if line.endswith(" |  |") else line for line in lines if line[:1] in ("|", "#")]
    shown = {*page, *(line.rpartition(" | ")[0] for line in page)}
    assert [line for line in made if line not in shown and not line.startswith("| equal scores")] == []


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
