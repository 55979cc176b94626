"""One job per GPU, whatever the scheduler thinks: shown on a machine that the tests make up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_machine import Machine

from pipeline import devices, gpus
from pipeline.errors import PipelineError

ROOT = Path(__file__).resolve().parents[1]

JOB = """
import os, sys, time
from pathlib import Path
from pipeline import devices
devices.LOCK_PLACES = (Path(sys.argv[1]),)
with devices.claimed() as kind:
    start = time.time(); time.sleep(0.5)
    print(kind, os.environ.get("CUDA_VISIBLE_DEVICES"), start, time.time(), flush=True)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def start_job(folder, **env):
    command = [sys.executable, "-c", JOB, str(folder / "locks")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}, cwd=ROOT)


def run_jobs(folder, *envs):
    jobs = [start_job(folder, **env) for env in envs]
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

devices.LOCK_PLACES = (Path("locks").absolute(),)

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


def test_two_jobs_on_one_gpu_run_one_after_the_other_also_with_a_tmpdir_each(machine):
    machine.gpus("GPU-a")
    places = [machine.folder / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    first, second = run_jobs(machine.folder, *({"TMPDIR": str(place)} for place in places))
    assert {first[1], second[1]} == {"GPU-a"}
    assert not overlap(first, second)


def test_two_jobs_on_two_gpus_each_see_another(machine):
    machine.gpus("GPU-a", "GPU-b")
    jobs = run_jobs(machine.folder, {}, {})
    assert {job[1] for job in jobs} == {"GPU-a", "GPU-b"}


def test_four_gpus_serve_four_jobs_of_snakemake_and_a_killed_one_is_restarted_on_its_gpu(machine, monkeypatch):
    monkeypatch.setenv("PATH", f"{machine.folder / 'bin'}:{os.defpath}")
    machine.gpus("GPU-a", "GPU-b", "GPU-c", "GPU-d")
    (machine.folder / "job.py").write_text(RENDEZVOUS)
    (machine.folder / "Snakefile").write_text(FOUR_JOBS.replace("{PYTHON}", sys.executable))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "snakemake", "--cores", "8", "--resources", "gpu=4"]
    done = subprocess.run(command, cwd=machine.folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held = {path.name: path.read_text() for path in [*machine.folder.glob("?.first"), *machine.folder.glob("?.again")]}
    assert sorted(held[f"{job}.first"] for job in range(4)) == ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]
    assert held["0.again"] == held["0.first"]
    assert len(held) == 5


