"""Figures: what is drawn for which experiment, and that the same runs make the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import stage_jobs

pytest.importorskip("matplotlib")

from tiny_benchmark import MODEL, experiment

from pipeline import files, provenance, seal
from pipeline.errors import PipelineError
from pipeline.layout.runs import RunId
from pipeline.manifests import describe
from pipeline.reporting import figures
from pipeline.reporting.figures import panels


def trained(results: Path, runs: list[str], column: str = "MR-full-mAP") -> Path:
    """Write logs and cards as `train` does, with three evaluations a run, and return their manifest."""
    made = []
    for number, run in enumerate(runs):
        folder = results / "runs/tiny" / run
        with files.atomic(folder / "log.csv") as file:
            file.write(f"epoch,total,{column}\n1,9,\n2,8,{30 + number}\n3,7,\n4,6,{40 + number}\n6,5,{35 + number}\n")
        values = {"selected": {"epoch": 4, "value": 40.0 + number}, "last": {"epoch": 6, "value": 35.0 + number}}
        files.write_json(folder / "card.json", values)
        made += [folder / "log.csv", folder / "card.json"]
    manifest = results / "runs/tiny.1of1.json"
    provenance.run_stage("train", manifest, lambda: provenance.Outcome(made), settings={})
    return manifest


def redrawn(results: Path, settings, runs: Path) -> bool:
    """Tell whether there was work."""
    made, asked = results / "figures/tiny.json", {"experiment": settings}
    return stage_jobs.run("draw", results, made, {"runs": runs}, asked, experiment="tiny")


def drawn(results: Path, settings) -> Path:
    manifest = results / "figures/tiny.json"
    redrawn(results, settings, trained(results, settings.runs))
    return manifest


def test_a_panel_holds_the_seeds_of_one_point():
    settings = experiment(seeds=[0, 1], sweep=points("a", "b"))
    assert panels(settings) == {"a": ["a-all-s0", "a-all-s1"], "b": ["b-all-s0", "b-all-s1"]}


def points(*names: str) -> dict:
    return {name: {"model": MODEL.model_dump(), "training": {}} for name in names}


def test_every_seed_has_a_curve(tmp_path):
    drawn(tmp_path, experiment(seeds=[0, 1]))
    text = (tmp_path / "figures/tiny.svg").read_text()
    assert text.startswith("<?xml") and text.count('<g id="line2d_') > 2
    assert not (tmp_path / "figures/tiny-sweep.svg").exists()


def test_the_same_runs_make_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        drawn(tmp_path / folder, experiment(seeds=[0, 1]))
    one, two = ((tmp_path / folder / "figures/tiny.svg").read_bytes() for folder in ("one", "two"))
    assert one == two


def test_a_sweep_over_numbers_is_drawn_against_them_and_one_over_names_is_not(tmp_path):
    drawn(tmp_path / "numbers", experiment(sweep=points("0", "0.3", "1")))
    drawn(tmp_path / "names", experiment(sweep=points("a", "b")))
    assert (tmp_path / "numbers/figures/tiny-sweep.svg").is_file()
    assert not (tmp_path / "names/figures/tiny-sweep.svg").exists()


def test_text_is_text_and_says_what_people_know(tmp_path):
    lines = {"table": 4, "row": "({point})", "report": "val", "seeds": [0, 1], "sweep": points("a", "j")}
    drawn(tmp_path, experiment(dataset="qvhighlights", **lines))
    text = (tmp_path / "figures/tiny.svg").read_text()
    for words in ("(a)", "(j)", "mAP Avg. on val, %", "mean of 2 seeds", "published", "epoch"):
        assert f">{words}</text>" in text
    assert "MR-full-mAP" not in text
    assert "a-all" not in text


def test_the_published_number_stands_beside_a_curve_where_the_paper_reports_val():
    on_val = experiment(dataset="qvhighlights", table=4, row="({point})", report="val", sweep=points("a", "j"))
    assert figures.published_beside(on_val, RunId(0, point="j")) == 45.09
    assert figures.published_beside(on_val, RunId(0, point="a")) == 38.03
    on_test = experiment(dataset="qvhighlights", table=1, row="TR-DETR V", report="test")
    assert figures.published_beside(on_test, RunId(0)) is None
    of_test = experiment(dataset="qvhighlights", table=1, row="TR-DETR V", report="val")  # Table 1 prints test alone
    assert figures.published_beside(of_test, RunId(0)) is None
    beyond = experiment(dataset="tvsum", table=3, row="CG-DETR V", report="val")
    assert figures.published_beside(beyond, RunId(0, domain="VT")) == 86.9


def test_a_run_without_training_is_said_to_be_one_and_has_no_empty_axis(tmp_path):
    manifest = trained(tmp_path, ["all-s0", "all-s1"])
    # A run of 0 epochs leaves one empty line.
    for run, log in (("all-s0", "epoch,total,MR-full-mAP\n"), ("all-s1", "\n")):
        (tmp_path / "runs/tiny" / run / "log.csv").write_text(log)
    listed = files.read_json(manifest)
    listed["files"] = [describe(Path(entry["path"])) for entry in listed["files"]]
    files.write_json(manifest, seal.sealed(listed))
    redrawn(tmp_path, experiment(seeds=[0, 1]), manifest)
    assert ">not trained: 0 epochs</text>" in (tmp_path / "figures/tiny.svg").read_text()


def test_a_sweep_says_which_keys_it_changes():
    weights = {"a": 0.1, "b": 0.3}
    sweep = {
        name: {"model": {"loss_weights": {"global_alignment": value}}, "training": {}}
        for name, value in weights.items()
    }
    assert figures.keys_of_sweep(experiment(sweep=sweep)) == "loss_weights.global_alignment"


def test_a_figure_that_stands_is_not_drawn_again(tmp_path):
    settings = experiment()
    drawn(tmp_path, settings)
    assert redrawn(tmp_path, settings, tmp_path / "runs/tiny.1of1.json") is False


def test_a_sweep_over_numbers_is_drawn_by_their_size(tmp_path):
    for name, order in {"a": ("1.0", "0.5", "10"), "b": ("0.5", "1.0", "10")}.items():
        settings = experiment(sweep=points(*order))
        redrawn(tmp_path / name, settings, trained(tmp_path / name, sorted(settings.runs)))
    a, b = ((tmp_path / name / "figures/tiny-sweep.svg").read_bytes() for name in "ab")
    assert a == b


def test_a_run_without_a_log_is_named(tmp_path):
    manifest = trained(tmp_path, ["all-s0"])
    with pytest.raises(PipelineError, match=r"tiny: no log\.csv of all-s1 "):
        redrawn(tmp_path, experiment(seeds=[0, 1]), manifest)
