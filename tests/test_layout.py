"""One module knows where everything lies and what a run is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.layout import EPOCHS, MANIFESTS, Layout, MetricsFile, PredictionFile, RunId, StorePlace, run_of_log

RUNS = {
    "all-s2017": RunId(2017),
    "VT-s0": RunId(0, "VT"),
    "a-all-s1": RunId(1, point="a"),
    "0.25-GA-s9223372036854775807": RunId(2**63 - 1, "GA", "0.25"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_and_its_name_say_the_same(name):
    assert RunId.parse(name) == RUNS[name]
    assert str(RUNS[name]) == name


@pytest.mark.parametrize("name", ["", "all", "all-2017", "s2017", "a-b-all-s1", "all-s-1", "../all-s1", "all-s1/x"])
def test_what_is_no_name_of_a_run_is_refused(name):
    with pytest.raises(PipelineError, match="not the name of a run"):
        RunId.parse(name)


def test_runs_that_differ_only_in_the_seed_share_the_rest_of_their_name():
    assert {RunId(seed, "VT", "0.5").without_seed for seed in (0, 1, 2017)} == {"0.5-VT"}


def test_the_place_of_a_prediction_or_metrics_file_says_whose_it_is():
    layout = Layout(Path("somewhere/results"))
    for epoch in EPOCHS:
        predicted = layout.predictions("x", "0.5-all-s1", "val", epoch)
        scored = layout.metrics("x", "0.5-all-s1", "val", epoch)
        assert PredictionFile.of(predicted) == PredictionFile("x", "0.5-all-s1", "val", epoch)
        assert MetricsFile.of(scored) == MetricsFile("x", "0.5-all-s1", "val", epoch)
    assert PredictionFile.of(layout.log("x", "all-s1")) is None
    assert MetricsFile.of(scored.with_suffix(".queries.jsonl")) is None
    assert run_of_log(layout.log("x", "all-s1")) == ("x", "all-s1")


def test_a_store_is_found_by_the_whole_names_of_its_folders_never_by_a_part_of_a_path():
    layout = Layout(Path("results/2s/clip-vit-b32"))  # a results folder that is named like a family's
    places = [
        StorePlace("clip-vit-b32", "2s"),
        StorePlace("clip-vit-b32", "1s"),
        StorePlace("clip-vit-b32", "2s", "archive"),
        StorePlace("clip-text", "tokens"),
    ]
    paths = {place: layout.store("qvhighlights", place, "00000") for place in places}
    for place, path in paths.items():
        assert place.stores_among([*paths.values(), path.with_suffix(".csv")]) == [path]


def test_every_manifest_that_exists_is_found(tmp_path):
    layout = Layout(tmp_path)
    values = {"name": "n", "dataset": "d", "split": "val", "shard": "00000", "reader": "sound"}
    values |= {"experiment": "e", "part": "1of1", "table": "table1"}
    made = {layout.manifest(kind, **values) for kind in MANIFESTS}
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    layout.account("d", "00000").touch()
    assert set(layout.manifests()) == made
