"""Keeps the jobs of one user apart with a lock for each GPU, and says what a job does without one.

The `gpu` tag of a rule only schedules jobs, and any `--resources` on the command line replaces the limit of a profile.
So a lock keeps two jobs of one user off the same GPU. The kernel releases it when the job dies. Jobs of two users do
not see each other's locks. A scheduler must keep them apart, or a different CUDA_VISIBLE_DEVICES for each user.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline import locks
from pipeline.errors import PipelineError
from pipeline.gpus import SWITCH, TO_THE_CPU, cpu_is_asked_for, visible_gpus
from pipeline.nouns import counted

POLL_SECONDS = 0.2

SLURM_COUNTS = ("SLURM_GPUS_ON_NODE", "SLURM_GPUS")
SLURM_NAMES = "SLURM_JOB_GPUS"
"""The environment variables that Slurm sets for a job with GPUs. They say how many GPUs there are, and which."""

LOCK_PLACES = (Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"))  # noqa: S108 - a folder of the user's own is made there
"""Folders in which the folder of locks may lie. The first that works is used.

TMPDIR is not among them, because schedulers give each job a TMPDIR of its own, and jobs would not see each other's
locks.
"""

UNNAMED = "cuda"
"""The name that stands for all GPUs of a machine on which torch can use CUDA but gives no names of GPUs."""


def is_required() -> bool:
    """Tell whether a job that finds no GPU has to fail.

    This is so if the switch says `required`, or if the switch is not set and Slurm gave the job a GPU.
    Raises PipelineError for an unknown value of the switch.
    """
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "required", "optional"):
        raise PipelineError(f"is `{switch}`", where=SWITCH, remedy="set it to `required` or `optional`, or unset it")
    by_slurm = bool(os.environ.get(SLURM_NAMES)) or any(os.environ.get(n, "0") not in ("", "0") for n in SLURM_COUNTS)
    return switch == "required" or (not switch and by_slurm)


@contextmanager
def claimed() -> Iterator[str]:
    """Hold one free GPU during the block and yield `cuda`, or yield `cpu` if there is no GPU.

    If all GPUs are taken, this waits for one and prints one line that says so. It also prints why a job works on the
    CPU. Inside the block CUDA_VISIBLE_DEVICES names the GPU.
    Raises PipelineError if no GPU is found but one is required (`is_required`), and as `visible_gpus` does.
    """
    gpus = visible_gpus()
    with _claimed(gpus) if gpus else _without_gpu() as kind:
        yield kind


@contextmanager
def claimed_for_torch() -> Iterator[str]:
    """Do what `claimed` does, and check that torch can use the GPU.

    Also raises PipelineError if there is a GPU that torch cannot use.
    """
    gpus = visible_gpus()
    if not gpus and not cpu_is_asked_for() and _torch_works():
        gpus = [UNNAMED]
    with _claimed(gpus) if gpus else _without_gpu() as kind:
        if kind == "cuda" and not _torch_works():
            import torch

            raise PipelineError(
                f"there is a GPU here, but torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use it",
                where=os.environ.get("CUDA_VISIBLE_DEVICES"),
                remedy=f"update the NVIDIA driver, or {TO_THE_CPU}",
            )
        yield kind


@contextmanager
def _claimed(gpus: Sequence[str]) -> Iterator[str]:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    with ExitStack() as held:
        gpu = _first_free(gpus, held)
        if gpu != UNNAMED:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        try:
            yield "cuda"
        finally:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            if before is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


@contextmanager
def _without_gpu() -> Iterator[str]:
    """Yield `cpu` and print why. Raises PipelineError if a GPU is required."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if cpu_is_asked_for():
        why, remedy = f"CUDA_VISIBLE_DEVICES is `{allowed}`", "unset CUDA_VISIBLE_DEVICES"
    else:
        why = "no GPU is found here" + (f" (CUDA_VISIBLE_DEVICES is `{allowed}`)" if allowed else "")
        remedy = "see what `nvidia-smi -L` says"
    if is_required():
        raise PipelineError(
            f"{why}, but this job was promised a GPU",
            remedy=f"{remedy}, or set {SWITCH}=optional to work on the CPU",
        )
    print(f"works on the CPU: {why}", file=sys.stderr, flush=True)
    yield "cpu"


def _torch_works() -> bool:
    import torch

    return torch.cuda.is_available()


def _first_free(gpus: Sequence[str], held: ExitStack) -> str:
    folder = _lock_folder()
    said = False
    while True:
        for gpu in gpus:
            with suppress(locks.BusyError):
                held.enter_context(locks.lock(folder / gpu.replace("/", "-")))
                return gpu
        if not said:
            print(
                f"waiting for one of {counted(len(gpus), 'GPU')}: {'it is' if len(gpus) == 1 else 'all are'} taken",
                file=sys.stderr,
                flush=True,
            )
            said = True
        time.sleep(POLL_SECONDS)


def _lock_folder() -> Path:
    """Return the folder of locks. Only this user can read it, and it is the same for all jobs of the user here.

    Raises PipelineError if no folder of LOCK_PLACES can contain it.
    """
    problems = []
    for place in LOCK_PLACES:
        folder = place / f"tr-detr-pipeline-{os.getuid()}"
        try:
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            # Everybody can write to /tmp. O_NOFOLLOW and the owner below refuse a link or folder that another user put
            # there under this name.
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
            continue
        try:
            state = os.fstat(handle)
            if state.st_uid == os.getuid():
                os.fchmod(handle, 0o700)
                return folder
            problems.append(f"{folder}: belongs to user {state.st_uid}")
        finally:
            os.close(handle)
    raise PipelineError(
        f"no folder for the locks of GPUs ({'; '.join(problems)})",
        remedy=f"make {LOCK_PLACES[0]} writable, or remove what has that folder's name",
    )
