"""Missing videos: the config decides whether a training refuses them or leaves them out, and tables count them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import stage_jobs
from tiny_benchmark import DATASET, Benchmark, experiment, list_stores

from pipeline import files, records, stage_requests
from pipeline.config_dataset import Fill
from pipeline.errors import PipelineError
from pipeline.features.store import Store
from pipeline.features.store.bulk import read_packed
from pipeline.layout.places import StorePlace
from pipeline.manifests import describe
from pipeline.reporting.tables import build
from pipeline.training import coverage
from pipeline.training.data import open_features

pytestmark = pytest.mark.usefixtures("torch_one_thread")
REASONS = ("missing: no such file", "failed: HTTP 500", "corrupt: cut short", "decoding crashed (SIGSEGV)")


class Lacking(Benchmark):
    """The tiny benchmark with videos that are listed as left out. skipped: vid → reason."""

    def __init__(self, folder, skipped, **dataset):
        super().__init__(folder)
        from tiny_benchmark import VIDEO_DIM, passport, write_store

        self.dataset = DATASET.model_copy(update=dataset)
        with Store([self.stores[0]]) as store:
            kept = {vid: store.read(vid) for vid in store.keys() if vid not in skipped}  # noqa: SIM118
        path = self.results / "features/qvhighlights/2s/clip-vit-b32/00000.h5"
        write_store(path, passport("clip-vit-b32", VIDEO_DIM), kept)
        rows = tuple({"vid": vid, "why": why} for vid, why in skipped.items())
        self.features = [list_stores(self.results / "features/qvhighlights/all/00000.json", self.stores, rows)]

    def go(self, **changes):
        """Train, predict and score on val; the metrics of the run."""
        settings = experiment(training={"epochs": 1}, table=4, row="(j)", **changes)
        made = [self.results / f"{kind}/tiny{end}.json" for kind, end in
                (("runs", ".1of1"), ("predictions", ""), ("metrics", ".val"))]  # fmt: skip
        given = {"experiment": settings, "dataset": self.dataset}
        read = {"annotations": self.annotations.values(), "features": self.features}
        stage_jobs.run("train", self.results, made[0], read, given, experiment="tiny", part="1of1")
        read |= {"annotations": self.annotations["val"], "runs": made[0]}
        stage_jobs.run("predict", self.results, made[1], read, given, experiment="tiny")
        truth = self.results / "annotations/qvhighlights/val.json"
        files.write_json(truth, {"stage": "annotate", "files": [describe(self.annotations["val"])]})
        given = {"experiment": settings, "skip": self.dataset.skip}
        read = {"predictions": made[1], "annotations": truth}
        stage_jobs.run("score", self.results, made[2], read, given, experiment="tiny", split="val")
        table = build("table4", "T", {"tiny": settings}, [made[2]], [made[0]])
        line = next(line for line in table.lines if line.kind == "reproduced")
        return files.read_json(self.results / "metrics/tiny/all-s2017/val-last.json"), line


@pytest.mark.parametrize("why", REASONS)
def test_a_video_that_val_lacks_is_refused_before_training(tmp_path, why):
    benchmark = Lacking(tmp_path, {"v25": why, "v26": why})
    with pytest.raises(PipelineError) as refusal:
        benchmark.go()
    said = str(refusal.value)
    assert "experiment tiny: val lacks 2 videos: v25 (" in said and why in said
    assert "`missing: skip` under `datasets.qvhighlights`" in said
    assert not (benchmark.results / "runs/tiny").exists()


@pytest.mark.parametrize("why", REASONS)
def test_where_the_config_allows_it_the_rest_is_scored_and_the_table_says_on_how_many(tmp_path, capsys, why):
    metrics, line = Lacking(tmp_path, {"v25": why}, missing="skip").go()
    assert metrics["n_queries"]["all"] == 7
    assert metrics["notes"] == ["scored on 7 of 8 queries; not comparable with numbers on all"]
    assert f"train: tiny leaves out 1 of 8 queries of val: v25 ({why})" in capsys.readouterr().out
    assert line.facts["queries"].startswith("7 queries (published")
    assert "scored on 7 of 8 queries; not comparable" in line.facts["note"]


def test_a_config_that_forbids_missing_videos_again_is_obeyed_by_runs_that_are_there(tmp_path):
    benchmark = Lacking(tmp_path, {"v25": "missing: no such file"}, missing="skip")
    benchmark.go()
    weights = benchmark.results / "runs/tiny/all-s2017/selected.safetensors"
    first = [weights.stat().st_mtime_ns, files.read_json(benchmark.results / "runs/tiny.1of1.json")]
    benchmark.dataset = benchmark.dataset.model_copy(update={"missing": "fail"})
    for _ in range(2):
        with pytest.raises(PipelineError, match="val lacks 1 video"):
            benchmark.go()
    benchmark.dataset = benchmark.dataset.model_copy(update={"missing": "skip"})
    benchmark.go()
    assert [weights.stat().st_mtime_ns, files.read_json(benchmark.results / "runs/tiny.1of1.json")] == first


def test_a_config_that_allows_missing_videos_trains_nothing_again(tmp_path):
    benchmark = Lacking(tmp_path, {})
    benchmark.go()
    weights = next((benchmark.results / "runs/tiny/all-s2017").glob("*.safetensors"))
    first = weights.stat().st_mtime_ns
    for missing in ("skip", "fail"):
        benchmark.dataset = benchmark.dataset.model_copy(update={"missing": missing})
        benchmark.go()
        assert weights.stat().st_mtime_ns == first


def test_a_video_that_train_lacks_is_said_and_counted_and_allowed(tmp_path, capsys):
    metrics, line = Lacking(tmp_path, {"v3": "missing: no such file"}).go()
    assert (metrics["n_queries"]["all"], metrics["notes"]) == (8, [])
    assert "leaves out 1 of 24 queries of train: v3 (missing: no such file)" in capsys.readouterr().out
    assert "trained on 23 of 24 queries" in line.facts["note"]


def test_videos_of_another_length_are_left_out_whatever_the_config_says_of_missing_ones(tmp_path):
    why = "length: the video lasts 40.00 s (20 clips of 2s), its annotations say 24.00 s (12 clips)"
    metrics, line = Lacking(tmp_path, {"v25": why, "v3": why}).go()
    assert metrics["n_queries"]["all"] == 7
    assert "scored on 7 of 8 queries" in line.facts["note"] and "trained on 23 of 24" in line.facts["note"]


def test_what_the_config_skips_is_left_out_everywhere_and_counted(tmp_path):
    metrics, line = Lacking(tmp_path, {}, skip=["v25", "v3"]).go()
    assert metrics["n_queries"]["all"] == 7
    assert "scored on 7 of 8 queries" in line.facts["note"] and "trained on 23 of 24" in line.facts["note"]


def test_a_video_that_only_the_reported_split_has_is_refused_before_training(tmp_path):
    benchmark = Lacking(tmp_path, {"t1": "missing: no such file", "t2": "length: other"})
    with pytest.raises(PipelineError, match=r"test lacks 1 video: t1 \(missing"):
        benchmark.go(report="test")
    Lacking(tmp_path / "val", {"t1": "missing: no such file"}).go()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_of_which_nothing_is_left_is_refused(tmp_path, split):
    vids = {f"v{n}": "missing: gone" for n in (range(24) if split == "train" else range(24, 32))}
    with pytest.raises(PipelineError, match=rf"queries of {split} can be used"):
        Lacking(tmp_path, vids, missing="skip").go()


def test_released_predictions_of_skipped_videos_are_not_scored(tmp_path):
    benchmark = Benchmark(tmp_path)
    rows = [{"qid": q.qid, "vid": q.vid, "query": q.query, "pred_relevant_windows": [[0, 2, 0.5]]}
            for q in benchmark.splits["val"]]  # fmt: skip
    records.write_jsonl(tmp_path / "p.jsonl", rows)
    fetched, truth = tmp_path / "fetch.json", tmp_path / "val.json"
    files.write_json(fetched, {"stage": "fetch", "files": [describe(tmp_path / "p.jsonl")]})
    files.write_json(truth, {"stage": "annotate", "files": [describe(benchmark.annotations["val"])]})
    settings = experiment(source="predictions", predictions={"val": "x"})
    read, asked = {"predictions": fetched, "annotations": truth}, {"experiment": settings, "skip": ["v25"]}
    stage_jobs.run("score", tmp_path, tmp_path / "m.json", read, asked, experiment="r", split="val")
    assert files.read_json(tmp_path / "metrics/r/released/val-selected.json")["n_queries"]["all"] == 7


def test_a_domain_of_which_no_video_is_left_is_named_with_those_that_can_be_run(tmp_path):
    paths = {}
    for split, vids in {"train": ["a", "b"], "val": ["c", "d"]}.items():
        rows = [{"qid": vid, "query": "q", "vid": vid, "duration": 4.0, "domain": domain}
                for vid, domain in zip(vids, ("BK", "VT"), strict=True)]  # fmt: skip
        paths[split] = tmp_path / f"{split}.jsonl"
        records.write_jsonl(paths[split], rows)
    stores = {"clip-vit-b32": {"a", "b", "c"}, "clip-text": {"a", "b", "c", "d"}}
    shelf = SimpleNamespace(stores=stores, skipped={"d": "missing: gone"}, filled={})
    settings = experiment(dataset="tvsum", domains=["BK", "VT"])
    read = (DATASET.model_copy(update={"missing": "skip"}), settings.features, shelf, paths)
    with pytest.raises(PipelineError, match=r"no video of val is left of the domains VT → .*`domains: \[BK\]`"):
        coverage.check("x", settings, *read)
    coverage.check("x", experiment(dataset="tvsum", domains=["BK"]), *read)


class Filled(Lacking):
    """The tiny benchmark whose missing videos an archive has: rows of the same videos, from another origin."""

    def __init__(self, folder, skipped, has, dtype="float16", **dataset):
        from tiny_benchmark import VIDEO_DIM, passport, write_store

        with Store([Benchmark(folder).stores[0]]) as store:
            rows = {vid: store.read(vid) for vid in has}
        fill = Fill(archive="old-features", beside=["clip-vit-b32"])
        super().__init__(folder, skipped, missing="fill", fill=fill, **dataset)
        path = self.results / "features/qvhighlights/2s/clip-vit-b32+old-features/00000.h5"
        origin = replace(passport("clip-vit-b32", VIDEO_DIM, dtype=dtype), origin="old-features")
        self.released = write_store(path, origin, rows)
        manifest = self.results / "features/qvhighlights/+old-features.json"
        self.features.append(list_stores(manifest, [path], ({"vid": "v30", "why": "clip-vit-b32: no such file"},)))

    def card(self):
        return files.read_json(self.results / "runs/tiny/all-s2017/card.json")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_archive_fills_exactly_the_missing_videos_and_card_manifest_and_table_say_so(tmp_path, capsys, dtype):
    missing = {"v3": "missing: no such file", "v25": "failed: HTTP 500"}
    benchmark = Filled(tmp_path, missing, [f"v{n}" for n in range(30)], dtype)
    metrics, line = benchmark.go()
    assert metrics["n_queries"]["all"] == 8
    filled = benchmark.card()["filled"]
    assert filled["archive"] == "old-features"
    assert filled["features"]["clip-vit-b32"]["origin"] == "old-features"
    assert filled["vids"] == {"train": ["v3"], "val": ["v25"], "others": []}
    assert files.read_json(benchmark.results / "runs/tiny.1of1.json")["counts"]["filled_videos"] == 2
    assert "released rows of old-features fill 2 missing videos (train 1, val 1, others 0)" in line.facts["note"]
    assert "takes 2 missing videos from old-features" in capsys.readouterr().out


def test_what_the_archive_lacks_too_is_refused_as_without_it(tmp_path):
    with pytest.raises(PipelineError, match=r"val lacks 1 video: v25 \(missing"):
        Filled(tmp_path, {"v25": "missing: gone"}, ["v1", "v2"]).go()


def test_a_video_that_is_of_another_length_is_not_filled(tmp_path):
    benchmark = Filled(tmp_path, {"v25": "length: other"}, ["v25"])
    metrics, _ = benchmark.go()
    assert metrics["n_queries"]["all"] == 7
    assert benchmark.card()["filled"]["vids"] == {"train": [], "val": [], "others": []}


def test_filled_rows_are_those_of_the_archive_and_all_others_are_untouched(tmp_path):
    benchmark = Filled(tmp_path, {"v3": "missing: gone"}, ["v3", "v4"])
    place = StorePlace("clip-vit-b32", "2s")
    with (
        open_features({"clip-vit-b32": place}, benchmark.features,
                      {"clip-vit-b32": replace(place, archive="old-features")}) as opened,
        Store([benchmark.released]) as released,
        Store([benchmark.stores[0]]) as made,
    ):  # fmt: skip
        store = opened.stores["clip-vit-b32"]
        packed = read_packed(store, ["v4", "v3", "v5"])
        for vid, of, n in (("v4", made, 0), ("v3", released, 1), ("v5", made, 2)):
            assert np.array_equal(store.read(vid), of.read(vid))
            assert np.array_equal(packed[12 * n : 12 * (n + 1)].astype(np.float32), of.read(vid))
        assert "v3" not in made
    with pytest.raises(PipelineError, match="cannot fill clip-vit-b32: grid: 1s ≠ 2s"):
        Store([benchmark.stores[0]]).fill_from(Store([of_another_grid(tmp_path)]), ["v3"])


def of_another_grid(folder):
    from tiny_benchmark import VIDEO_DIM, passport, write_store

    rows = {"v3": np.zeros((24, VIDEO_DIM))}
    return write_store(folder / "other.h5", passport("clip-vit-b32", VIDEO_DIM, grid="1s"), rows)


def test_where_nothing_is_filled_no_setting_of_a_run_knows_of_it():
    job = SimpleNamespace(
        about={"experiment": "tiny"},
        settings=SimpleNamespace(experiment=experiment(), dataset=DATASET),
        inputs={"annotations": (), "runs": (), "features": ()},
    )
    assert "fill" not in stage_requests.predict(job).settings
    job.settings.dataset = DATASET.model_copy(
        update={"missing": "fill", "fill": Fill(archive="old-features", beside=["clip-vit-b32"])}
    )
    assert stage_requests.predict(job).settings["fill"] == {"clip-vit-b32": "/2s/clip-vit-b32+old-features/"}
