"""One job per GPU: a lock per device, held by whoever computes on it, let go of by the kernel when the job dies.

The `gpu` tag of a rule only schedules, and any `--resources` on the command line drops a profile's cap; this lock is
what keeps two jobs off one device. It lies in the host's temporary folder, since the device belongs to the host.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from pipeline.errors import PipelineError

POLL_SECONDS = 0.2


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs this process may use, obeying a CUDA_VISIBLE_DEVICES that is set; empty without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    answer = subprocess.run(
        ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    present = [line.strip() for line in answer.stdout.splitlines() if line.strip()] if answer.returncode == 0 else []
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return present
    named = (_named(name.strip(), present) for name in allowed.split(","))
    return [gpu for gpu in takewhile(bool, named) if gpu]  # CUDA, too, sees none from the first unknown name on


def _named(name: str, present: list[str]) -> str | None:
    """The GPU that a number, or the beginning of a UUID, stands for; None where it is none (`-1`, `NoDevFiles`)."""
    if name.startswith("MIG-") and present:  # a part of a GPU, which the driver lists elsewhere
        return name
    if name.isdecimal():
        found = present[int(name) :][:1]
    else:
        found = [gpu for gpu in present if name.startswith("GPU-") and gpu.startswith(name)]
    return found[0] if len(found) == 1 else None


@contextmanager
def claimed() -> Iterator[str]:
    """Hold one free GPU for the length of the block and yield `cuda`; yield `cpu` at once where there is none.

    Waits for a device when all are taken, and says so once. Inside the block CUDA_VISIBLE_DEVICES names the device.
    """
    gpus = visible_gpus()
    if not gpus:
        yield "cpu"
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpu, handle = _first_free(gpus)
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        yield "cuda"
    finally:
        os.close(handle)
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


@contextmanager
def claimed_for_torch() -> Iterator[str]:
    """`claimed`, once torch agrees. Raises PipelineError where a GPU is there that torch cannot use."""
    with claimed() as kind:
        if kind == "cuda":
            import torch

            if not torch.cuda.is_available():
                raise PipelineError(
                    f"there is a GPU here, but torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use it",
                    where=os.environ.get("CUDA_VISIBLE_DEVICES"),
                    remedy="update the NVIDIA driver, or set CUDA_VISIBLE_DEVICES= to work on the CPU",
                )
        yield kind


def _first_free(gpus: list[str]) -> tuple[str, int]:
    said = False
    while True:
        for gpu in gpus:
            handle = _try_lock(gpu)
            if handle is not None:
                return gpu, handle
        if not said:
            print(f"waiting for one of {len(gpus)} GPU(s): all are taken", file=sys.stderr)
            said = True
        time.sleep(POLL_SECONDS)


def _try_lock(gpu: str) -> int | None:
    path = Path(tempfile.gettempdir()) / f"tr-detr-pipeline-{gpu.replace('/', '-')}.lock"
    try:
        # Another user's file in a sticky folder opens read-only and without O_CREAT; flock needs no more.
        handle = os.open(path, os.O_RDONLY if path.exists() else os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise PipelineError(f"lock cannot be opened ({error.strerror})", where=path, remedy="set TMPDIR") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
