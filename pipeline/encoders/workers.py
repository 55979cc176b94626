"""Threads that encode. Each computes on one core, so that numbers do not depend on how many cores there are.

The last bits of a matrix product depend on how many threads share the product. So on a CPU no product is shared.
Several batches are encoded at the same time instead, each on one core. This takes no longer if there are enough
batches. One thread feeds a GPU.
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
    """A pool of n threads. Submitted work is begun in the order in which it was submitted."""

    def __init__(self, n: int) -> None:
        super().__init__(n, initializer=_compute_on_one_core)
        self.n = n

    def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the result of every item, in the order of the items.

        At most n + 1 items are at work or wait to be taken, so that memory stays bounded.
        """
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(self.submit(work, item))
            if len(waiting) > self.n:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Yield the workers for a device: one thread for each core that this job may use, or one thread for a GPU."""
    try:
        with Workers(n_cores() if device == "cpu" else 1) as found:
            yield found
    finally:
        if "torch" in sys.modules:
            import torch

            # A thread that calls torch.set_num_threads changes the number for threads that are started later, too. This
            # call restores the number of this thread for them.
            torch.set_num_threads(torch.get_num_threads())


def n_cores() -> int:
    """Return how many cores this job may use.

    This is OMP_NUM_THREADS, which Snakemake sets to the threads of a rule, or else the number of all cores.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compute_on_one_core() -> None:
    import torch

    torch.set_num_threads(1)
