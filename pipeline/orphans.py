"""Makes a worker process end when the process that started it ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import threading


def die_with_parent() -> None:
    """End this worker when its parent dies. It is the `initializer` of a pool, or is called by one.

    Without this, a worker of a killed process would wait for work for ever, or write to files of the next process. In a
    process that was not started by a pool, this does nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
