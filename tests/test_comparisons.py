"""The comparisons of a table: how many, what survives Holm's correction, and `compare` gives the same differences."""

from __future__ import annotations

import statistics

import pytest
from made_results import Results, experiment, qvh_metrics, score_domain, tvsum_experiment, under

from pipeline import config
from pipeline.evaluation import compare_files, format_comparison, score_files
from pipeline.evaluation.student import student_t, two_sided_p
from pipeline.reporting import published, tables, verdict
from pipeline.reporting.comparisons import PAIRED, judge, note
from pipeline.reporting.render import half_width
from pipeline.reporting.reproduced import METRIC_OF, Reproduced

SEEDS = (1, 2, 3)


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def values_near(text: str, distance: float) -> list[float]:
    """Return three values with standard deviation 1 whose mean is `distance` away from a printed number."""
    return [float(text) + distance + step for step in (-1, 0, 1)]


def reproduced(row: published.Row, distances: dict[str, float]) -> Reproduced:
    found = Reproduced("mine", experiment(table=1, row=row.key, report="test", seeds=list(SEEDS)), n_queries=1542)
    found.selected = {column: values_near(row.values[column], d) for column, d in distances.items()}
    return found


def row_of(number: int, key: str) -> published.Row:
    return next(row for row in published.table(number) if row.key == key)


def notes_of(table) -> list[str]:
    return [line for line in table.notes if line.startswith("Comparisons")]


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("share", [0.9, 0.999, 1.001, 1.5])
def test_the_p_of_a_verdict_is_below_5_percent_where_it_says_outside(n, share):
    values = [40 + k / 7 for k in range(n)]
    reach = student_t(n - 1) * statistics.stdev(values) * (1 + 1 / n) ** 0.5 + 0.005
    printed = f"{statistics.fmean(values) + share * reach:.2f}"
    outside = verdict.against_runs(printed, values) == verdict.OUTSIDE
    assert outside == (verdict.p_against_runs(printed, values) < 0.05)


def test_runs_that_do_not_differ_leave_no_doubt():
    assert verdict.p_against_runs("42.62", [42.624] * 3) == 1.0
    assert verdict.p_against_runs("42.62", [42.626] * 3) == 0.0


def test_students_p_is_the_tables():
    assert two_sided_p(student_t(4), 4) == pytest.approx(0.05)
    assert two_sided_p(4.781, 9) == pytest.approx(0.001, rel=1e-3)
    assert two_sided_p(0, 3) == 1.0


def test_a_table_counts_its_comparisons_and_marks_what_survives_holms_correction():
    """Student's t with two degrees of freedom: p 0.0026 survives seven comparisons, p 0.036 does not."""
    row = row_of(1, "TR-DETR V")
    found = reproduced(row, dict.fromkeys(METRIC_OF, 0.1) | {"R1@0.5": 22.6, "R1@0.7": 6.0})
    judged = judge({1: {row.key: [found]}})
    one = judged[row.key, "mine"]
    assert [one.verdicts[column] for column in ("R1@0.5", "R1@0.7", "mAP@0.5")] == ["outside", "outside", "within"]
    assert [one.star(column) for column in ("R1@0.5", "R1@0.7", "mAP@0.5")] == ["**", "*", ""]
    (line,) = note(judged)
    assert (
        "made here: 7 (7 verdicts, 0 paired differences). If nothing differed, p < 0.05 would be expected in 0.35"
        in line
    )
    assert line.endswith("correction for all 7: mine R1@0.5.")


def test_the_correction_is_for_all_rows_of_a_table(results):
    """A p that survives a correction for seven comparisons does not survive one for fourteen."""
    row, other = row_of(1, "TR-DETR V"), row_of(1, "TR-DETR V+A")
    shift = dict.fromkeys(METRIC_OF, 0.1) | {"R1@0.5": 15.0}
    alone = judge({1: {row.key: [reproduced(row, shift)]}})
    second = reproduced(other, dict.fromkeys(METRIC_OF, 0.1))
    second.label = "second"
    both = judge({1: {row.key: [reproduced(row, shift)], other.key: [second]}})
    assert tuple(made[row.key, "mine"].star("R1@0.5") for made in (alone, both)) == ("**", "*")


def test_the_stars_stand_behind_the_columns_and_the_count_below(results):
    row = row_of(1, "TR-DETR V")
    for seed, step in zip(SEEDS, (-0.01, 0, 0.01), strict=True):
        metrics = qvh_metrics(0.0)
        metrics["unrounded"]["brief"] = {METRIC_OF[c]: float(row.values[c]) + 5 + step for c in METRIC_OF}
        results.score("qvh_v", f"all-s{seed}", "test-selected", metrics)
    table = results.build("table1", {"qvh_v": experiment(table=1, row=row.key, report="test", seeds=list(SEEDS))})
    (difference,) = under(table, "difference")
    assert difference.remark == f"published is outside: {', '.join(c + '**' for c in METRIC_OF)} (n = 3)"
    (line,) = notes_of(table)
    assert "7 (7 verdicts, 0 paired differences)" in line


