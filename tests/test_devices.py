"""One job per GPU, whatever the scheduler thinks: shown with a stand-in for the driver's own listing."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pipeline import devices

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


def test_a_killed_job_lets_go_of_its_device(gpus):
    gpus("GPU-a")
    holder = subprocess.Popen([sys.executable, "-c", JOB.replace("sleep(0.5)", "sleep(60)")], stderr=subprocess.PIPE)
    time.sleep(0.5)
    holder.kill()
    holder.wait()
    with devices.claimed() as kind:
        assert (kind, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda", "GPU-a")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(("allowed", "seen"), [("1", ["GPU-b"]), ("GPU-a", ["GPU-a"]), ("", [])])
def test_a_cuda_visible_devices_that_is_set_is_obeyed(gpus, monkeypatch, allowed, seen):
    gpus("GPU-a", "GPU-b")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert devices.visible_gpus() == seen


def test_without_a_gpu_work_runs_on_the_cpu(gpus):
    gpus()
    with devices.claimed() as kind:
        assert kind == "cpu"
