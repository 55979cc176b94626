"""Only one job works on a GPU at a time, whatever the scheduler does. The driver's list of GPUs and CUDA are replaced
by stand-ins."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline import devices
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

CUDA = '''
"""A stand-in for torch: CUDA that knows the GPUs in FAKE_CUDA, fastest first, and obeys CUDA_VISIBLE_DEVICES."""
import os
from types import SimpleNamespace

gpus = [name for name in os.environ.get("FAKE_CUDA", "").split(",") if name]
if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
    gpus = sorted(gpus)
seen = gpus
if "CUDA_VISIBLE_DEVICES" in os.environ:
    seen = []
    for name in os.environ["CUDA_VISIBLE_DEVICES"].split(","):
        found = [gpu for number, gpu in enumerate(gpus) if name == str(number) or (name and gpu.startswith(name))]
        if len(found) != 1:
            break
        seen += found
cuda = SimpleNamespace(
    device_count=lambda: len(seen),
    get_device_properties=lambda number: SimpleNamespace(uuid=seen[number].removeprefix("GPU-")),
)
'''


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """No nvidia-smi on the path, no CUDA, no promise, locks in a place of this test's own."""
    for folder in ("bin", "locks"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", devices.SWITCH, devices.SLURM_NAMES):
        monkeypatch.delenv(name, raising=False)
    for name in devices.SLURM_COUNTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "LOCK_PLACES", (tmp_path / "locks",))
    monkeypatch.setattr(devices, "has_driver", lambda: False)
    return tmp_path


@pytest.fixture
def nvidia_smi(bare):
    """Put an `nvidia-smi` on the path: a script of these lines."""

    def stand_in(*lines):
        script = bare / "bin" / "nvidia-smi"
        script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        script.chmod(0o755)

    return stand_in


@pytest.fixture
def gpus(nvidia_smi):
    """Put an `nvidia-smi` on the path that lists the GPUs named, and beneath a GPU its parts (MIG)."""

    def stand_in(*uuids):
        lines = [
            f"echo '  MIG 1g.10gb Device 0: (UUID: {uuid})'"
            if uuid.startswith("MIG-")
            else f"echo 'GPU 0: NVIDIA A100 80GB (PCIe) (UUID: {uuid})'"
            for uuid in uuids
        ]
        nvidia_smi(*(lines or ["echo No devices found."]))

    return stand_in


@pytest.fixture
def cuda(bare, monkeypatch):
    """Let torch, here and in the process that is asked, see these GPUs, fastest first."""

    def stand_in(*uuids):
        (bare / "torch").mkdir()
        (bare / "torch" / "__init__.py").write_text(CUDA)
        monkeypatch.setenv("PYTHONPATH", str(bare))
        monkeypatch.setenv("FAKE_CUDA", ",".join(uuids))
        monkeypatch.setattr(devices, "has_driver", lambda: bool(uuids))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(uuids) and cuda_names_one())

    return stand_in


def cuda_names_one():
    """Whether the beginning of CUDA_VISIBLE_DEVICES is a GPU of a machine with less than seven."""
    return not os.environ.get("CUDA_VISIBLE_DEVICES", "0").startswith("7")


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


def test_two_jobs_on_one_gpu_run_one_after_the_other_also_with_a_tmpdir_each(gpus, bare):
    gpus("GPU-a")
    for name in ("one", "two"):
        (bare / name).mkdir()
    first, second = run_jobs(bare, {"TMPDIR": str(bare / "one")}, {"TMPDIR": str(bare / "two")})
    assert {first[1], second[1]} == {"GPU-a"}
    assert not overlap(first, second)


def test_two_jobs_on_two_gpus_each_see_another(gpus, bare):
    gpus("GPU-a", "GPU-b")
    jobs = run_jobs(bare, {}, {})
    assert {job[1] for job in jobs} == {"GPU-a", "GPU-b"}


def test_four_gpus_serve_four_jobs_of_snakemake_and_a_killed_one_is_restarted_on_its_gpu(gpus, bare, monkeypatch):
    monkeypatch.setenv("PATH", f"{bare / 'bin'}:{os.defpath}")
    gpus("GPU-a", "GPU-b", "GPU-c", "GPU-d")
    (bare / "job.py").write_text(RENDEZVOUS)
    (bare / "Snakefile").write_text(FOUR_JOBS.replace("{PYTHON}", sys.executable))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "snakemake", "--cores", "8", "--resources", "gpu=4"]
    done = subprocess.run(command, cwd=bare, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held = {path.name: path.read_text() for path in [*bare.glob("?.first"), *bare.glob("?.again")]}
    assert sorted(held[f"{job}.first"] for job in range(4)) == ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]
    assert held["0.again"] == held["0.first"]
    assert len(held) == 5


def test_a_killed_job_lets_go_of_its_gpu(gpus, bare, monkeypatch):
    gpus("GPU-a")
    holds = JOB.replace("start = time.time()", "print('holds', flush=True)").replace("sleep(0.5)", "sleep(60)")
    monkeypatch.setattr(sys.modules[__name__], "JOB", holds)
    holder = start_job(bare)
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
        ("+1", ["GPU-b1"]),
        ("1st", ["GPU-b1"]),
        ("0,0", []),
        ("0,GPU-a1", []),
        ("GPU-a1", ["GPU-a1"]),
        ("GPU-b", ["GPU-b1"]),
        ("GPU-", []),
        ("GPU-x,GPU-a1", []),
        ("MIG-x", []),
        ("MIG-GPU-a1/1/2", ["MIG-GPU-a1/1/2"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["GPU-a1"]),
        ("7,0", []),
    ],
)
def test_a_cuda_visible_devices_that_is_set_is_obeyed(gpus, monkeypatch, allowed, seen):
    gpus("GPU-a1", "GPU-b1")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert devices.visible_gpus() == seen
    assert devices.foreseen() == len(seen)


