"""docs/reruns.md, further lines: after a job that failed, and with a method or a family of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import toy_encoder
from changes import (
    A_DEFINITION,
    A_FAMILY,
    A_METHOD,
    ANOTHER_FILE,
    CHANGES,
    add_family,
    add_method,
    as_text,
    costs,
    define_family,
    matrix,
    name_family,
    write_weights,
)
from small_workflow import SECONDS, VIDS

from pipeline import files
from pipeline.features.store import Store

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize("change", [change for change in CHANGES if "fails" in change or "job dies" in change])
def test_after_a_job_that_failed_the_same_command_does_what_the_document_says(finished, tmp_path, change):
    assert costs(finished[0].copy(tmp_path / "case"), change) == matrix()[change]


def test_a_method_of_ones_own_is_one_file_and_one_line_and_retrains_no_other(finished, tmp_path):
    workflow = finished[0].copy(tmp_path / "case")
    add_method(workflow)
    assert as_text(workflow.run()) == matrix()[A_METHOD]
    table = (workflow.results / "tables/table1.csv").read_text()
    assert "method toy, threshold 0.4" in table and table.count("2 epochs, batch 4, learning rate 0.0001") >= 3


def test_a_family_of_ones_own_is_one_entry_and_one_class_and_encodes_no_other(finished, tmp_path):
    workflow = finished[0].copy(tmp_path / "case")
    add_family(workflow)
    assert as_text(workflow.run()) == matrix()[A_FAMILY]
    table = (workflow.results / "tables/table1.csv").read_text()
    assert "toy-mean + toy-spread + clip-text" in table
    for family, statistic in {"toy-mean": "mean", "toy-spread": "std"}.items():
        with Store(sorted((workflow.results / "features/qvhighlights/2s" / family).glob("*.h5"))) as store:
            rows = np.concatenate([store.read(vid) for vid in VIDS])
            assert store.passport.weights == files.sha256(workflow.folder / "toy.safetensors")
            assert rows.shape == (len(VIDS) * SECONDS // 2, toy_encoder.DIM)
            assert rows[:, :3].any() and not rows[:, 3:].any(), statistic


def test_a_family_of_the_config_is_one_line_of_an_experiment_and_its_weight_file_is_watched(finished, tmp_path):
    workflow = finished[0].copy(tmp_path / "case")
    define_family(workflow)
    name_family(workflow)
    process = workflow.start("-n", "table1")
    plan, _ = process.communicate()
    assert process.returncode == 0, plan
    assert "features/qvhighlights/native/00000.json" in plan and "resources/weak-weights/fetch.json" in plan
    assert as_text(workflow.run()) == matrix()[A_DEFINITION]
    card = files.read_json(workflow.results / "runs/seen/all-s2017/card.json")
    assert card["own_families"]["weak"]["model"] == "ViT-S-32-alt"
    assert card["features"]["weak"]["weights"] == files.sha256(workflow.folder / "weak.safetensors")
    assert workflow.run() == {}
    write_weights(workflow, 2)
    assert as_text(workflow.run()) == matrix()[ANOTHER_FILE]
