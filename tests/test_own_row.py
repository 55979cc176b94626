"""A row of one's own in a table of the paper: numbers, intervals, paired tests, all forms, and errors."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess

import pytest
from made_predictions import annotation, prediction, write

from pipeline.cli import main
from pipeline.errors import PipelineError
from pipeline.evaluation import compare, score_files
from pipeline.reporting import own_row, published, render
from pipeline.reporting.render_latex import to_latex
from pipeline.reporting.reproduced import METRIC_OF


@pytest.fixture
def files(tmp_path):
    """Return sixty queries of as many videos. The second file is wrong on every third."""
    truth = [annotation(n, [[10, 20]]) for n in range(60)]
    good = [prediction(row, [[10, 20 + n % 4, 0.9]]) for n, row in enumerate(truth)]
    bad = [prediction(row, [[60, 70, 0.9] if n % 3 == 0 else [10, 24, 0.9]]) for n, row in enumerate(truth)]
    rows = {"mine_ & <b>": write(tmp_path / "good.jsonl", good), "theirs": write(tmp_path / "bad.jsonl", bad)}
    return rows, write(tmp_path / "truth.jsonl", truth)


def lines(table, kind):
    return [line for line in table.lines if line.kind == kind]


def test_the_row_has_the_numbers_of_the_scorer_and_the_test_of_compare(files):
    rows, truth = files
    table = own_row.own_table(1, truth, rows, features="V")
    results = [score_files("qvhighlights", path, truth) for path in rows.values()]
    mine, theirs = lines(table, "reproduced")
    brief = results[0].metrics["brief"]
    assert {c: cell.text for c, cell in mine.cells.items()} == {c: f"{brief[m]:.2f}" for c, m in METRIC_OF.items()}
    assert (mine.features, theirs.features) == ("V", "")
    known = {row.metric: row for row in compare(results[0].queries, results[1].queries)}
    (difference,) = lines(table, "difference")
    for column, metric in METRIC_OF.items():
        assert difference.cells[column].plain == f"{known[metric].difference.value:+.2f}".replace("+0.00", "0.00")
    assert difference.cells["mAP Avg."].text.endswith("**")
    low, high = results[0].metrics["intervals"]["percent"]["MR-full-mAP"]
    assert lines(table, "interval")[0].cells["mAP Avg."].text == f"±{(high - low) / 2:.2f}"


def test_a_file_of_other_queries_says_so_and_nothing_is_called_released(files):
    rows, truth = files
    text = render.to_text(own_row.own_table(1, truth, rows))
    assert "60 queries (published: 1,542; not the same queries) of 60 videos" in " ".join(text.split())
    assert "released" not in text


def test_every_form_is_written_and_holds_every_published_row(files, tmp_path):
    rows, truth = files
    made = own_row.write(own_row.own_table(1, truth, rows), tmp_path / "out")
    assert {path.name for path in made} == {f"table1-own.{suffix}" for suffix in ("csv", "md", "tex", "html", "txt")}
    read = list(csv.DictReader(io.StringIO((tmp_path / "out/table1-own.csv").read_text())))
    assert [row["line"] for row in read].count("published") == len(published.table(1))
    assert "mine_ &amp; &lt;b&gt;" in (tmp_path / "out/table1-own.html").read_text()
    assert r"mine\_ \& \textless{}b\textgreater{}" in (tmp_path / "out/table1-own.tex").read_text()


def test_tvsum_is_tested_on_its_average(tmp_path):
    label = [[1.0] * 20, [5.0] * 20, [3.0] * 20, [1.0] * 20, [2.0] * 20, [2.0] * 20]
    vids = {"AwmHb44_ouw": "VT", "EE-bNr36nyA": "BK"}
    truth = [{"qid": v, "vid": v, "query": "q", "duration": 12, "domain": d, "label": label} for v, d in vids.items()]
    paths = {
        name: write(
            tmp_path / f"{name}.jsonl",
            [{"qid": v, "vid": v, "query": "q", "pred_saliency_scores": scores} for v in vids],
        )
        for name, scores in (("a", [1, 9, 5, 0, 2, 3]), ("b", [9, 1, 5, 7, 2, 3]))
    }
    table = own_row.own_table(3, write(tmp_path / "t.jsonl", truth), paths)
    assert set(lines(table, "reproduced")[0].cells) == {"VT", "BK"}
    assert set(lines(table, "difference")[0].cells) == {"Avg."}


def test_a_file_of_another_dataset_is_refused(files):
    rows, truth = files
    with pytest.raises(PipelineError, match="has no `label` → name the tvsum annotations"):
        own_row.own_table(3, truth, rows)


def test_one_command_prints_the_row(files, capsys):
    rows, truth = files
    main(["table", "--row", "My method", "--predictions", str(rows["theirs"]), "--annotations", str(truth)])
    shown = capsys.readouterr().out
    assert "↳ My method" in shown
    with pytest.raises(SystemExit, match="names two rows"):
        main(["table", "--row", "bad", "--predictions", str(rows["theirs"]), "--annotations", str(truth),
              "--against", str(rows["theirs"])])  # fmt: skip


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here")
def test_the_row_compiles_and_fits(files, tmp_path):
    rows, truth = files
    preamble = r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{booktabs,amssymb}\begin{document}"
    body = to_latex(own_row.own_table(1, truth, rows))
    (tmp_path / "t.tex").write_text(f"{preamble}\n{body}\n\\end{{document}}", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-2000:]
    assert "Overfull" not in answer.stdout
