"""A released archive of TVSum's features, made here, and its import."""

from __future__ import annotations

import csv

import numpy as np
import stage_jobs

from pipeline import config, files, provenance, records
from pipeline.features.store import Store

TVSUM = ["i3d-inception-rgb-tvsum", "i3d-inception-flow-tvsum", "pann-cnn14", "clip-token-table"]
CLIPS = {"-a": 5, "_b": 3, "c": 4, "d": 6, "e": 7}


def rows(n, dim, dtype=np.float32):
    return np.random.default_rng(n).random((n, dim)).astype(dtype)


def tvsum_archive(folder, clips=CLIPS):
    for name in ("video_features", "audio_features", "query_features"):
        (folder / name).mkdir(parents=True)
    for vid, n in clips.items():
        np.save(folder / f"video_features/{vid}_rgb.npy", rows(n, 1024, np.float64))
        np.save(folder / f"video_features/{vid}_opt.npy", rows(n, 1024))
        np.save(folder / f"audio_features/{vid}.npy", rows(n, 2048))
        np.savez(folder / f"query_features/{vid}.npz", token=rows(6, 512, np.float16), text=rows(1, 512, np.float16))
    return folder


def annotate(results, dataset, queries):
    path = results / "annotations" / dataset / "val.jsonl"
    records.write_jsonl(path, queries)
    path.with_suffix(".json").unlink(missing_ok=True)  # else the stage deletes what it did not write itself
    provenance.run_stage("annotate", path.with_suffix(".json"), lambda: provenance.Outcome([path]))
    return path.with_suffix(".json")


def run(results, folder, dataset="tvsum", families=TVSUM, queries=None, shards=2, **settings):
    queries = queries or [{"qid": v, "query": "t", "vid": v, "duration": 2 * n} for v, n in CLIPS.items()]
    manifest = results / "features" / dataset / "+umt.json"
    asked = {"dataset": config.Dataset(shards=shards, annotations={"val": "x"}, **settings), "families": families}
    inputs = {"unpacked": folder, "annotations": annotate(results, dataset, queries)}
    ran = stage_jobs.run("import", results, manifest, inputs, asked, dataset=dataset, name="umt")
    return ran, files.read_json(manifest)


def store_of(results, family, dataset="tvsum", grid="2s"):
    return Store(sorted((results / "features" / dataset / grid / f"{family}+umt").glob("*.h5")))


def report(results, dataset="tvsum"):
    with open(results / "features" / dataset / "+umt.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
