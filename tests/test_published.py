"""published.csv against itself: averages, marks, order, and the rows config.yaml may name."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from made_results import experiment

from pipeline.errors import PipelineError
from pipeline.reporting import published

ROOT = Path(__file__).resolve().parents[1]


def test_every_row_of_the_paper_is_there():
    assert [len(published.table(number)) for number in (1, 2, 3, 4)] == [13, 20, 14, 10]
    with open(published.PUBLISHED, newline="") as file:
        assert len(list(csv.DictReader(file))) == 13 * 7 + 20 * 2 + 14 * 11 + 10 * 11


def test_rows_have_every_column_and_keys_are_unique():
    for number in (1, 2, 3, 4):
        rows = published.table(number)
        assert len({row.key for row in rows}) == len(rows)
        assert len({tuple(row.values) for row in rows}) == 1


@pytest.mark.parametrize(
    ("number", "key", "printed"),
    [
        (1, "TR-DETR V", "64.66 48.96 63.98 43.73 42.62 39.91 63.42"),
        (1, "TR-DETR V+A", "65.05 47.67 64.87 42.98 43.10 39.90 63.88"),
        (2, "TR-DETR VGG+A", "54.49 32.37"),
        (2, "TR-DETR I3D", "55.51 33.66"),
        (3, "TR-DETR V", "89.3 93.0 94.3 85.1 88.0 88.6 80.4 91.3 89.5 81.6 88.1"),
        (4, "(j)", "67.10 51.48 66.27 46.42 45.09 40.55 64.77"),
        (4, "(d)", "58.39 42.71 59.28 39.19 38.76 37.80 58.8"),
    ],
)
def test_tr_detrs_numbers_stand_as_printed(number, key, printed):
    row = next(row for row in published.table(number) if row.key == key)
    assert [row.values[column] for column in published.columns(number)] == printed.split()


def test_table_3s_averages_add_up_but_for_two_rows():
    off = {}
    for row in published.table(3):
        *domains, _ = published.columns(3)
        mean = sum(float(row.values[domain]) for domain in domains) / len(domains)
        if abs(mean - float(row.values["Avg."])) > 0.05 + 1e-9:
            off[row.key] = (row.values["Avg."], round(mean, 2))
    assert off == {"UniVTG V": ("81.0", 81.51), "MINI-Net V+A": ("73.2", 74.93)}


def wrong_marks(number):
    """Return in words where the paper's marks differ from the computed ones. Table 4 marks nothing."""
    computed = published.computed_marks(number)
    return [
        f"Table {number}, {row.key}, {column}: {row.values[column]} is marked {printed or 'not at all'}, "
        f"it is {found or 'neither best nor second'}"
        for row in published.table(number)
        for column in published.columns(number)
        if (printed := row.marks.get(column, "")) != (found := computed.get((row.key, column), ""))
    ]


def test_the_papers_marks_are_right_but_for_three():
    wrong = [complaint for number in (1, 2, 3) for complaint in wrong_marks(number)]
    assert wrong == [
        "Table 2, QD-DETR I3D, R1@0.5: 50.67 is marked not at all, it is second",
        "Table 2, QD-DETR I3D, R1@0.7: 31.02 is marked not at all, it is second",
        "Table 3, QD-DETR V+A, DS: 77.7 is marked second, it is neither best nor second",
    ]


def test_equal_values_share_a_mark():
    marks = published.computed_marks(3)
    assert marks["QD-DETR V", "BK"] == marks["TR-DETR V", "BK"] == "second"


def test_table_4s_switches_say_what_each_setting_has():
    on = {row.key: "".join(row.values[s][0] for s in published.SWITCHES) for row in published.table(4)}
    assert (on["(a)"], on["(g)"], on["(i)"], on["(j)"]) == ("nnnn", "ynyy", "yynn", "yyyy")


@pytest.fixture(scope="module")
def experiments():
    yaml = pytest.importorskip("yaml")
    from pipeline import config

    return config.load(yaml.safe_load((ROOT / "config.yaml").read_text())).experiments


def test_config_names_rows_that_exist(experiments):
    published.check_rows(experiments, "config.yaml")


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        (
            "tvsum_v",
            "TR-DETR  V",
            "`experiments.tvsum_v.row`: Table 3 has no row 'TR-DETR  V', it has 'TR-DETR V'",
        ),
        ("tvsum_v", None, "Table 3 has no row '', it has 'sLSTM V', 'SG V', "),
        ("tvsum_v", "{foo}", "Table 3 has no row '{foo}'"),
        ("ablation", "{point}", "Table 4 has no row 'a', it has '(a)'"),
        ("ablation", "({point})x", "Table 4 has no row '(j)x'"),
    ],
)
def test_a_row_that_no_table_has_is_refused_with_the_closest(experiments, name, row, said):
    changed = experiments[name].model_copy(update={"row": row})
    with pytest.raises(PipelineError) as refusal:
        published.check_rows(experiments | {name: changed}, "config.yaml")
    assert str(refusal.value).startswith("config.yaml: ")
    assert said in str(refusal.value)


def test_a_row_of_another_method_is_refused_and_a_method_without_a_row_is_not():
    def asked(method, row, table=1):
        return {"mine": experiment(table=table, row=row, report="val", model={"name": method})}

    for method, row in (("tr_detr", "QD-DETR V"), ("qd_detr", "MDETR V"), ("moment_detr", "MCN V")):
        with pytest.raises(PipelineError, match=f"`experiments.mine.row` is '{row}', and the method .* is {method},"):
            published.check_rows(asked(method, row), "config.yaml")
    published.check_rows(asked("moment_detr", "MDETR V"), "config.yaml")
    published.check_rows(asked("cg_detr", "CG-DETR V"), "config.yaml")
    published.check_rows(asked("qd_detr", "(j)", table=4), "config.yaml")


def test_without_a_table_no_row_is_asked_for(experiments):
    published.check_rows({"figure4": experiments["figure4"]}, "config.yaml")


def test_a_row_of_one_line_stands_in_its_table_with_empty_columns(tmp_path, monkeypatch):
    text = published.PUBLISHED.read_text(encoding="utf-8") + "1,Mine V,Mine,V,R1@0.5,70.00,\n"
    (tmp_path / "published.csv").write_text(text, encoding="utf-8")
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "published.csv")
    rows = published.table.__wrapped__(1)
    assert rows[-1].values == dict.fromkeys(rows[0].values, "") | {"R1@0.5": "70.00"}