def test_a_killed_job_lets_go_of_its_gpu(machine, monkeypatch):
    machine.gpus("GPU-a")
    holds = JOB.replace("start = time.time()", "print('holds', flush=True)").replace("sleep(0.5)", "sleep(60)")
    monkeypatch.setattr(sys.modules[__name__], "JOB", holds)
    holder = start_job(machine.folder)
    assert holder.stdout.readline() == "holds\n"
    holder.kill()
    holder.communicate()
    with devices.claimed() as kind:
        assert (kind, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda", "GPU-a")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


LISTINGS = {
    "absent": None,
    "fails": ["echo 'Failed to initialize NVML: Unknown Error'", "exit 255"],
    "hangs": ["/bin/sleep 100"],
    "garbage": ["echo '<html>'"],
    "none": ["echo 'No devices were found'", "exit 6"],
    "works": ["echo 'GPU 0: NVIDIA H100 (UUID: GPU-a)'"],
}
TOLD = {"fails": "Failed to initialize NVML", "hangs": "does not answer for 0.2 s", "garbage": "<html>"}


@pytest.mark.parametrize("required", [False, True], ids=["nothing promised", "a GPU promised"])
@pytest.mark.parametrize("allowed", [None, "", "-1", "0", "GPU-a", "7"])
@pytest.mark.parametrize("torch_sees", [(), ("GPU-a",)], ids=["no CUDA", "CUDA"])
@pytest.mark.parametrize("listing", LISTINGS)
def test_a_job_has_the_gpu_or_says_why_not(machine, monkeypatch, capsys, listing, torch_sees, allowed, required):
    if LISTINGS[listing] is not None:
        machine.nvidia_smi(*LISTINGS[listing])
    if listing == "hangs":
        monkeypatch.setattr(gpus, "NVIDIA_SMI_LIMIT_S", 0.2)
    machine.cuda(*torch_sees)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    if required:
        monkeypatch.setenv(gpus.SWITCH, "required")
    kind, gpu, error = outcome()
    if allowed in ("", "-1") and not required:  # the user's own word
        assert kind == "cpu"
    elif allowed in ("", "-1"):
        assert error.startswith(f"CUDA_VISIBLE_DEVICES is `{allowed}`, but this job was promised a GPU → unset")
    elif listing in TOLD:
        assert TOLD[listing] in error
        assert "set CUDA_VISIBLE_DEVICES= and TR_DETR_GPU=optional to work on the CPU" in error
    elif allowed != "7" and torch_sees:
        assert kind == "cuda"
        assert gpu == (allowed if listing == "none" else "GPU-a")  # nvidia-smi lists none: nobody knows its name
    elif listing == "works" and allowed != "7":
        assert "cannot use it" in error
        assert "CUDA_VISIBLE_DEVICES=" in error
    elif required:
        assert "this job was promised a GPU" in error
        assert "TR_DETR_GPU=optional" in error
    else:
        assert kind == "cpu"
    if kind == "cpu":
        assert capsys.readouterr().err.startswith("works on the CPU: ")


def outcome():
    try:
        with devices.claimed_for_torch() as kind:
            return kind, os.environ.get("CUDA_VISIBLE_DEVICES"), ""
    except PipelineError as error:
        return None, None, str(error)


@pytest.mark.parametrize(
    ("said", "required"),
    [
        ({}, False),
        ({"SLURM_JOB_ID": "7"}, False),
        ({"SLURM_GPUS_ON_NODE": "0"}, False),
        ({"SLURM_GPUS_ON_NODE": "2"}, True),
        ({"SLURM_GPUS": "a100:1"}, True),
        ({"SLURM_JOB_GPUS": "0"}, True),
        ({"SLURM_GPUS_ON_NODE": "2", "TR_DETR_GPU": "optional"}, False),
        ({"TR_DETR_GPU": "required"}, True),
    ],
)
def test_a_gpu_is_promised_by_slurm_or_by_the_switch(machine, monkeypatch, said, required):
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert devices.is_required() == required


def test_a_switch_that_means_nothing_is_refused(machine, monkeypatch):
    monkeypatch.setenv("TR_DETR_GPU", "yes")
    with pytest.raises(PipelineError, match=r"TR_DETR_GPU: is `yes` → set it to `required` or `optional`"):
        devices.is_required()


def test_locks_lie_in_a_folder_of_the_users_own(machine):
    machine.gpus("GPU-a")
    with devices.claimed():
        (folder,) = (machine.folder / "locks").iterdir()
        assert folder.name.endswith(f"-{os.getuid()}")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [path.name for path in folder.iterdir()] == ["GPU-a.lock"]


def test_a_folder_of_locks_that_everybody_could_write_to_is_closed(machine):
    machine.gpus("GPU-a")
    folder = machine.folder / "locks" / f"tr-detr-pipeline-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with devices.claimed():
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["a link", "a file", "another user's folder"])
def test_what_another_user_planted_is_never_used(machine, monkeypatch, planted):
    machine.gpus("GPU-a")
    target, second = machine.folder / "target", machine.folder / "second"
    target.mkdir()
    second.mkdir()
    folder = machine.folder / "locks" / f"tr-detr-pipeline-{os.getuid()}"
    if planted == "a link":
        folder.symlink_to(target)
    elif planted == "a file":
        folder.touch()
    else:
        folder.mkdir()
        real = os.fstat
        place = folder.stat().st_ino
        foreign = os.getuid() + 1

        def fstat(handle):
            state = real(handle)
            return os.stat_result([*state[:4], foreign, *state[5:]]) if state.st_ino == place else state

        monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(devices, "LOCK_PLACES", (machine.folder / "locks", second))
    with devices.claimed():
        assert [path.name for path in second.iterdir()] == [folder.name]
        assert list(target.iterdir()) == []
    shutil.rmtree(second)
    with pytest.raises(PipelineError, match="no folder for the locks of GPUs"), devices.claimed():
        pass
