"""Configs that cannot work: every key with such a value is refused when the config is read."""

from __future__ import annotations

import copy
from fractions import Fraction
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pipeline import config
from pipeline.acquire import sources
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.grids import GRIDS, grid_seconds
from pipeline.reporting import feasible
from pipeline.video.frame_grid import SAMPLINGS

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
SF_CLIP = {"video": ["slowfast-r50-caffe2", "clip-vit-b32"], "text": "clip-text"}


def read(raw):
    cfg = config.load(raw)
    feasible.check(cfg, sources.load(), "config.yaml")
    return cfg


def changed(place, value):
    """Return the shipped config with another value at a dotted place. The value `...` removes the key."""
    raw = copy.deepcopy(SHIPPED)
    *way, last = place.split(".")
    section = raw
    for key in way:
        section = section.setdefault(key, {})
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return raw


@pytest.mark.parametrize("path", ["config.yaml", "docs/table3/study.yaml"])
def test_our_configs_can_work(path):
    read(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")))


FILL = {"archive": "umt-tvsum-features", "beside": ["pann-cnn14"]}
FILL_QVH = {"archive": "glove-6b", "beside": ["slowfast-r50-caffe2", "clip-vit-b32", "pann-cnn14"]}
QVHIGHLIGHTS = SHIPPED["datasets"]["qvhighlights"]
MATRIX = [
    # an experiment: the table of another dataset
    *(
        (f"experiments.{name}.table", table, rf"`experiments.{name}.table` is {table}, a table of \w+, and `dataset`")
        for name, tables in {"tvsum_v": (1, 2, 4), "qvhighlights_v": (2, 3), "charades_i3d": (1, 3, 4)}.items()
        for table in tables
    ),
    ("experiments.qvhighlights_v.table", 5, r"`experiments.qvhighlights_v.table`: Input should be 1, 2, 3 or 4"),
    ("experiments.qvhighlights_v.table", ..., r"`row` is 'TR-DETR V' and no `table` is named"),
    ("experiments.qvhighlights_v.row", "TR-DETR X", r"Table 1 has no row 'TR-DETR X'"),
    ("experiments.qvhighlights_v.row", ..., r"Table 1 has no row ''"),
    ("experiments.ablation.sweep", {"k": {}}, r"Table 4 has no row '\(k\)'"),
    ("experiments.tvsum_v.dataset", "charades_sta", r"`experiments.tvsum_v.table` is 3, a table of tvsum"),
    ("experiments.tvsum_v.dataset", "activitynet", r"`experiments.tvsum_v.dataset`: no such dataset; known are qvh"),
    ("datasets.tvsum", ..., r"`experiments.tvsum_v.dataset`: tvsum has no section under `datasets`; there are qvh"),
    ("experiments.tvsum_v.report", "test", r"`datasets.tvsum.annotations.test` is missing"),
    ("experiments.tvsum_v.archive", "umt-tvsum", r"no source 'umt-tvsum', but umt-tvsum-features"),
    ("experiments.tvsum_v.source", "raw", r"reads no `archive`"),
    ("experiments.tvsum_v_raw.source", "features", r"needs `archive: NAME`"),
    ("experiments.tvsum_v.domains", ["BK", "BK"], r"named twice"),
    ("experiments.qvhighlights_v.domains", ["BK"], r"`domains` belong to tvsum, and `dataset` is qvhighlights"),
    ("experiments.released_test_predictions.sweep", {"a": {}}, r"trains nothing that a `sweep` could change"),
    ("experiments.released_test_predictions.report", "val", r"needs `predictions: \{val: NAME\}`"),
    ("experiments.qvhighlights_v.sweep", {True: {}}, r"YAML reads a point's name as True; write the name in quotes"),
    ("experiments.qvhighlights_v.sweep", {0.1: {}, "0.1": {}}, r"two points have the same name"),
    ("experiments.qvhighlights_v.seeds", [1, 1], r"named twice"),
    ("experiments.qvhighlights_v.seeds", [], r"seeds`"),
    # families: where they cannot be made, on two grids, on one that nobody rated
    ("experiments.charades_vgg.features.video", ["vgg16-imagenet", "clip-vit-b32"], r"are on different grids"),
    ("experiments.charades_sf_clip.features.audio", ["pann-cnn14-centred"], r"are on different grids"),
    ("experiments.qvhighlights_v.features", {"video": ["vgg16-imagenet"]}, r"vgg16-imagenet is made on the grid 1-6s"),
    ("datasets.charades_sta.grids.vgg16-imagenet", ..., r"made on the grid 1-6s only, and `datasets.charades_sta`"),
    ("datasets.charades_sta.grids.vgg16-imagenet", "2s", r"is 2s, and this family exists only on 1-6s"),
    ("datasets.charades_sta.grids.clip-text", "2s", r"`grids.clip-text` is 2s, and this family exists only on tokens"),
    ("datasets.charades_sta.grids.clip-vit", "2s", r"no such family"),
    ("datasets.qvhighlights.grids", dict.fromkeys(SF_CLIP["video"], "1s"), r"are on the grid 1s, and the clips of"),
    ("datasets.qvhighlights.clip", "1s", r"`datasets.qvhighlights.clip` is 1s; the clips of qvhighlights that people"),
    ("datasets.tvsum.clip", "0.5s", r"`datasets.tvsum.clip` is 0.5s"),
    ("experiments.tvsum_v.features", SF_CLIP, r"no released archive of tvsum holds slowfast-r50-caffe2; they hold"),
    ("experiments.qvhighlights_v.features.video", ["clip-vit-b32", "clip-vit-b32"], r"clip-vit-b32 is named twice"),
    ("experiments.qvhighlights_v.features.video", [], r"features.video`"),
    ("experiments.qvhighlights_v.features.video", ["clip-text"], r"clip-text is none of `video`"),
    ("experiments.qvhighlights_v.features.video", ["vgg16-charades"], r"is released only"),
    # settings that nothing reads
    ("experiments.tvsum_v.model.loss_weights.span", 99, r"`model.loss_weights.span` is read by nothing on tvsum"),
    (
        "experiments.qvhighlights_v",
        {
            **SHIPPED["experiments"]["qvhighlights_v"],
            "model": {"alignment": False, "loss_weights": {"global_alignment": 9}},
        },
        r"loss_weights.global_alignment` is 9 and is never read, because `model.alignment` is false",
    ),
    ("experiments.qvhighlights_v.model", {"formulation": "paper", "plain_masks": True}, r"leave out `plain_masks`"),
    ("experiments.qvhighlights_v.model", {"heads": 3}, r"`heads` must divide `hidden_dim`"),
    # a dataset
    ("datasets.tvsum.annotations.train", ..., r"`datasets.tvsum.annotations.train` is missing"),
    ("datasets.tvsum.annotations.val", "tvsum-videos", r"is of kind archive, not file"),
    ("datasets.tvsum.annotations.dev", "tvsum-val", r"annotations.dev"),
    ("datasets.tvsum.videos", ["nowhere"], r"no source 'nowhere'"),
    ("datasets.tvsum.shards", 0, r"`datasets.tvsum.shards`"),
    ("datasets.tvsum.shards", 100_001, r"`datasets.tvsum.shards`.*less than or equal to 100000"),
    ("datasets.tvsum.skip", ["a", "a"], r"`skip` names a vid twice"),
    ("datasets.tvsum.missing", "ignore", r"`datasets.tvsum.missing`: Input should be 'fail', 'skip' or 'fill'"),
    ("datasets.tvsum.missing", "fill", r"`missing: fill` needs `fill: \{archive: NAME, beside:"),
    ("datasets.tvsum.fill", FILL, r"and `fill` needs `missing: fill`"),
    ("datasets.qvhighlights", QVHIGHLIGHTS | {"missing": "fill", "fill": FILL},
     r"`datasets.qvhighlights.fill.beside` does not permit it for slowfast-r50-caffe2, clip-vit-b32"),
    ("datasets.qvhighlights", QVHIGHLIGHTS | {"missing": "fill", "fill": FILL_QVH | {"archive": "nowhere"}},
     r"`datasets.qvhighlights.fill.archive`: no source 'nowhere'"),
    ("datasets.qvhighlights", QVHIGHLIGHTS | {"missing": "fill", "fill": FILL_QVH | {"beside": []}}, r"fill.beside"),
    ("acquire.mirror", "ftp://host/mirror", r"`acquire.mirror`.*http or https address, or the name of a folder"),
    ("acquire.connections", 100, r"`acquire.connections`"),
    ("acquire.requests_per_minute", {"host": 0}, r"requests_per_minute"),
    ("encoding.weights", {"clip": "random:0"}, r"no family has such weights"),
    ("encoding.weights", {"clip-vit-b32": f"random:{2**63}"}, r"`encoding.weights.clip-vit-b32`: String should match"),
    # numbers that nothing can be computed with, and names that no file can have
    ("acquire.timeout_s", inf, r"`acquire.timeout_s`: Input should be a finite number"),
    ("acquire.timeout_s", 1e10, r"`acquire.timeout_s`: Input should be less than or equal to 1000000"),
    ("encoding.seconds_per_video", 1e10, r"`encoding.seconds_per_video`: Input should be less than or equal to"),
    ("acquire.largest_archive_gb", inf, r"`acquire.largest_archive_gb`: Input should be a finite number"),
    ("training.tvsum.learning_rate", inf, r"`training.tvsum.learning_rate`: Input should be a finite number"),
    ("experiments." + "x" * 101, SHIPPED["experiments"]["qvhighlights_v"], r"x`: String should match pattern"),
    ("experiments.qvhighlights_v.sweep", {"x" * 101: {}}, r"sweep\.x+`: String should match pattern"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "message"), MATRIX)
def test_what_cannot_work_is_refused_when_the_config_is_read(place, value, message):
    with pytest.raises(PipelineError, match=message):
        read(changed(place, value))


def test_an_inherited_alignment_weight_is_no_mistake_of_an_experiment_without_alignment():
    assert (
        not read(changed("experiments.qvhighlights_v.model", {"alignment": False}))
        .experiments["qvhighlights_v"]
        .model.alignment
    )


@pytest.mark.parametrize("family", [name for name, kind in FAMILIES.items() if kind.reader in ("frames224", "native")])
def test_a_family_says_the_one_grid_that_its_frames_can_be_taken_on(family):
    facts = SimpleNamespace(
        path="x", pts=list(range(0, 6000, 40)), time_base=Fraction(1, 1000), duration=Fraction(6), rate=Fraction(25),
        stored_duration=True,
    )  # fmt: skip
    fitting = []
    for grid in GRIDS:
        try:
            SAMPLINGS[FAMILIES[family].sampling](facts, grid_seconds(grid))
        except PipelineError:
            continue
        fitting.append(grid)
    assert fitting == (list(GRIDS) if FAMILIES[family].grid is None else [FAMILIES[family].grid])
