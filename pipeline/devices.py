"""One job per GPU: which GPUs a process may use, and a lock per GPU that keeps this user's jobs apart.

The `gpu` tag of a rule only schedules, and any `--resources` on the command line drops a profile's cap; the lock keeps
two jobs of one user off one GPU. The kernel lets go of it when the job dies. Jobs of two users do not see each other's
locks: they are kept apart by a scheduler, or by a CUDA_VISIBLE_DEVICES for each of them.

GPUs are asked for in this order: a CUDA_VISIBLE_DEVICES that asks for the CPU, nvidia-smi, and torch where there is no
nvidia-smi or where only CUDA knows its order. Numbers mean what CUDA means by them, see "CUDA Environment Variables" in
NVIDIA's CUDA programming guide.
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
"""Importing torch from a shared file system that has not seen it lately takes minutes."""

SWITCH = "TR_DETR_GPU"
"""Environment variable. `required`: a job that finds no GPU fails. `optional`: it works on the CPU."""
SLURM_COUNTS = ("SLURM_GPUS_ON_NODE", "SLURM_GPUS")
SLURM_NAMES = "SLURM_JOB_GPUS"
"""What Slurm sets where it gave a job GPUs: how many, and which."""
LOCK_PLACES = (Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"))  # noqa: S108 - a folder of the user's own is made there
"""Where the folder of locks may lie; the first that works. Not TMPDIR: schedulers give each job a TMPDIR of its own."""

UNNAMED = "cuda"
"""Stands for all GPUs of a machine on which torch can use CUDA, but nobody can name a GPU."""

_LISTED = re.compile(r"UUID: ((?:GPU|MIG)-[^)\s]+)\)")
_NONE_LISTED = re.compile(r"no devices (were )?found", re.IGNORECASE)
_NUMBER = re.compile(r"\+?(\d+)")
_ASK_TORCH = """
import torch
for number in range(torch.cuda.device_count()):
    print("UUID:", torch.cuda.get_device_properties(number).uuid)
"""
_TO_THE_CPU = "set CUDA_VISIBLE_DEVICES= to work on the CPU"


def foreseen() -> int | None:
    """How many GPUs jobs started here will find; None where only torch can tell: with CUDA, without nvidia-smi.

    Light: torch is not imported. Raises PipelineError for an nvidia-smi that fails or hangs.
    """
    if cpu_is_asked_for():
        return 0
    listed = listed_gpus()
    if listed is None:
        return None if _has_driver() else 0
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len(_parts(listed) if allowed is None else _chosen(allowed, listed))  # the order does not change the number


def visible_gpus() -> list[str]:
    """Names (UUIDs) of the GPUs, or of the parts of GPUs (MIG), that this process may use, in CUDA's order.

    Raises PipelineError for an nvidia-smi that fails or hangs, and for a torch that does.
    """
    if cpu_is_asked_for():
        return []
    listed = listed_gpus()
    if listed is None:
        return _names_from_torch() if _has_driver() else []
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return _parts(listed)
    is_ordered = len(listed) < 2 or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if is_ordered or not _NUMBER.match(allowed.strip()):
        return _chosen(allowed, listed)
    return _names_from_torch() or _chosen(allowed, listed)  # torch may be unable to use what is there


def cpu_is_asked_for() -> bool:
    """Whether CUDA_VISIBLE_DEVICES is set to nothing, or to -1."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")


def is_required() -> bool:
    """Whether a job that finds no GPU has to fail: the switch says so or, where it is not set, Slurm gave it one.

    Raises PipelineError for a value of the switch that means nothing.
    """
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "required", "optional"):
        raise PipelineError(f"is `{switch}`", where=SWITCH, remedy="set it to `required` or `optional`, or unset it")
    by_slurm = bool(os.environ.get(SLURM_NAMES)) or any(os.environ.get(n, "0") not in ("", "0") for n in SLURM_COUNTS)
    return switch == "required" or (not switch and by_slurm)


