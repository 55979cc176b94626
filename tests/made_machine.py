"""A machine that a test makes up: stand-ins for the driver's listing of GPUs and for CUDA."""

from __future__ import annotations

import os

import torch

from pipeline import devices, gpus

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


class Machine:
    """A machine without nvidia-smi, without CUDA and without the promise of a GPU, until a test says otherwise. Its
    locks are in a separate folder."""

    def __init__(self, folder, monkeypatch, path=""):
        self.folder, self._monkeypatch = folder, monkeypatch
        for name in ("bin", "locks"):
            (folder / name).mkdir()
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{path and ':' + path}")
        for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", gpus.SWITCH, devices.SLURM_NAMES):
            monkeypatch.delenv(name, raising=False)
        for name in devices.SLURM_COUNTS:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(devices, "LOCK_PLACES", (folder / "locks",))
        monkeypatch.setattr(gpus, "has_driver", lambda: False)

    def nvidia_smi(self, *lines):
        """Put an `nvidia-smi` on the path: a script of these lines."""
        script = self.folder / "bin" / "nvidia-smi"
        script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        script.chmod(0o755)

    def gpus(self, *uuids):
        """Put an `nvidia-smi` on the path that lists the GPUs named, and beneath a GPU its parts (MIG)."""
        lines = [
            f"echo '  MIG 1g.10gb Device 0: (UUID: {uuid})'"
            if uuid.startswith("MIG-")
            else f"echo 'GPU 0: NVIDIA A100 80GB (PCIe) (UUID: {uuid})'"
            for uuid in uuids
        ]
        self.nvidia_smi(*(lines or ["echo No devices found."]))

    def cuda(self, *uuids):
        """Let torch, here and in the process that is asked, see these GPUs, fastest first."""
        (self.folder / "torch").mkdir()
        (self.folder / "torch" / "__init__.py").write_text(CUDA)
        self._monkeypatch.setenv("PYTHONPATH", str(self.folder))
        self._monkeypatch.setenv("FAKE_CUDA", ",".join(uuids))
        self._monkeypatch.setattr(gpus, "has_driver", lambda: bool(uuids))
        self._monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(uuids) and cuda_names_one())


def cuda_names_one():
    """Tell whether the start of CUDA_VISIBLE_DEVICES names a GPU of a machine with less than seven."""
    return not os.environ.get("CUDA_VISIBLE_DEVICES", "0").startswith("7")
