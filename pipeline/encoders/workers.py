"""Threads that encode, each computing on one core, so that numbers do not depend on how many cores there are.

Sums in matrix products depend in their last bits on the number of threads that share one product. So on a CPU no
product is shared: several batches are encoded at a time instead, one core each. That is no slower, as long as there are
batches enough. A GPU is fed by one thread.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(ThreadPoolExecutor):
    """n threads; what is submitted is begun in this order."""

    def __init__(self, n: int) -> None:
        super().__init__(n, initializer=_compute_on_one_core)
        self.n = n

    def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The result of every item, in their order; at most one per thread and one more are at work or wait."""
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(self.submit(work, item))
            if len(waiting) > self.n:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Workers for a device: a thread per core that this job may use, or one for a GPU."""
    try:
        with Workers(n_cores() if device == "cpu" else 1) as found:
            yield found
    finally:
        if "torch" in sys.modules:
            import torch

            # What the threads said of themselves, torch keeps for threads to come.
            torch.set_num_threads(torch.get_num_threads())


def n_cores() -> int:
    """Cores that this job may use: OMP_NUM_THREADS, which Snakemake sets to a rule's threads, or all there are."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compute_on_one_core() -> None:
    import torch

    torch.set_num_threads(1)