@pytest.mark.parametrize(
    ("allowed", "seen"),
    [
        (None, ["MIG-a1", "MIG-a2", "GPU-b"]),
        ("0", ["MIG-a1", "MIG-a2"]),
        ("GPU-a", ["MIG-a1", "MIG-a2"]),
        ("MIG-a2", ["MIG-a2"]),
        ("MIG-a", []),
        ("1", ["GPU-b"]),
    ],
)
def test_a_gpu_that_is_cut_into_parts_has_room_for_a_job_in_each(gpus, monkeypatch, allowed, seen):
    gpus("GPU-a", "MIG-a1", "MIG-a2", "GPU-b")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert devices.visible_gpus() == seen


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST", "PCI_BUS_ID"])
@pytest.mark.parametrize(("allowed", "chosen"), [("0", [0]), ("1", [1]), ("1,0", [1, 0]), ("2", [2]), ("GPU-c", [0])])
def test_a_number_means_what_cuda_means_by_it(gpus, cuda, monkeypatch, order, allowed, chosen):
    by_bus, by_speed = ["GPU-a", "GPU-b", "GPU-c"], ["GPU-c", "GPU-a", "GPU-b"]
    gpus(*by_bus)
    cuda(*by_speed)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    numbered = by_bus if order == "PCI_BUS_ID" and allowed != "GPU-c" else by_speed
    assert devices.visible_gpus() == [numbered[number] for number in chosen]
    assert devices.foreseen() == len(chosen)


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
def test_a_job_has_the_gpu_or_says_why_not(
    nvidia_smi, cuda, monkeypatch, capsys, listing, torch_sees, allowed, required
):
    if LISTINGS[listing] is not None:
        nvidia_smi(*LISTINGS[listing])
    if listing == "hangs":
        monkeypatch.setattr(devices, "NVIDIA_SMI_LIMIT_S", 0.2)
    cuda(*torch_sees)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    if required:
        monkeypatch.setenv(devices.SWITCH, "required")
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
def test_a_gpu_is_promised_by_slurm_or_by_the_switch(bare, monkeypatch, said, required):
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert devices.is_required() == required


def test_a_switch_that_means_nothing_is_refused(bare, monkeypatch):
    monkeypatch.setenv("TR_DETR_GPU", "yes")
    with pytest.raises(PipelineError, match=r"TR_DETR_GPU: is `yes` → set it to `required` or `optional`"):
        devices.is_required()


def test_an_nvidia_smi_that_cannot_be_killed_is_not_waited_for(nvidia_smi, monkeypatch):
    """A program in the kernel's hands outlives SIGKILL; here one that nobody sends it to."""
    nvidia_smi("exec /bin/sleep 3")
    sent = []
    monkeypatch.setattr(devices, "NVIDIA_SMI_LIMIT_S", 0.2)
    monkeypatch.setattr(devices.os, "killpg", lambda *what: sent.append(what))
    start = time.monotonic()
    with pytest.raises(PipelineError, match="does not answer"):
        devices.visible_gpus()
    assert time.monotonic() - start < 2
    assert [number for _, number in sent] == [signal.SIGKILL]


def test_a_torch_that_cannot_list_the_gpus_is_told_in_its_own_words(bare, cuda, monkeypatch):
    cuda("GPU-a")
    (bare / "torch" / "__init__.py").write_text("raise RuntimeError('CUDA unknown error')")
    with pytest.raises(
        PipelineError, match=r"CUDA unknown error.*CUDA_VISIBLE_DEVICES= and TR_DETR_GPU=optional to work on the CPU"
    ):
        devices.visible_gpus()


def test_locks_lie_in_a_folder_of_the_users_own(gpus, bare):
    gpus("GPU-a")
    with devices.claimed():
        (folder,) = (bare / "locks").iterdir()
        assert folder.name.endswith(f"-{os.getuid()}")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [path.name for path in folder.iterdir()] == ["GPU-a.lock"]


def test_a_folder_of_locks_that_everybody_could_write_to_is_closed(gpus, bare):
    gpus("GPU-a")
    folder = bare / "locks" / f"tr-detr-pipeline-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with devices.claimed():
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["a link", "a file", "another user's folder"])
def test_what_another_user_planted_is_never_used(gpus, bare, monkeypatch, planted):
    gpus("GPU-a")
    target, second = bare / "target", bare / "second"
    target.mkdir()
    second.mkdir()
    folder = bare / "locks" / f"tr-detr-pipeline-{os.getuid()}"
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

        monkeypatch.setattr(devices.os, "fstat", fstat)
    monkeypatch.setattr(devices, "LOCK_PLACES", (bare / "locks", second))
    with devices.claimed():
        assert [path.name for path in second.iterdir()] == [folder.name]
        assert list(target.iterdir()) == []
    shutil.rmtree(second)
    with pytest.raises(PipelineError, match="no folder for the locks of GPUs"), devices.claimed():
        pass