def listed_gpus() -> dict[str, list[str]] | None:
    """Each GPU's UUID → those of its parts (MIG), as `nvidia-smi -L` lists them, by bus; None without nvidia-smi.

    Raises PipelineError for an nvidia-smi that fails, says nothing of use, or does not answer.
    """
    if shutil.which("nvidia-smi") is None:
        return None
    try:
        answer = _answer(["nvidia-smi", "-L"], NVIDIA_SMI_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise _driver_error(f"does not answer for {NVIDIA_SMI_LIMIT_S:g} s") from error
    except OSError as error:
        raise _driver_error(f"cannot be run ({error.strerror})") from error
    said = " ".join((answer.stdout + " " + answer.stderr).split())
    if _NONE_LISTED.search(said):
        return {}
    listed: dict[str, list[str]] = {}
    for name in _LISTED.findall(answer.stdout):
        if name.startswith("GPU-"):
            listed[name] = []
        elif listed:
            listed[next(reversed(listed))].append(name)
    if answer.returncode or not listed:
        ending = f" (exit code {answer.returncode})" if answer.returncode else " where a list of GPUs was expected"
        raise _driver_error(f"says `{said[:200]}`{ending}")
    return listed


@contextmanager
def claimed() -> Iterator[str]:
    """Hold one free GPU for the length of the block and yield `cuda`; yield `cpu` at once where there is none.

    Waits for a GPU when all are taken, and says so once; says, too, why it works on the CPU. Inside the block
    CUDA_VISIBLE_DEVICES names the GPU. Raises PipelineError where none is found but one is required (`is_required`),
    and as `visible_gpus` does.
    """
    gpus = visible_gpus()
    with _claimed(gpus) if gpus else _without_gpu() as kind:
        yield kind


@contextmanager
def claimed_for_torch() -> Iterator[str]:
    """`claimed`, once torch agrees. Raises PipelineError, too, where a GPU is there that torch cannot use."""
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
    """The CPU, and a line that says why. Raises PipelineError where a GPU is required."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if cpu_is_asked_for():
        why = f"CUDA_VISIBLE_DEVICES is `{allowed}`"
    else:
        why = "no GPU is found here" + (f" (CUDA_VISIBLE_DEVICES is `{allowed}`)" if allowed else "")
        if is_required():
            raise PipelineError(
                f"{why}, but this job was promised one",
                remedy=f"see what `nvidia-smi -L` says, or set {SWITCH}=optional to work on the CPU",
            )
    print(f"works on the CPU: {why}", file=sys.stderr, flush=True)
    yield "cpu"


def _torch_works() -> bool:
    import torch

    return torch.cuda.is_available()


def _has_driver() -> bool:
    """Whether CUDA's driver library can be loaded, which takes no time where there is none."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _names_from_torch() -> list[str]:
    """The GPUs as CUDA numbers them. A process of its own is asked: this one could choose no GPU after asking."""
    try:
        answer = _answer([sys.executable, "-c", _ASK_TORCH], TORCH_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise _torch_error(f"does not answer for {TORCH_LIMIT_S:g} s") from error
    if answer.returncode:
        said = answer.stderr.strip().rpartition("\n")[2]
        raise _torch_error(f"cannot list them (`{said[:200]}`, exit code {answer.returncode})")
    found = re.findall(r"^UUID: (\S+)$", answer.stdout, re.MULTILINE)
    return [name if name.startswith(("GPU-", "MIG-")) else f"GPU-{name}" for name in found]


def _answer(command: Sequence[str], limit_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program and wait for its end, but never longer than the limit (TimeoutExpired).

    A lost GPU can hold a program so firmly that not even SIGKILL ends it, so nobody waits for it after that.
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
    """What CUDA_VISIBLE_DEVICES stands for, numbers counted as listed. CUDA sees none from the first wrong name on.

    Nor does it see any where a name is given twice.
    """
    gpus: list[str] = []
    for name in allowed.split(","):
        found = _named(name.strip(), listed)
        if not found:
            break
        gpus += found
    return gpus if len(set(gpus)) == len(gpus) else []


def _named(name: str, listed: dict[str, list[str]]) -> list[str]:
    """The GPU, or its parts where it has some, that a number or the beginning of a UUID stands for; empty for none."""
    if name.startswith("MIG-"):
        parts = [part for parts in listed.values() for part in parts if part.startswith(name)]
        # The form of older drivers, MIG-GPU-…/1/2, is listed by no new one; CUDA knows it all the same.
        return parts if len(parts) == 1 else [name] if "/" in name else []
    if number := _NUMBER.match(name):
        found = list(listed)[int(number[1]) :][:1]
    else:
        found = [gpu for gpu in listed if name.startswith("GPU-") and gpu.startswith(name)]
    return _parts({found[0]: listed[found[0]]}) if len(found) == 1 else []


def _parts(listed: dict[str, list[str]]) -> list[str]:
    """What a job can have: whole GPUs, and the parts of those that are cut into parts."""
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
    """A folder that only this user can read, the same for all jobs of the user on this machine.

    Raises PipelineError where no place can hold one.
    """
    problems = []
    for place in LOCK_PLACES:
        folder = place / f"tr-detr-pipeline-{os.getuid()}"
        try:
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
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
