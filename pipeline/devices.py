"""Finds the GPUs that a process may use, and keeps the jobs of one user apart with a lock for each GPU.

The `gpu` tag of a rule only schedules jobs, and any `--resources` on the command line replaces the limit of a profile.
So a lock keeps two jobs of one user off the same GPU. The kernel releases it when the job dies. Jobs of two users do
not see each other's locks. A scheduler must keep them apart, or a different CUDA_VISIBLE_DEVICES for each user.

The GPUs are found in this order. A CUDA_VISIBLE_DEVICES that asks for the CPU is obeyed first. Then nvidia-smi is
asked. torch is asked if there is no nvidia-smi, or if the order of the GPUs matters, which only CUDA knows. A number in
CUDA_VISIBLE_DEVICES means what CUDA means by it ("CUDA Environment Variables" in NVIDIA's CUDA programming guide).
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread

from pipeline import files
from pipeline.errors import PipelineError

POLL_SECONDS = 0.2
NVIDIA_SMI_LIMIT_S = 60.0
TORCH_LIMIT_S = 300.0
"""How long torch may take to answer. Its first import from a shared file system can take minutes."""

SWITCH = "TR_DETR_GPU"
"""The environment variable that decides what a job does without a GPU.

With `required` it fails, and with `optional` it works on the CPU.
"""

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

_LISTED = re.compile(r"UUID: ((?:GPU|MIG)-[^)\s]+)\)")
_NONE_LISTED = re.compile(r"no devices (were )?found", re.IGNORECASE)
_NUMBER = re.compile(r"\+?(\d+)")
_ASK_TORCH = """
import torch
for number in range(torch.cuda.device_count()):
    print("UUID:", torch.cuda.get_device_properties(number).uuid)
"""
_TO_THE_CPU = f"set CUDA_VISIBLE_DEVICES= and {SWITCH}=optional to work on the CPU"


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
    """Whether CUDA_VISIBLE_DEVICES is set to nothing, or to -1."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")


def is_required() -> bool:
    """Whether a job that finds no GPU has to fail.

    This is so if the switch says `required`, or if the switch is not set and Slurm gave the job a GPU.
    Raises PipelineError for an unknown value of the switch.
    """
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "required", "optional"):
        raise PipelineError(f"is `{switch}`", where=SWITCH, remedy="set it to `required` or `optional`, or unset it")
    by_slurm = bool(os.environ.get(SLURM_NAMES)) or any(os.environ.get(n, "0") not in ("", "0") for n in SLURM_COUNTS)
    return switch == "required" or (not switch and by_slurm)


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
                remedy=f"update the NVIDIA driver, or {_TO_THE_CPU}",
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


def has_driver() -> bool:
    """Whether CUDA's driver library can be loaded. This test takes no time on a machine without it."""
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


def answer(command: Sequence[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it printed. Raises TimeoutExpired if it takes longer than the limit.

    The driver of a GPU that is lost can block a program so that not even SIGKILL ends it. So this does not wait for the
    program after it was killed; a thread in the background does.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, complained = process.communicate(timeout=limit_s)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        Thread(target=process.wait, daemon=True).start()
        raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


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


def _first_free(gpus: Sequence[str], held: ExitStack) -> str:
    folder = _lock_folder()
    said = False
    while True:
        for gpu in gpus:
            with suppress(files.BusyError):
                held.enter_context(files.lock(folder / gpu.replace("/", "-")))
                return gpu
        if not said:
            print(f"waiting for one of {len(gpus)} GPU(s): all are taken", file=sys.stderr, flush=True)
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


def _driver_error(what: str) -> PipelineError:
    remedy = f"see to the NVIDIA driver (in a container: give it the GPU again), or {_TO_THE_CPU}"
    return PipelineError(what, where="nvidia-smi", remedy=remedy)


def _torch_error(what: str) -> PipelineError:
    return PipelineError(what, where="torch, asked for the GPUs", remedy=f"see to the NVIDIA driver, or {_TO_THE_CPU}")
