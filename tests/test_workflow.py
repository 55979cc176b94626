"""The workflow as users start it: the jobs that it plans, and the jobs that it never runs at the same time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline import files

ROOT = Path(__file__).resolve().parents[1]
JOBS_OF_THE_PAPER = 600


def snakemake(*arguments, env=None):
    """Run Snakemake at the repository root; returns (exit code, everything it said)."""
    command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
    answer = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    return answer.returncode, answer.stdout + answer.stderr


def planned(text):
    """Return the number of jobs per rule of a dry run."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)\s*$", table, re.MULTILINE)}


def test_the_whole_paper_is_planned_from_raw_video_on_a_machine_that_has_nothing(tmp_path):
    code, text = snakemake("--cores", 8, "--resources", "gpu=1", "-n", "all_tables", "--config", f"results={tmp_path}")
    assert code == 0, text
    jobs = planned(text)
    assert {"fetch", "unpack", "videos", "segment", "extract", "train", "predict", "score", "tabulate"} <= set(jobs)
    assert sum(jobs.values()) <= JOBS_OF_THE_PAPER
    n_peers = len(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["peers"])
    assert f"all_tables does not run the {n_peers} experiments under `peers`. To run them, name: peers" in text


def test_the_peers_have_a_target_of_their_own_that_makes_the_other_rows_of_their_tables_too(tmp_path):
    code, text = snakemake("--cores", 8, "-n", "peers", "--config", f"results={tmp_path}")
    assert code == 0, text
    assert planned(text)["tabulate"] == 3
    made = set(re.findall(r"wildcards: experiment=(\w+), part", text))
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    trained = {name for name, e in raw["experiments"].items() if e.get("source") != "predictions"}
    assert made == trained - {"ablation", "figure4"}
    assert "leaves out" not in text


def test_the_cluster_profile_plans_the_same_jobs_and_each_says_what_it_takes(tmp_path):
    plans = {}
    for profile in ("default", "slurm"):
        chosen = ["--workflow-profile", f"workflow/profiles/{profile}"]
        code, plans[profile] = snakemake(*chosen, "-n", "table3", "--cores", 8, "--config", f"results={tmp_path}")
        assert code == 0, plans[profile]
    assert planned(plans["slurm"]) == planned(plans["default"])
    taken = re.findall(r"^ +resources: (.*)", plans["slurm"], re.MULTILINE)
    assert len(taken) >= 6
    assert [line for line in taken if not {"mem_mb", "runtime", "disk_mb"} <= set(re.findall(r"(\w+)=", line))] == []


@pytest.mark.parametrize(
    ("target", "absent"),
    [
        pytest.param("table2", "score_test", marks=pytest.mark.workflow),
        ("table3", "score_test"),
        ("evidence", "train"),
        pytest.param("table4", "import_archive", marks=pytest.mark.workflow),
    ],
)
def test_a_target_plans_its_own_part(tmp_path, target, absent):
    code, text = snakemake("--cores", 2, "-n", target, "--config", f"results={tmp_path}")
    assert code == 0, text
    assert planned(text)["tabulate"] == 1
    assert absent not in planned(text)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("sedes", [1], "`experiments.tvsum_v.sedes` is an unknown key"),
        pytest.param(
            "report",
            "test",
            "`datasets.tvsum.annotations.test` is missing, and `experiments.tvsum_v` has `report: test`",
            marks=pytest.mark.workflow,
        ),
    ],
)
def test_a_config_that_does_not_fit_ends_before_anything_is_planned(tmp_path, key, value, said):
    config = tmp_path / "config.yaml"
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    raw["experiments"]["tvsum_v"][key] = value
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")
    code, text = snakemake("--cores", 1, "-n", "--configfile", config)
    assert code == 1
    assert f"{config}: {said}" in text
    assert "Traceback" not in text


def test_a_mistake_after_config_is_told_of_the_command_line_and_not_of_the_file():
    code, text = snakemake("--cores", 1, "-n", "--config", "seeds=[1,1]")
    assert code == 1
    assert "--config seeds: `seeds`: a seed is named twice" in text
    assert "Traceback" not in text


