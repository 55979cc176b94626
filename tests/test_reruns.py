"""docs/reruns.md, line by line: the workflow runs for real after each change, and its work is counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_workflow import NEW_VID, STAGES, VIDS, Workflow, make_videos
from test_floors import HEAVY

MATRIX = Path(__file__).resolve().parents[1] / "docs" / "reruns.md"
TRAIN_VIDS = [VIDS[0], VIDS[1], VIDS[3], VIDS[4]]
FEATURES = [f"results/features/qvhighlights/{reader}/00000.json" for reader in ("frames224", "sound", "words")]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished workflow, to be copied, and the work it took."""
    folder = tmp_path_factory.mktemp("reruns")
    workflow = Workflow(folder / "finished", make_videos(folder / "videos")).prepare()
    return workflow, workflow.run()


def change_words(workflow):
    workflow.own_code()
    for path, old, new in [
        ("README.md", "workflow", "work flow"),
        ("config.yaml", "# A comment.", "# Another."),
        ("workflow/rules/segment.smk", '"""Cut the videos', '"""Cut all videos'),
        ("pipeline/video/segment.py", '"""Clip boundaries', '"""Boundaries of clips'),
    ]:
        text = (workflow.folder / path).read_text()
        assert old in text
        workflow.write(path, text.replace(old, new, 1))


def touch(workflow):
    for pattern in ("*.jsonl", "*.csv", "results/resources/*/*", "results/annotations/**/*"):
        for path in workflow.folder.glob(pattern):
            path.touch()


def touch_and_forget(workflow):
    touch(workflow)
    shutil.rmtree(workflow.folder / ".snakemake")


def set_learning_rate(workflow):
    workflow.change_config(lambda config: config["experiments"]["seen"].update(training={"learning_rate": 0.01}))


def set_learning_rate_and_forget(workflow):
    set_learning_rate(workflow)
    shutil.rmtree(workflow.folder / ".snakemake")


def respell_results(workflow):
    text = (workflow.folder / "config.yaml").read_text()
    workflow.write("config.yaml", f"{text}\nresults: ./results/\n")


def set_pann(workflow):
    workflow.change_config(lambda config: config["encoding"]["weights"].update({"pann-cnn14": "random:1"}))


def delete_store(workflow):
    (workflow.results / "features/qvhighlights/2s/clip-vit-b32/00000.h5").unlink()


def change_nothing(workflow):
    pass


def add_video(workflow):
    workflow.annotate([*TRAIN_VIDS, NEW_VID])


CHANGES = {
    "the same command again": (change_nothing, [], {}),
    "README, a comment in config.yaml, a rule's and a module's docstring": (change_words, [], {}),
    "`touch` on sources, downloads and annotations, contents unchanged": (touch, [], {}),
    "the same, and Snakemake's own records lost": (touch_and_forget, [], {}),
    "`./results/` for `results`": (respell_results, [], {}),
    "the learning rate of `seen`": (set_learning_rate, [], {}),
    "the same, and Snakemake's own records lost, too": (set_learning_rate_and_forget, [], {}),
    "PANN's weights": (set_pann, [], {}),
    "one video more, in shard 00000 (asked for: features and the runs of `seen`)": (
        add_video,
        [*FEATURES, "results/runs/seen.1of1.json"],
        {},
    ),
    "the revision of `segment` raised": (change_nothing, [], {"RAISED": "segment"}),
    "the revision of `pann-cnn14` raised": (change_nothing, [], {"RAISED": "pann-cnn14"}),
    "a CLIP store deleted": (delete_store, [], {}),
}


NOTHING_STARTS = {*list(CHANGES)[:3], "`./results/` for `results`"}
ALL_START = {"the same, and Snakemake's own records lost"}
STARTED_FOR_NOTHING = {c: set() for c in NOTHING_STARTS} | {c: {*STAGES} - {"draw"} for c in ALL_START}
"""Stages without work whose jobs Snakemake starts all the same, where it matters."""


def matrix():
    """Change → work, as the document has them."""
    rows = [line.strip("| ").split(" | ") for line in MATRIX.read_text().splitlines() if line.startswith("| ")]
    return dict(rows[1:])


def as_text(work):
    """Counted work as a cell of the document."""
    return ", ".join(f"{name} {count}" for name, count in work.items()) or "none"


@pytest.mark.slow
def test_the_first_run_does_everything_once(first):
    assert as_text(first[1]) == matrix()["the first run"]


@pytest.mark.slow
def test_a_plan_changes_nothing(first, tmp_path):
    workflow = first[0].copy(tmp_path / "case")
    process = workflow.start("-n", RAISED="segment")
    said, _ = process.communicate()
    assert "segment" in said
    assert (workflow.results / "tables/table1.json").is_file()
    assert workflow.run() == {}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_costs_what_the_document_says(first, tmp_path, change):
    make, targets, env = CHANGES[change]
    workflow = first[0].copy(tmp_path / "case")
    make(workflow)
    assert as_text(workflow.run(*targets, **env)) == matrix()[change]
    idle = workflow.imported_by_idle_jobs()
    assert {stage: packages & set(HEAVY) for stage, packages in idle.items() if packages & set(HEAVY)} == {}
    assert set(idle) == STARTED_FOR_NOTHING.get(change, set(idle))


def test_the_document_has_no_line_that_is_not_tested():
    assert list(matrix()) == ["the first run", *CHANGES]
