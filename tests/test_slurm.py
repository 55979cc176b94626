"""A part of the demo on a real Slurm: one GPU job at a time, a cancelled job, and a job that needs more memory than it
asked for.

Only `make test-slurm` runs these tests, because they install Slurm if they may (root on Debian). Where it cannot run it
is skipped with the reason, and failed under CI=true. The cut is one Snakemake run, made once, on which every test
looks.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from slurm.one_node import ask, install, one_node

from pipeline import demo, records
from pipeline.features.store import Store
from pipeline.layout import Layout

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ["--workflow-profile", "workflow/profiles/slurm"]
SOONER = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5"]
TOO_LITTLE = ["--set-resources", "train:mem_mb=600 * attempt"]
WORDS = [f"results/features/qvhighlights/words/{shard:05d}.json" for shard in range(2)]
VIDEOS = [f"results/videos/qvhighlights/{shard:05d}.json" for shard in range(2)]
TARGETS = [*WORDS, *VIDEOS, "results/runs/qvhighlights_va.1of1.json"]
COLUMNS = ["JobID:.10", "Comment:.60", "State:.12", "Partition:.6", "StartTime:.22", "EndTime:.22"]
COLUMNS += ["MinMemory:.9", "tres-per-job:.14"]
WAIT_S = 600


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it. comment: the rule and its wildcards. Times are exact to the second. gpus: the requested
    number."""

    id: str
    comment: str
    state: str
    partition: str
    start: str
    end: str
    memory: str
    gpus: str

    def beside(self, other: Job) -> bool:
        """Tell whether both ran at one moment."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its cluster, the output of Snakemake, and every job in order of submission."""

    folder: Path
    env: dict[str, str]
    said: str
    jobs: list[Job]
    cancelled: str

    def of(self, rule: str) -> list[Job]:
        return [job for job in self.jobs if job.comment.startswith(f"rule_{rule}_")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """Yield the environment of a running cluster. Without one the test is skipped, or fails under CI=true."""
    if reason := install():
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with one_node() as env:
        yield env | {"OMP_NUM_THREADS": "1", "TR_DETR_GPU": "optional"}  # its GPU is a stand-in


@pytest.fixture(scope="module")
def run(cluster, tmp_path_factory) -> Run:
    """Return the small demo after it ran through the profile. The first GPU job is cancelled from outside while it
    works."""
    folder = tmp_path_factory.mktemp("cut")
    cut_demo(folder)
    said = folder / "said.txt"
    snakemake = start(folder, cluster, said)
    try:
        wait_until(lambda: any(folder.glob("results/logs/extract/*.log")) or snakemake.poll() is not None, said)
        first = next(job.id for job in queue(cluster) if job.gpus != "N/A" and job.state == "RUNNING")
        show(cluster, f"Before `scancel {first}`")
        subprocess.run(["scancel", first], env=cluster, check=True)
        wait_until(lambda: snakemake.poll() is not None, said)
    finally:
        snakemake.kill()
    show(cluster, "At the end")
    assert snakemake.returncode == 0, said.read_text()
    return Run(folder, cluster, said.read_text(), queue(cluster), first)


def cut_demo(folder: Path) -> None:
    """Make the demo smaller: text features of two shards, an account of videos, and a short training."""
    for name in ("workflow", "pipeline"):
        (folder / name).symlink_to(ROOT / name)
    layout = Layout(folder / "results")
    demo.make_benchmark(layout)
    demo.write_sources(layout, layout.benchmark().as_uri())
    config = yaml.safe_load((ROOT / "workflow/profiles/demo/demo.yaml").read_text())
    experiments = {name: config["experiments"][name] for name in ("qvhighlights_v", "qvhighlights_va")}
    experiments["qvhighlights_va"]["training"] = {"epochs": 2, "evaluate_every": 1}
    config |= {
        "results": "results",
        "acquire": {"sources": str(layout.benchmark_sources())},
        "experiments": experiments,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def start(folder: Path, env: dict[str, str], said: Path) -> subprocess.Popen[bytes]:
    """Start Snakemake as a user does, with sooner looks at the jobs and too little memory for the training."""
    command = [sys.executable, "-m", "snakemake", *TARGETS, *PROFILE, *SOONER, *TOO_LITTLE]
    with open(said, "w") as out:
        return subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def queue(env: dict[str, str]) -> list[Job]:
    """Return every job in order of submission, including ended ones."""
    columns = ",".join(f"{column}|" for column in COLUMNS)
    lines = ask(env, "squeue", "--states=all", "--noheader", "--sort=i", "--Format", columns).splitlines()
    return [Job(*(field.strip() for field in line.split("|")[:-1])) for line in lines]


def show(env: dict[str, str], title: str) -> None:
    """Print what Slurm itself says about the jobs."""
    seen = "--format=%.4i %.5P %.52k %.10T %.8M %.7m %R"
    print(f"\n{title}:\n" + ask(env, "squeue", "--states=all", "--sort=i", seen))
    print(ask(env, "sacct", "--completion", "--format=JobID,Partition,State,Start,End"))


def wait_until(condition: Callable[[], bool], said: Path) -> None:
    """Wait until something is so; fails with what Snakemake said meanwhile."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.2)


def test_gpu_jobs_never_overlap_though_two_would_fit_and_cpu_jobs_do(run):
    on_gpu = sorted((job for job in run.jobs if job.partition == "gpu"), key=lambda job: job.start)
    on_cpu = [job for job in run.jobs if job.partition == "cpu"]
    assert len(on_gpu) >= 5
    assert [(a.id, b.id) for a, b in pairwise(on_gpu) if a.beside(b)] == []
    assert any(a.beside(b) for a in on_cpu for b in on_cpu if a.id < b.id)
    assert any(a.beside(b) for a in on_cpu for b in on_gpu)


def test_the_gpu_tag_alone_makes_a_job_ask_for_a_gpu(run):
    assert {job.comment.split("_")[1] for job in run.jobs if job.gpus == "gres:gpu:1"} == {"extract", "train"}
    assert all((job.gpus == "gres:gpu:1") == (job.partition == "gpu") for job in run.jobs)


def test_a_cancelled_job_is_restarted_and_its_result_is_whole(run):
    comment = next(job.comment for job in run.jobs if job.id == run.cancelled)
    attempts = [(job.state, job.memory) for job in run.jobs if job.comment == comment]
    assert attempts == [("CANCELLED", "8000M"), ("COMPLETED", "16000M")]
    annotations = run.folder.glob("results/annotations/qvhighlights/*.jsonl")
    with Store(sorted(run.folder.glob("results/features/qvhighlights/tokens/clip-text/*.h5"))) as store:
        assert sorted(store.keys()) == sorted(str(q.qid) for path in annotations for q in records.read_queries(path))


def test_a_job_that_outgrows_its_memory_is_tried_again_with_more(run):
    first, *others = run.of("train")
    assert first.state == "FAILED"
    assert others[-1].state == "COMPLETED"
    (log,) = run.folder.glob(f"results/logs/slurm/rule_train/**/{first.id}.log")
    assert "exceeded memory limit" in log.read_text()
    assert [job.memory for job in (first, *others)] == [f"{600 * n}M" for n in range(1, len(others) + 2)]
    assert "Trying to restart job" in run.said


def test_the_same_command_finds_nothing_left_to_do(run):
    said = run.folder / "again.txt"
    assert start(run.folder, run.env, said).wait(WAIT_S) == 0
    assert "Nothing to be done" in said.read_text()
    assert len(queue(run.env)) == len(run.jobs)
