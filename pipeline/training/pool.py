"""Independent runs: side by side with few threads each on a CPU, one after the other on a GPU.

Measured on two cores (CPU seconds of a step, one thread against two): TVSum's shapes 0.51 against 0.67, a batch of
32 videos of ten clips 0.34 against 0.46, of 75 clips 1.94 against 2.53. So a second thread costs what a second run
would gain, and threads are given to runs only when there are more threads than runs.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait

import torch

from pipeline.errors import PipelineError
from pipeline.progress import Progress
from pipeline.video.supervised import no_main_script

Row = dict[str, float]
Tell = Callable[[str, Row], None]
"""Told a run's name and a row of its log."""

Work = Callable[[str, Tell], None]
"""Does one run, by name, and tells every row of its log."""

POLL_S = 0.2

SHARED_IMPORTS = ["pipeline.training.runs", "torch._dynamo", "scipy.optimize", "torch.utils.tensorboard"]
"""Two seconds of imports (the second when an optimizer is made, the third at the first matching), once for all."""

_worker: tuple[Work, Tell]


def shared_out(n_runs: int, device: str) -> tuple[int, int]:
    """Processes, and threads of each, for a job of `n_runs` runs.

    Counted for the whole job, complete runs too: sums depend on the number of threads, so a job that goes on after a
    kill must not share out anew. The threads at hand are torch's: OMP_NUM_THREADS, or the cores.
    """
    threads = torch.get_num_threads()
    processes = min(n_runs, threads) if device == "cpu" else 1
    return processes, threads // processes


def run_all(
    work: Work, runs: Sequence[str], *, processes: int, threads: int, title: str, total: int, unit: str = "epochs"
) -> None:
    """Do all runs, with one progress line (`total` rows to come, in `unit`s). One that fails does not stop the others.

    Raises PipelineError at the end, with what went wrong in each run that failed.
    """
    with Progress(total, unit, title) as shown:

        def tell(run: str, row: Row) -> None:
            shown.add(note=f"{run}: {_shown(row)}")

        at_once = min(processes, len(runs))
        failures = (
            _one_by_one(work, runs, threads, tell) if at_once < 2 else _pooled(work, runs, at_once, threads, tell)
        )
    if failures:
        raise PipelineError(
            f"{len(failures)} of {len(runs)} runs failed: {'; '.join(failures)}",
            where=title,
            remedy="correct it and start the job again: runs that are complete stay",
        )


def _one_by_one(work: Work, runs: Sequence[str], threads: int, tell: Tell) -> list[str]:
    """What went wrong, in words: an error that is kept keeps its run's network and recordings alive."""
    failures = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for run in runs:
            try:
                work(run, tell)
            except PipelineError as error:
                failures.append(str(error))
    finally:
        torch.set_num_threads(before)
    return failures


def _pooled(work: Work, runs: Sequence[str], processes: int, threads: int, tell: Tell) -> list[str]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SHARED_IMPORTS)
    told = context.Queue()
    with ProcessPoolExecutor(processes, context, initializer=_start, initargs=(work, told, threads)) as pool:
        with no_main_script():  # processes start as runs are submitted
            futures = [pool.submit(_do, run) for run in runs]
        waiting = True
        while waiting:
            waiting = bool(wait(futures, timeout=POLL_S).not_done)
            while not told.empty():
                tell(*told.get())
    return [failure for failure in map(_failure, futures) if failure]


def _failure(future: Future) -> str | None:
    """What a user can act on; anything else is raised here."""
    error = future.exception()
    if error is None:
        return None
    if isinstance(error, PipelineError):
        return str(error)
    raise error


def _start(work: Work, told: multiprocessing.Queue, threads: int) -> None:
    """Prepare a worker: its work is unpickled once, so that what it reads can be kept from run to run."""
    global _worker  # noqa: PLW0603 - a worker process has no other place between two tasks
    _worker = (work, lambda run, row: told.put((run, row)))
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: multiprocessing.process.BaseProcess) -> None:
    """A killed job must not leave workers that go on writing where the next job writes."""
    parent.join()
    os._exit(1)


def _do(run: str) -> None:
    work, tell = _worker
    work(run, tell)


def _shown(row: Row) -> str:
    names = [name for name in ("total", "MR-full-mAP", "average") if name in row]
    return ", ".join(f"{'loss' if name == 'total' else name} {row[name]:.4g}" for name in names)