def test_a_table_without_comparisons_says_so_and_one_without_numbers_says_nothing(results):
    assert notes_of(tables.build("table1", "Test", {}, [], [])) == []
    results.score("qvh_v", "all-s1", "test-selected", qvh_metrics(60.0))
    table = results.build("table1", {"qvh_v": experiment(table=1, row="TR-DETR V", report="test", seeds=[1])})
    (line,) = notes_of(table)
    assert line.startswith("Comparisons made here: none.")


def test_ten_domains_and_their_mean_are_eleven_comparisons(results):
    for seed in SEEDS:
        for domain in config.DOMAINS:
            score_domain(results, domain, 0.8 + seed / 100, seed=seed)
    table = results.build("table3", {"tvsum_v": tvsum_experiment(table=3, row="TR-DETR V", seeds=list(SEEDS))})
    (line,) = notes_of(table)
    assert "made here: 11 (11 verdicts, 0 paired differences)" in line


@pytest.fixture(scope="module")
def two_files(shared_data, tmp_path_factory):
    """Return Table 4 with the authors' predictions of row (j), and Moment-DETR's as if a run of ours had made them."""
    results = Results(tmp_path_factory.mktemp("results"))
    annotations = shared_data / "annotations/qvhighlights_val.jsonl"
    files = {name: shared_data / f"predictions/{name}_qvhighlights_val.jsonl" for name in ("momentdetr", "trdetr")}
    for path, name, run in ((files["trdetr"], "released", "released"), (files["momentdetr"], "mine", "all-s1")):
        output = results.folder / "metrics" / name / run / "val-selected.json"
        score_files("qvhighlights", path, annotations, output)
        results.scored.append(output)
    shown = {
        "released": experiment(table=4, row="(j)", report="val", source="predictions", predictions={"val": "x"}),
        "mine": experiment(table=4, row="(j)", report="val", seeds=[1]),
    }
    rows = compare_files("qvhighlights", files["momentdetr"], files["trdetr"], annotations)
    return results.build("table4", shown), rows


def test_compare_and_the_table_give_the_same_difference(two_files):
    """R1@0.7: 34.8387 - 51.48 is -16.64, but the authors' predictions give 51.4839, and then it is -16.65."""
    table, rows = two_files
    compared = {row.metric: row for row in rows}
    difference = under(table, "difference")[1]
    for column, metric in METRIC_OF.items():
        shown = difference.cells[column].text
        assert shown == verdict.signed(compared[metric].difference.value, 2)
        assert shown in format_comparison([compared[metric]])
    assert difference.cells["R1@0.7"].text == "-16.65"


def test_the_paired_difference_in_a_tables_note_is_compares_with_its_star_and_resolution(two_files):
    table, rows = two_files
    (row,) = (row for row in rows if row.metric == "MR-full-mAP")
    fact = under(table, "reproduced")[1].facts["note"]
    assert fact == f"seed 1 - released, paired over videos: {verdict.paired_text(row, '**')}"
    assert fact.endswith(f"]**, such a pair resolves ±{row.resolution:.2f}")
    (line,) = notes_of(table)
    assert "made here: 1 (0 verdicts, 1 paired difference)" in line
    assert line.endswith(f"correction for all 1: mine {PAIRED}.")


@pytest.mark.parametrize(
    ("number", "key", "dataset"), [(1, "TR-DETR V", "qvhighlights"), (2, "TR-DETR SF+C", "charades_sta")]
)
def test_the_resolution_names_the_columns_of_its_own_table_only(results, number, key, dataset):
    results.score("mine", "all-s1", "test-selected", qvh_metrics(60.0))
    table = results.build(
        f"table{number}", {"mine": experiment(table=number, row=key, report="test", seeds=[1], dataset=dataset)}
    )
    (line,) = (line for line in table.notes if line.startswith(f"Resolution of the benchmark of Table {number} "))
    named = [column for column in METRIC_OF if f"{column} ±" in line]
    assert named == [column for column in published.columns(number) if column in METRIC_OF]
    assert ("HD mAP" in named) == (number == 1)


@pytest.mark.parametrize(("points", "decimals", "shown"), [(0.0, 2, "none"), (0.004, 2, "none"), (0.04, 1, "none"),
    (0.01, 2, "±0.01")])  # fmt: skip
def test_half_an_interval_of_nothing_is_printed_as_none_in_a_line_too(points, decimals, shown):
    assert half_width(points, decimals).text == shown


@pytest.mark.parametrize(("width", "shown"), [(0.0, "none (all videos are equal)"), (0.004, "none"), (0.02, "±0.01")])
def test_a_resolution_of_nothing_is_printed_as_none(results, width, shown):
    metrics = qvh_metrics(60.0)
    metrics["intervals"]["percent"]["MR-full-R1@0.5"] = [60.0, 60.0 + width]
    results.score("mine", "all-s1", "test-selected", metrics)
    table = results.build("table1", {"mine": experiment(table=1, row="TR-DETR V", report="test", seeds=[1])})
    (line,) = (line for line in table.notes if line.startswith("Resolution"))
    assert f"R1@0.5 {shown}" in line
    assert "±0.00" not in line
