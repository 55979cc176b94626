"""Trains independent runs: at the same time with few threads each on a CPU, and one after the other on a GPU.

CPU seconds of a step were measured on two cores, with one thread and with two: shapes of TVSum 0.51 and 0.67, a batch
of 32 videos of ten clips 0.34 and 0.46, of 75 clips 1.94 and 2.53. So a step needs about a third more CPU time with a
second thread, and it is better to give that thread to another run. A run gets more than one thread only when there are
more threads than runs.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import torch

from pipeline import orphans
from pipeline.errors import PipelineError
from pipeline.nouns import counted
from pipeline.progress import Progress
from pipeline.video.supervised import no_main_script

Row = dict[str, float]
Tell = Callable[[str, Row], None]
"""A function that is called with a run's name and a row of its log."""

Work = Callable[[str, Tell], None]
"""A function that does one run, by name, and passes on every row of its log."""

POLL_S = 0.2

SHARED_IMPORTS = ["pipeline.training.runs", "torch._dynamo", "scipy.optimize", "torch.utils.tensorboard"]
"""Modules that are imported once for all worker processes, because importing them takes two seconds.

The second one is needed when an optimizer is made, and the third one at the first matching."""

_worker: tuple[Work, Tell]


def processes_and_threads(n_runs: int, device: str) -> tuple[int, int]:
    """Return the number of processes, and of threads for each, for a job of `n_runs` runs.

    Complete runs are counted too. Sums depend on the number of threads, so a job that continues after a kill must
    divide the threads as before. The number of threads is torch's: OMP_NUM_THREADS, or the cores.
    """
    threads = torch.get_num_threads()
    processes = min(n_runs, threads) if device == "cpu" else 1
    return processes, threads // processes


def run_all(
    work: Work, runs: Sequence[str], *, processes: int, threads: int, title: str, total: int, unit: str = "epoch"
) -> None:
    """Do all runs, with one progress line. total: the number of rows that all runs will write. unit: what a row stands
    for. A run that fails does not stop the others.

    Raises PipelineError at the end, with the reason of each run that failed.
    """
    with Progress(total, unit, title) as shown:

        def tell(run: str, row: Row) -> None:
            shown.add(note=f"{run}: {_shown(row)}")

        at_once = min(processes, len(runs))
        failures = _one_by_one(work, runs, threads, tell) if at_once < 2 else pooled(work, runs, at_once, threads, tell)
    if failures:
        raise PipelineError(
            f"{len(failures)} of {counted(len(runs), 'run')} failed: {'; '.join(failures)}",
            where=title,
            remedy="correct it and start the job again: runs that are complete stay",
        )


def _one_by_one(work: Work, runs: Sequence[str], threads: int, tell: Tell) -> list[str]:
    """Return the failure as text. An error object that is kept would keep its run's network and recordings in
    memory."""
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


def pooled(work: Work, runs: Sequence[str], processes: int, threads: int, tell: Tell) -> list[str]:
    """Do the work of every run in a pool of processes, and return the errors that a user can act on, as texts.

    processes, threads: the number of processes, and of threads in each. tell: a function that gets what they report.
    Any other error of a process is raised here.
    """
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
    """Return an error that a user can act on. Any other error is raised here, and one for all if a process died."""
    error = future.exception()
    if error is None:
        return None
    if isinstance(error, BrokenProcessPool):
        why = (
            "a process of the job was ended from outside, most often because the memory was full; finished epochs stay"
        )
        raise PipelineError(why, remedy="give the job more memory (`mem_mb`), and run again") from error
    if isinstance(error, PipelineError):
        return str(error)
    raise error


def _start(work: Work, told: multiprocessing.Queue, threads: int) -> None:
    """Prepare a worker process. Its job is unpickled once, so that what it reads can be kept from run to run."""
    global _worker  # noqa: PLW0603 - a worker process has no other place between two tasks
    _worker = (work, lambda run, row: told.put((run, row)))
    torch.set_num_threads(threads)
    orphans.die_with_parent()


def _do(run: str) -> None:
    work, tell = _worker
    work(run, tell)


def _shown(row: Row) -> str:
    names = [name for name in ("total", "MR-full-mAP", "average") if name in row]
    return ", ".join(f"{'loss' if name == 'total' else name} {row[name]:.4g}" for name in names)
