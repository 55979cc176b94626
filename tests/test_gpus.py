"""Tests which GPUs a process may use, with stand-ins for the driver's listing and for CUDA."""

from __future__ import annotations

import os
import signal

import pytest
from made_machine import Machine

from pipeline import gpus
from pipeline.errors import PipelineError
from pipeline.gpus import foreseen, visible_gpus


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


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
def test_a_cuda_visible_devices_that_is_set_is_obeyed(machine, monkeypatch, allowed, seen):
    machine.gpus("GPU-a1", "GPU-b1")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert visible_gpus() == seen
    assert foreseen() == len(seen)


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
def test_a_gpu_that_is_cut_into_parts_has_room_for_a_job_in_each(machine, monkeypatch, allowed, seen):
    machine.gpus("GPU-a", "MIG-a1", "MIG-a2", "GPU-b")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert visible_gpus() == seen


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST", "PCI_BUS_ID"])
@pytest.mark.parametrize(("allowed", "chosen"), [("0", [0]), ("1", [1]), ("1,0", [1, 0]), ("2", [2]), ("GPU-c", [0])])
def test_a_number_means_what_cuda_means_by_it(machine, monkeypatch, order, allowed, chosen):
    by_bus, by_speed = ["GPU-a", "GPU-b", "GPU-c"], ["GPU-c", "GPU-a", "GPU-b"]
    machine.gpus(*by_bus)
    machine.cuda(*by_speed)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    numbered = by_bus if order == "PCI_BUS_ID" and allowed != "GPU-c" else by_speed
    assert visible_gpus() == [numbered[number] for number in chosen]
    assert foreseen() == len(chosen)


def test_an_nvidia_smi_that_cannot_be_killed_is_not_waited_for(machine, monkeypatch):
    """A program that waits in the kernel survives SIGKILL. Here SIGKILL is simply not sent."""
    machine.nvidia_smi("exec /bin/sleep 600")
    sent, kill = [], os.killpg
    monkeypatch.setattr(gpus, "NVIDIA_SMI_LIMIT_S", 0.2)
    monkeypatch.setattr(os, "killpg", lambda *what: sent.append(what))
    with pytest.raises(PipelineError, match="does not answer"):
        visible_gpus()
    ((group, number),) = sent
    assert number == signal.SIGKILL
    kill(group, 0)  # it is still there, so nothing has waited for it
    kill(group, signal.SIGKILL)


def test_a_torch_that_cannot_list_the_gpus_is_told_in_its_own_words(machine, monkeypatch):
    machine.cuda("GPU-a")
    (machine.folder / "torch" / "__init__.py").write_text("raise RuntimeError('CUDA unknown error')")
    with pytest.raises(
        PipelineError, match=r"CUDA unknown error.*CUDA_VISIBLE_DEVICES= and TR_DETR_GPU=optional to work on the CPU"
    ):
        visible_gpus()
