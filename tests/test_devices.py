"""One job per GPU, whatever the scheduler thinks: shown with a stand-in for the driver's own listing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import devices

ROOT = Path(__file__).resolve().parents[1]

JOB = """
import os, sys, time
from pipeline import devices
with devices.claimed() as kind:
    start = time.time(); time.sleep(0.5)
    print(kind, os.environ.get("CUDA_VISIBLE_DEVICES"), start, time.time(), flush=True)
"""


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Put an `nvidia-smi` on the path that lists the devices named."""

    def stand_in(*uuids):
        script = tmp_path / "bin" / "nvidia-smi"
        script.parent.mkdir(exist_ok=True)
        script.write_text("#!/bin/sh\n" + "".join(f"echo {uuid}\n" for uuid in uuids))
        script.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices.tempfile, "tempdir", None)
    return stand_in


def run_jobs(n):
    jobs = [subprocess.Popen([sys.executable, "-c", JOB], stdout=subprocess.PIPE, text=True) for _ in range(n)]
    lines = [job.communicate()[0].split() for job in jobs]
    return [(kind, gpu, float(start), float(end)) for kind, gpu, start, end in lines]


FOUR_JOBS = """
rule all:
    input: expand("{job}.done", job=range(4))

rule compute:
    output: touch("{job}.done")
    resources: gpu=1
    retries: 1
    shell: "{PYTHON} job.py {wildcards.job}"
"""

RENDEZVOUS = """
import os, signal, sys, time
from pathlib import Path
from pipeline import devices

def wait_for(names):
    end = time.monotonic() + 30
    while not all(Path(name).exists() for name in names):
        assert time.monotonic() < end, f"still waiting for {names}"
        time.sleep(0.05)

job = sys.argv[1]
first, again = Path(f"{job}.first"), Path(f"{job}.again")
held = again if first.exists() else first
with devices.claimed():
    held.write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    wait_for(["0.first", "1.first", "2.first", "3.first"])  # all four hold a device now
    if job == "0" and held == first:
        os.kill(os.getpid(), signal.SIGKILL)
    wait_for(["0.again"])  # the others hold theirs until the killed job has one again
"""


def overlap(a, b):
    return a[2] < b[3] and b[2] < a[3]


def test_two_jobs_on_one_device_run_one_after_the_other(gpus):
    gpus("GPU-a")
    first, second = run_jobs(2)
    assert {first[1], second[1]} == {"GPU-a"}
    assert not overlap(first, second)


def test_two_jobs_on_two_devices_each_see_another(gpus):
    gpus("GPU-a", "GPU-b")
    jobs = run_jobs(2)
    assert {job[1] for job in jobs} == {"GPU-a", "GPU-b"}


def test_four_gpus_serve_four_jobs_of_snakemake_and_a_killed_one_is_restarted_on_its_device(gpus, tmp_path):
    gpus("GPU-a", "GPU-b", "GPU-c", "GPU-d")
    (tmp_path / "job.py").write_text(RENDEZVOUS)
    (tmp_path / "Snakefile").write_text(FOUR_JOBS.replace("{PYTHON}", sys.executable))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "snakemake", "--cores", "8", "--resources", "gpu=4"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held = {path.name: path.read_text() for path in [*tmp_path.glob("?.first"), *tmp_path.glob("?.again")]}
    assert sorted(held[f"{job}.first"] for job in range(4)) == ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]
    assert held["0.again"] == held["0.first"]
    assert len(held) == 5


def test_a_killed_job_lets_go_of_its_device(gpus):
    gpus("GPU-a")
    holds = JOB.replace("start = time.time()", "print('holds', flush=True)").replace("sleep(0.5)", "sleep(60)")
    holder = subprocess.Popen([sys.executable, "-c", holds], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "holds\n"
    holder.kill()
    holder.communicate()
    with devices.claimed() as kind:
        assert (kind, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda", "GPU-a")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("allowed", "seen"),
    [
        ("1", ["GPU-b1"]),
        ("1, 0", ["GPU-b1", "GPU-a1"]),
        ("GPU-a1", ["GPU-a1"]),
        ("GPU-b", ["GPU-b1"]),
        ("GPU-", []),
        ("MIG-x", ["MIG-x"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["GPU-a1"]),
        ("7,0", []),
    ],
)
def test_a_cuda_visible_devices_that_is_set_is_obeyed(gpus, monkeypatch, allowed, seen):
    gpus("GPU-a1", "GPU-b1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert devices.visible_gpus() == seen


def test_without_a_gpu_work_runs_on_the_cpu(gpus):
    gpus()
    with devices.claimed() as kind:
        assert kind == "cpu"
