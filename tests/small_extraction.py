"""Accounts, segments and annotations of a few made videos, and the extraction of their rows."""

from __future__ import annotations

import stage_jobs

from pipeline import config, files, provenance, records
from pipeline.video.account import Found, accounts, write_account

SETTINGS = config.Dataset(shards=1, annotations={"val": "x"}, grids={})
RANDOM = config.Encoding(dtype="float32", weights={"clip-vit-b32": "random:7"})


def write_videos(results, paths):
    table = results / "videos" / "qvhighlights" / "00000.csv"
    rows = accounts(paths, {"here": lambda vid: Found(paths[vid])}, {}, 60.0)

    def work():
        write_account(table, rows)
        return provenance.Outcome([table])

    provenance.run_stage("videos", table.with_suffix(".json"), work, settings={"rows": list(map(str, rows))})
    segments = results / "segments" / "qvhighlights" / "00000.json"
    manifest = table.with_suffix(".json")
    about = {"dataset": "qvhighlights", "shard": "00000"}
    stage_jobs.run("segment", results, segments, {"videos": manifest}, {"grids": ["2s"]}, **about)
    return segments


def run(results, segments, encoding=RANDOM, families=("clip-vit-b32",), weights=None, dataset=SETTINGS):
    manifest = results / "features" / "qvhighlights" / "frames224" / "00000.json"
    inputs = {"inputs": segments, "weights": weights or ()}
    settings = {"dataset": dataset, "families": families, "encoding": encoding}
    about = {"dataset": "qvhighlights", "shard": "00000", "reader": "frames224"}
    ran = stage_jobs.run("extract", results, manifest, inputs, settings, **about)
    return ran, files.read_json(manifest)


def annotations(results, **splits):
    manifests = []
    for split, rows in splits.items():
        path = results / "annotations" / "qvhighlights" / f"{split}.jsonl"
        records.write_jsonl(path, [{"qid": q, "query": text, "vid": vid, "duration": 4} for q, text, vid in rows])
        manifests.append(path.with_suffix(".json"))
        provenance.run_stage("annotate", manifests[-1], lambda path=path: provenance.Outcome([path]))
    return manifests


def run_words(results, manifests, shard="00000", shards=1):
    manifest = results / "features" / "qvhighlights" / "words" / f"{shard}.json"
    dataset = SETTINGS.model_copy(update={"shards": shards})
    settings = {"dataset": dataset, "families": ["clip-text"], "encoding": RANDOM}
    about = {"dataset": "qvhighlights", "shard": shard, "reader": "words"}
    stage_jobs.run("extract", results, manifest, {"inputs": manifests}, settings, **about)
    return results / "features" / "qvhighlights" / "tokens" / "clip-text" / f"{shard}.h5"


def store_of(results, family="clip-vit-b32", grid="2s"):
    return results / "features" / "qvhighlights" / grid / family / "00000.h5"