@pytest.fixture
def words_only(tmp_path):
    """Return (config, targets). The config's cheapest gpu jobs are the text features of a two-shard dataset."""
    rows = [
        {
            "qid": i,
            "query": f"person opens door {i}.",
            "duration": 30.0,
            "vid": f"V{i:04d}",
            "relevant_windows": [[1, 9]],
        }
        for i in range(12)
    ]
    table = ["name,kind,file,url,digest,bytes,licence,note"]
    for split in ("train", "val"):
        path = tmp_path / f"{split}.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows[:6] if split == "train" or row["qid"] < 3))
        table.append(f"{split},file,{split}.jsonl,{path.as_uri()},sha256:{files.sha256(path)},,,")
    (tmp_path / "sources.csv").write_text("\n".join(table) + "\n")
    config = {
        "results": str(tmp_path / "results"),
        "acquire": {"sources": str(tmp_path / "sources.csv")},
        "encoding": {"weights": {"clip-vit-b32": "random:0"}},
        "datasets": {"charades_sta": {"clip": "1s", "shards": 2, "annotations": {"train": "train", "val": "val"}}},
        "training": {"charades_sta": {}},
        "experiments": {"one": {"dataset": "charades_sta", "features": {"video": ["clip-vit-b32"]}}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    targets = [tmp_path / f"results/features/charades_sta/words/{shard:05d}.json" for shard in range(2)]
    return tmp_path / "config.yaml", targets


@pytest.mark.workflow
@pytest.mark.parametrize("cap", [["--resources", "gpu=1"], []], ids=["--resources gpu=1", "the default profile's cap"])
def test_no_two_gpu_jobs_run_at_once(words_only, cap, tmp_path):
    config, targets = words_only
    code, text = snakemake("--cores", 4, "--configfile", config, *cap, "--", *targets)
    assert code == 0, text
    times = [metadata(target) for target in targets]
    assert all(not (a < d and c < b) for i, (a, b) in enumerate(times) for c, d in times[i + 1 :]), times
    assert "Rules that use a GPU run on" in text
    code, text = snakemake("--cores", 4, "--configfile", config, *cap, "--", *targets)
    assert "Nothing to be done" in text


def metadata(target):
    """Start and end time of the job that made `target`, from Snakemake's own records."""
    import base64

    name = base64.b64encode(str(target).encode()).decode()
    record = json.loads((ROOT / ".snakemake" / "metadata" / name).read_text())
    return record["starttime"], record["endtime"]


@pytest.fixture
def outside_tables(tmp_path):
    """Return a folder with a config whose experiments are in no table: one released file, one domain of local
    features."""
    row = {"qid": 1, "query": "a door opens", "vid": "aaaaaaaaaaa_0.0_10.0", "duration": 10}
    truth = row | {"relevant_windows": [[0, 4]], "relevant_clip_ids": [0, 1], "saliency_scores": [[1, 2, 3]] * 2}
    guess = row | {"pred_relevant_windows": [[0, 4, 1.0]], "pred_saliency_scores": [1, 0, 0, 0, 0]}
    (tmp_path / "features").mkdir()
    table = ["name,kind,file,url,digest,bytes,licence,note"]
    table.append(f"mine,archive,features.tar,{(tmp_path / 'features').as_uri()}/,,,,")
    for name, content in (("train", truth), ("val", truth), ("guess", guess)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(content) + "\n")
        table.append(f"{name},file,{name}.jsonl,{(tmp_path / f'{name}.jsonl').as_uri()},,,,")
    (tmp_path / "sources.csv").write_text("\n".join(table) + "\n")
    splits = {"train": "train", "val": "val"}
    archived = {"video": ["i3d-inception-rgb-tvsum", "i3d-inception-flow-tvsum"], "text": "clip-token-table"}
    config = {
        "acquire": {"sources": "sources.csv"},
        "encoding": {"weights": {"clip-vit-b32": "random:0"}},
        "datasets": {
            "qvhighlights": {"shards": 1, "annotations": splits},
            "tvsum": {"shards": 1, "annotations": splits},
        },
        "training": {"tvsum": {}, "qvhighlights": {}},
        "experiments": {
            "released": {"dataset": "qvhighlights", "source": "predictions", "predictions": {"val": "guess"}},
            "bee_keeping": {
                "dataset": "tvsum",
                "source": "features",
                "archive": "mine",
                "features": archived,
                "domains": ["BK"],
            },
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def at(folder, *arguments):
    """Run Snakemake in a folder, on two cores."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "workflow/Snakefile", "--cores", "2"]
    answer = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stdout + answer.stderr


@pytest.mark.workflow
def test_an_experiment_without_a_table_has_a_target_and_says_how_to_see_its_numbers(outside_tables):
    code, text = at(outside_tables, "experiment_released")
    assert code == 0, text
    command = re.search(r"^numbers of released: python -m pipeline (show \S+)$", text, re.MULTILINE)[1]
    shown = subprocess.run(
        [sys.executable, "-m", "pipeline", *command.split()],
        cwd=outside_tables,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.startswith("released, qvhighlights: 1 query of 1 video")
    assert re.search(r"MR-full-mAP +100.00", shown)


def test_one_domain_of_local_features_is_planned_by_its_experiments_target(outside_tables):
    code, text = at(outside_tables, "-n", "experiment_bee_keeping")
    assert code == 0, text
    assert {"unpack": 1, "import_archive": 1, "train": 1, "score": 1, "draw": 1}.items() <= planned(text).items()


@pytest.mark.workflow
def test_one_domain_of_local_features_is_trained_scored_and_drawn(outside_tables):
    """From a folder of `.npy` files to the numbers of one domain, by nothing but the experiment's own target."""
    rng = np.random.default_rng(0)
    clips, features = 8, outside_tables / "features"
    for split, vids in {"train": ["a", "b", "c", "d"], "val": ["e"]}.items():
        rows = []
        for name in vids:
            vid, label = name * 11, rng.integers(1, 6, (clips, 20)).tolist()
            rows.append({"qid": vid, "query": "a bee", "vid": vid, "duration": clips, "domain": "BK", "label": label})
            for stream in ("rgb", "opt"):
                save(features / f"video_features/{vid}_{stream}.npy", rng.random((clips, 1024)))
            token, text = rng.random((2, 512), np.float32), rng.random((1, 512), np.float32)
            save(features / f"query_features/{vid}.npz", token=token, text=text)
        (outside_tables / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = yaml.safe_load((outside_tables / "config.yaml").read_text())
    raw["training"]["tvsum"] = {"epochs": 1, "batch_size": 4, "max_tokens": None}
    raw["model"] = {"hidden_dim": 16, "heads": 2, "feedforward_dim": 16} | dict.fromkeys(
        ("t2v_layers", "encoder_layers", "decoder_layers"), 1
    )
    (outside_tables / "config.yaml").write_text(yaml.safe_dump(raw))
    code, text = at(outside_tables, "experiment_bee_keeping")
    assert code == 0, text
    found = json.loads(next((outside_tables / "results/metrics/bee_keeping").rglob("val-last.json")).read_text())
    assert set(found["percent"]) == {"BK", "average"} and found["n_queries"] == {"all": 1, "BK": 1}
    assert list((outside_tables / "results/figures").rglob("bee_keeping*"))
    assert "Nothing to be done" in at(outside_tables, "experiment_bee_keeping")[1]


def save(path, rows=None, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays) if arrays else np.save(path, rows)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ([], True),
        pytest.param(["all_tables"], True, marks=pytest.mark.workflow),
        pytest.param(["annotations"], False, marks=pytest.mark.workflow),
        (["experiment_released"], False),
    ],
)
def test_all_tables_says_what_it_leaves_out(outside_tables, targets, told):
    _, text = at(outside_tables, "-n", *targets)
    line = "These experiments are in no table. To run them, name: experiment_bee_keeping experiment_released"
    assert (line in text) == told


def test_a_misspelt_target_is_named_with_those_it_may_mean(outside_tables):
    code, text = at(outside_tables, "-n", "experiment_bee_keping", "tables")
    assert code == 1
    assert "error: there is no target experiment_bee_keping; is it experiment_bee_keeping" in text
    assert "error: there is no target tables; is it table" in text
    assert "there is no target" not in at(outside_tables, "-n", "experiment_bee_keeping")[1]


def test_a_config_without_peers_is_named_as_the_reason_that_there_is_no_such_target(outside_tables):
    code, text = at(outside_tables, "-n", "peers")
    assert code == 1
    assert "error: there is no target peers, because the config lists no experiment under `peers`" in text
