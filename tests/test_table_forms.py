"""A table in its written forms: CSV, Markdown, LaTeX, HTML and text show the same numbers, and break on no text."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
import stage_jobs
from made_results import Results, experiment, qvh_metrics, score_domain, tvsum_experiment, under

from pipeline import config
from pipeline.reporting import render, tables
from pipeline.reporting.page.tables import to_html
from pipeline.reporting.render_latex import to_latex


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


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
    """Return each table with two seeds under TR-DETR's row, so that every column has a spread."""
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
