"""Checks the GPUs: those of this machine, those that CUDA_VISIBLE_DEVICES allows, and those that torch can use.

nvidia-smi and torch run in separate processes, because both hang or crash if a driver is broken. If there is a GPU,
each method does a training step on it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from pipeline import programs
from pipeline.cost.estimate import CPU_HOURS, GPU_HOURS, estimate
from pipeline.devices import is_required
from pipeline.doctor import isolated
from pipeline.doctor.case import Case
from pipeline.doctor.findings import Finding, named, note, ok, problem
from pipeline.errors import PipelineError
from pipeline.gpus import SWITCH, cpu_is_asked_for, foreseen
from pipeline.nouns import counted

NAME, STEP, TORCH = "gpu", "training step", "torch"
NVIDIA_SMI_S = 10.0
"""Seconds that nvidia-smi may take here. A job waits longer for it."""
TORCH_S = 120.0
"""Seconds that the import of torch may take. From a shared file system it can take a minute."""
STEPS_S = 240.0
"""Seconds that a step of each method may take on a GPU, the start of CUDA included."""
ON_THE_CPU = "set CUDA_VISIBLE_DEVICES= to work on the CPU"
TO_REPAIR = f"install the environment again (`make clean`, `make install`), update the driver, or {ON_THE_CPU}"
GB = 1e9


def check(case: Case) -> Iterator[Finding]:
    """Yield findings about the GPUs that the run can use, or about the consequences of having none."""
    if case.needs is not None and not case.needs.uses_gpu:
        yield ok(NAME, "not needed: no stage of this run uses a GPU")
        return
    found = foreseen(NVIDIA_SMI_S)  # a PipelineError of a driver that fails is a line of the table
    if found == 0:
        yield _without(case)
        if find_spec("torch"):
            yield _torch_alone()
        return
    if not find_spec("torch"):
        return  # the check of the packages names it
    about = isolated.run("pipeline.doctor.steps:facts", None, TORCH_S, "torch, asked for the GPUs,", TO_REPAIR)
    yield _usable(about, found)
    if about["available"]:
        yield _steps(
            isolated.run(
                "pipeline.doctor.steps:problems_by_method", "cuda", STEPS_S, "a training step on the GPU", TO_REPAIR
            )
        )


def _without(case: Case) -> Finding:
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    why = "none here" if allowed is None else f"no GPU may be used: CUDA_VISIBLE_DEVICES is `{allowed}`"
    if not cpu_is_asked_for() and is_required():
        remedy = f"see what `nvidia-smi -L` says, or set {SWITCH}=optional to work on the CPU"
        return problem(NAME, f"{why}, but one is promised: jobs would fail", remedy)
    remedy = "go on, or start the run where a GPU is; docs/running.md says how on a cluster"
    return note(NAME, f"{why}: its stages run on the CPU{_hours(case)}", remedy)


def _hours(case: Case) -> str:
    """Return the cost of working on the CPU in comparison with a GPU, as far as the estimate knows it."""
    if case.needs is None or case.table is None:
        return ""
    try:
        costs = {quantity.label: quantity.total for quantity in estimate(case.needs.cfg, case.table).costs}
    except PipelineError:
        return ""
    cpu, gpu = (sum(costs.get(label, 0.0) for label in labels) for labels in (CPU_HOURS, GPU_HOURS))
    return f", about {cpu:,.0f} core hours in place of {gpu:,.0f} hours of a GPU" if cpu >= 1 else ""


def _torch_alone() -> Finding:
    about = isolated.run("pipeline.doctor.steps:facts", None, TORCH_S, "the import of torch", TO_REPAIR)
    return ok(TORCH, f"{about['torch']} can be imported")


def _usable(about: Mapping[str, Any], found: int | None) -> Finding:
    """Compare the GPUs that torch can use with those that the driver lists. found: the number that the driver lists, or
    None without nvidia-smi."""
    built = f"torch {about['torch']}, built for CUDA {about['cuda']}"
    if not about["available"]:
        if found is None:
            return note(NAME, f"CUDA's driver is here, and {built} finds no GPU", f"check the driver, or {ON_THE_CPU}")
        what = (
            f"{counted(found, 'GPU')} of the driver{_driver()}, and {built} cannot use {'it' if found == 1 else 'them'}"
        )
        return problem(NAME, what, f"update the NVIDIA driver, or {ON_THE_CPU}")
    gpus = [
        f"{gpu['name']} ({gpu['uuid']}, {gpu['free'] / GB:.0f} of {gpu['bytes'] / GB:.0f} GB free)"
        for gpu in about["gpus"]
    ]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = named(gpus) + ("" if allowed is None else f"; CUDA_VISIBLE_DEVICES is `{allowed}`")
    return ok(NAME, f"{counted(len(gpus), 'GPU')}: {listed}; {built}{_driver()}")


def _driver() -> str:
    """Return the version of the driver, or '' if nvidia-smi does not give it."""
    try:
        told = programs.answer(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], NVIDIA_SMI_S
        ).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f", driver {told[0]}" if told and told[0][0].isdigit() else ""


def _steps(wrong: Mapping[str, str]) -> Finding:
    bad = [f"{name} ({why})" for name, why in wrong.items() if why]
    if bad:
        return problem(STEP, "; ".join(bad), TO_REPAIR)
    return ok(STEP, f"{', '.join(wrong)}: equal to the CPU's, and to the recorded step")
