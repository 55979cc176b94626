"""The workflow on real data: the released predictions, and one TVSum domain from the released features."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import config, files

ROOT = Path(__file__).resolve().parents[1]
LEARNED = 60
"""Top-5 mAP on BK's video: random scores have 41 on average, the released system 70 ± 7 from its first epochs on."""


def python(*arguments):
    """Run `python …` at the repository root; returns what it printed. Fails with its errors."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.mark.slow
def test_evidence_re_derives_both_rows_from_local_copies(shared_data, tmp_path):
    local = f"acquire={{local: [{shared_data / 'predictions'}, {shared_data / 'annotations'}]}}"
    python(
        "-m", "snakemake", "--cores", 2, "--quiet", "all", "--config", local, f"results={tmp_path}", "--", "evidence"
    )
    text = python("-m", "pipeline", "show", tmp_path / "tables" / "evidence.json")
    ours = [line.split()[2:9] for line in text.splitlines() if line.startswith("↳ released")]
    assert ours == [
        ["64.66", "48.96", "63.98", "43.73", "42.62", "39.91", "63.42"],
        ["67.10", "51.48", "66.27", "46.42", "45.09", "40.55", "64.77"],
    ]
    assert text.count(": re-derived exactly: mAP Avg.") == 2


@pytest.mark.slow
def test_a_tvsum_domain_is_learned_from_the_released_features(shared_data, tmp_path):
    """Run the stages one after the other, as a user without Snakemake would: annotate, import, train, predict,
    score."""
    families = ["i3d-inception-rgb-tvsum", "i3d-inception-flow-tvsum"]
    dataset = {"shards": 4, "annotations": {"train": "tvsum-train", "val": "tvsum-val"}}
    experiment = {
        "dataset": "tvsum",
        "source": "features",
        "archive": "umt-tvsum-features",
        "features": {"video": families, "text": "clip-token-table"},
        "domains": ["BK"],
        "seeds": [2017],
        "model": {"loss_weights": {"global_alignment": 0.5, "local_alignment": 2.0}},
        "training": {
            "epochs": 24,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "max_clips": 1000,
            "max_tokens": None,
        },
    }
    resolved = json.loads(config.Experiment.model_validate(experiment).model_dump_json())
    stage = ["-m", "pipeline", "--results", tmp_path]
    both = json.dumps({"experiment": resolved, "dataset": dataset})
    annotations = [tmp_path / "annotations" / "tvsum" / f"{split}.json" for split in ("train", "val")]
    for manifest in annotations:
        released = shared_data / "annotations" / f"tvsum_{manifest.stem}.jsonl"
        python(
            *stage,
            "annotate",
            "--dataset",
            "tvsum",
            "--split",
            manifest.stem,
            "--fetched",
            released,
            "--manifest",
            manifest,
        )
    features, runs, predictions, metrics = (tmp_path / f"{name}.json" for name in ("f", "r", "p", "m"))
    python(
        *(*stage, "features", "import", "umt-tvsum-features", "--dataset", "tvsum", "--annotations", *annotations),
        *("--unpacked", shared_data / "features" / "tvsum", "--manifest", features),
        *("--settings", json.dumps({"dataset": dataset, "families": [*families, "clip-token-table"]})),
    )
    data = ("--annotations", *annotations, "--features", features, "--settings", both)
    python(*stage, "train", "bk", *data, "--manifest", runs)
    python(*stage, "predict", "bk", "--runs", runs, *data, "--manifest", predictions)
    python(
        *(*stage, "score", "bk", "--split", "val", "--predictions", predictions, "--annotations", annotations[1]),
        *("--settings", json.dumps({"experiment": resolved}), "--manifest", metrics),
    )
    scored = files.read_json(tmp_path / "metrics" / "bk" / "BK-s2017" / "val-selected.json")
    assert scored["percent"]["BK"] > LEARNED
    assert scored["n_queries"] == {"all": 1, "BK": 1}
