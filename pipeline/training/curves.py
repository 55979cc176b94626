"""TensorBoard shows a run's log as curves while it trains: `tensorboard --logdir results/runs`.

The event file has the same content as `log.csv`, and nothing here reads it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline import files

FLUSH_S = 10
"""Largest number of seconds until a reader sees a new row."""

Row = Mapping[str, float]


@contextmanager
def drawn(folder: Path, log: Sequence[Row]) -> Iterator[Callable[[Row], None]]:
    """Yield a function that adds one row of the log (one epoch) to the run's curves. The rows in `log` are drawn first.

    A run that continues after a kill draws all of its log in a new file. This file begins by telling readers to forget
    every step of the older ones, which may hold epochs that are not in the state, and lack others. The older files are
    not deleted, because a TensorBoard that is reading one of them would not change to the new file. Raises
    PipelineError if the file cannot be written.
    """
    # This import takes a quarter of a second, and only training needs it.
    from torch.utils.tensorboard import SummaryWriter

    _wait_for_a_later_name(folder)
    try:
        with _without_its_traceback(), SummaryWriter(folder, purge_step=0, flush_secs=FLUSH_S) as writer:

            def add(row: Row) -> None:
                for tag, value in _tagged(row):
                    writer.add_scalar(tag, value, int(row["epoch"]))

            for row in log:
                add(row)
            yield add
    except OSError as error:
        raise files.cannot_write(folder, error) from error


@contextmanager
def _without_its_traceback() -> Iterator[None]:
    """Keep the writer's thread from printing a traceback when it cannot write, because the next row raises its error
    in this thread."""
    usual = threading.excepthook

    def say(found: threading.ExceptHookArgs) -> None:
        if not issubclass(found.exc_type, OSError):
            usual(found)

    threading.excepthook = say
    try:
        yield
    finally:
        threading.excepthook = usual


def _wait_for_a_later_name(folder: Path) -> None:
    """Wait until the name of a new file is later than those of older files.

    Readers sort files by name, which begins with the second, so no two files may have the same second.
    """
    seconds = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    time.sleep(min(max(0.0, max(seconds, default=0) + 1 - time.time()), 1.0))


def _tagged(row: Row) -> Iterator[tuple[str, float]]:
    """Yield the losses, the learning rate and the metrics of the watched split in a row. Each name has the section of
    TensorBoard in front."""
    section = "loss/"
    for name, value in row.items():
        if name == "learning_rate":
            section = "val/"
            yield name, value
        elif name != "epoch":
            yield section + name, value
