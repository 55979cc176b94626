"""Names in a config that match no source are reported together, with their keys, before anything is planned."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from made_configs import shipped, small

from pipeline import config
from pipeline.acquire import references, sources
from pipeline.errors import PipelineError

ROOT = Path(__file__).resolve().parents[1]


def check(raw):
    references.check(config.load(raw), sources.load(), "config.yaml")


def tvsum(change=None, **experiment):
    raw = small(**experiment)
    raw["datasets"]["tvsum"] = {
        "annotations": {"train": "tvsum-train", "val": "tvsum-val"},
        "videos": ["tvsum-videos"],
        **(change or {}),
    }
    return raw


@pytest.mark.parametrize("path", ["config.yaml", "docs/table3/study.yaml"])
def test_our_configs_name_what_there_is(path):
    check(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            tvsum(report="test"),
            r"`datasets.tvsum.annotations.test` is missing, and `experiments.one` has `report: test`",
        ),
        (
            tvsum({"annotations": {"val": "tvsum-val"}}),
            r"`datasets.tvsum.annotations.train` is missing, and `experiments.one` trains",
        ),
        (
            tvsum({"annotations": {"train": "tvsum-train", "val": "tvsum-vall"}}),
            r"`datasets.tvsum.annotations.val`: no source 'tvsum-vall', but tvsum-val",
        ),
        (tvsum({"videos": ["youtub"]}), r"`datasets.tvsum.videos.0`: no source 'youtub', but youtube"),
        (
            tvsum({"videos": ["tvsum-val"]}),
            r"`datasets.tvsum.videos.0`: source 'tvsum-val' is of kind file, not archive or video or youtube",
        ),
        (
            tvsum(source="features", archive="umt-tvsum-feature"),
            r"`experiments.one.archive`: no source 'umt-tvsum-feature', but umt-tvsum-features",
        ),
        (
            tvsum(source="predictions", predictions={"val": "tvsum-videos"}),
            r"`experiments.one.predictions.val`: source 'tvsum-videos' is of kind archive, not file",
        ),
        (
            tvsum() | {"encoding": {"weights": {"clip-vit-b33": "random:0"}}},
            r"`encoding.weights.clip-vit-b33`: no family has such weights, but clip-vit-b32",
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_told_by_its_key_with_its_neighbours(raw, message):
    with pytest.raises(PipelineError, match=message) as caught:
        check(raw)
    assert "\n" not in str(caught.value)


def test_all_of_them_are_told_at_once():
    raw = tvsum({"videos": ["youtub"], "annotations": {"train": "a", "val": "b"}})
    with pytest.raises(PipelineError) as caught:
        check(raw)
    assert str(caught.value).count("no source") == 3


def test_released_predictions_need_only_the_annotations_they_are_scored_by():
    raw = shipped()
    raw["experiments"] = {name: e for name, e in raw["experiments"].items() if name == "released_test_predictions"}
    raw["datasets"] = {"qvhighlights": {"annotations": {"test": "qvhighlights-test"}}}
    check(raw | {"peers": []})


def test_weights_that_nobody_fetches_need_no_source(tmp_path):
    rows = sources.PACKAGED.read_text(encoding="utf-8").splitlines()
    table = tmp_path / "sources.csv"
    table.write_text("\n".join(row for row in rows if not row.startswith("clip-vit-b32,")) + "\n")
    raw = tvsum()
    with pytest.raises(PipelineError, match=r"`experiments.one.features \(clip-vit-b32\)`: no source 'clip-vit-b32'"):
        references.check(config.load(raw), sources.load(table), "config.yaml")
    raw["encoding"] = {"weights": {"clip-vit-b32": "random:0"}}
    references.check(config.load(raw), sources.load(table), "config.yaml")
