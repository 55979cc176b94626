"""Finds the GPUs that a process may use.

They are found in this order. A CUDA_VISIBLE_DEVICES that asks for the CPU is obeyed first. Then nvidia-smi is asked.
torch is asked if there is no nvidia-smi, or if the order of the GPUs matters, which only CUDA knows. A number in
CUDA_VISIBLE_DEVICES means what CUDA means by it ("CUDA Environment Variables" in NVIDIA's CUDA programming guide).
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys

from pipeline.errors import PipelineError
from pipeline.programs import answer

NVIDIA_SMI_LIMIT_S = 60.0
TORCH_LIMIT_S = 300.0
"""The time that torch may take to answer. Its first import from a shared file system can take minutes."""

SWITCH = "TR_DETR_GPU"
"""The environment variable that decides what a job does without a GPU.

With `required` it fails, and with `optional` it works on the CPU.
"""

_LISTED = re.compile(r"UUID: ((?:GPU|MIG)-[^)\s]+)\)")
_NONE_LISTED = re.compile(r"no devices (were )?found", re.IGNORECASE)
_NUMBER = re.compile(r"\+?(\d+)")
_ASK_TORCH = """
import torch
for number in range(torch.cuda.device_count()):
    print("UUID:", torch.cuda.get_device_properties(number).uuid)
"""

TO_THE_CPU = f"set CUDA_VISIBLE_DEVICES= and {SWITCH}=optional to work on the CPU"
"""The advice of an error about a GPU."""


def foreseen(limit_s: float | None = None) -> int | None:
    """Return how many GPUs a job that is started here will find, without importing torch.

    Returns None if only torch could tell, which is so on a machine with CUDA and without nvidia-smi.
    limit_s: as for `listed_gpus`. Raises PipelineError if nvidia-smi fails or hangs.
    """
    if cpu_is_asked_for():
        return 0
    listed = listed_gpus(limit_s)
    if listed is None:
        return None if has_driver() else 0
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len(_parts(listed) if allowed is None else _chosen(allowed, listed))  # the order does not change the number


def visible_gpus() -> list[str]:
    """Return the names (UUIDs) of the GPUs, or of the parts of GPUs (MIG), that this process may use, in CUDA's order.

    Raises PipelineError if nvidia-smi or torch fails or hangs.
    """
    if cpu_is_asked_for():
        return []
    listed = listed_gpus()
    if listed is None:
        return _names_from_torch() if has_driver() else []
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return _parts(listed)
    is_ordered = len(listed) < 2 or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if is_ordered or not _NUMBER.match(allowed.strip()):
        return _chosen(allowed, listed)
    # By default CUDA numbers the fastest GPU first, and nvidia-smi numbers by bus. So CUDA itself is asked, through
    # torch. If torch cannot use these GPUs it names none, and the order of nvidia-smi is taken.
    return _names_from_torch() or _chosen(allowed, listed)


def cpu_is_asked_for() -> bool:
    """Tell whether CUDA_VISIBLE_DEVICES is set to nothing, or to -1."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")


def listed_gpus(limit_s: float | None = None) -> dict[str, list[str]] | None:
    """Return the UUID of each GPU with the UUIDs of its parts (MIG), in the order of `nvidia-smi -L`, which is by bus.

    limit_s: the seconds that nvidia-smi may take (NVIDIA_SMI_LIMIT_S). Returns None if there is no nvidia-smi.
    Raises PipelineError if nvidia-smi fails, does not answer, or prints something else.
    """
    if shutil.which("nvidia-smi") is None:
        return None
    limit_s = NVIDIA_SMI_LIMIT_S if limit_s is None else limit_s
    try:
        told = answer(["nvidia-smi", "-L"], limit_s)
    except subprocess.TimeoutExpired as error:
        raise _driver_error(f"does not answer for {limit_s:g} s") from error
    except OSError as error:
        raise _driver_error(f"cannot be run ({error.strerror})") from error
    said = " ".join((told.stdout + " " + told.stderr).split())
    if _NONE_LISTED.search(said):
        return {}
    listed: dict[str, list[str]] = {}
    for name in _LISTED.findall(told.stdout):
        if name.startswith("GPU-"):
            listed[name] = []
        elif listed:
            listed[next(reversed(listed))].append(name)
    if told.returncode or not listed:
        ending = f" (exit code {told.returncode})" if told.returncode else " where a list of GPUs was expected"
        raise _driver_error(f"says `{said[:200]}`{ending}")
    return listed


def has_driver() -> bool:
    """Tell whether CUDA's driver library can be loaded. This test takes no time on a machine without it."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _names_from_torch() -> list[str]:
    """Return the names of the GPUs in CUDA's own order.

    Another process is started to ask torch. CUDA reads CUDA_VISIBLE_DEVICES only once in a process, so this process
    could not choose a GPU any more after it had asked.
    """
    try:
        told = answer([sys.executable, "-c", _ASK_TORCH], TORCH_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise _torch_error(f"does not answer for {TORCH_LIMIT_S:g} s") from error
    if told.returncode:
        said = told.stderr.strip().rpartition("\n")[2]
        raise _torch_error(f"cannot list them (`{said[:200]}`, exit code {told.returncode})")
    found = re.findall(r"^UUID: (\S+)$", told.stdout, re.MULTILINE)
    return [name if name.startswith(("GPU-", "MIG-")) else f"GPU-{name}" for name in found]


def _chosen(allowed: str, listed: dict[str, list[str]]) -> list[str]:
    """Return the GPUs that a value of CUDA_VISIBLE_DEVICES stands for. Numbers count in the order of `listed`.

    CUDA ignores a wrong name and all names after it, and it sees no GPU if a name is given twice. The same is done
    here.
    """
    gpus: list[str] = []
    for name in allowed.split(","):
        found = _named(name.strip(), listed)
        if not found:
            break
        gpus += found
    return gpus if len(set(gpus)) == len(gpus) else []


def _named(name: str, listed: dict[str, list[str]]) -> list[str]:
    """Return the GPU, or its parts if it has any, that a number or the beginning of a UUID stands for.

    The result is empty if the name stands for no GPU or for several.
    """
    if name.startswith("MIG-"):
        parts = [part for parts in listed.values() for part in parts if part.startswith(name)]
        # Older drivers wrote MIG-GPU-…/1/2. New drivers do not list this form, but CUDA still accepts it.
        return parts if len(parts) == 1 else [name] if "/" in name else []
    if number := _NUMBER.match(name):
        found = list(listed)[int(number[1]) :][:1]
    else:
        found = [gpu for gpu in listed if name.startswith("GPU-") and gpu.startswith(name)]
    return _parts({found[0]: listed[found[0]]}) if len(found) == 1 else []


def _parts(listed: dict[str, list[str]]) -> list[str]:
    """Return what a job can get: whole GPUs, and for a GPU that is divided (MIG) its parts."""
    return [name for gpu, parts in listed.items() for name in (parts or [gpu])]


def _driver_error(what: str) -> PipelineError:
    remedy = f"check the NVIDIA driver (in a container: give it the GPU again), or {TO_THE_CPU}"
    return PipelineError(what, where="nvidia-smi", remedy=remedy)


def _torch_error(what: str) -> PipelineError:
    return PipelineError(what, where="torch, asked for the GPUs", remedy=f"check the NVIDIA driver, or {TO_THE_CPU}")
