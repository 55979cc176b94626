"""A run's log as curves that TensorBoard shows while it trains: `tensorboard --logdir results/runs`.

The event file holds what `log.csv` holds and is read by nothing here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

FLUSH_S = 10
"""Seconds after which a reader sees a row."""

Row = Mapping[str, float]


@contextmanager
def drawn(folder: Path, log: Sequence[Row]) -> Iterator[Callable[[Row], None]]:
    """Yield what adds a row of the log, one per epoch, to the run's curves; the rows in `log` are there already.

    A run that goes on after a kill draws all of its log in a new file, which begins by telling readers to forget every
    step of the older ones: these may hold epochs that no state was kept of, and lack others. None is deleted: a
    TensorBoard that is reading one would stay with it.
    """
    from torch.utils.tensorboard import SummaryWriter  # a quarter of a second that only training needs

    _wait_for_a_later_name(folder)
    with SummaryWriter(folder, purge_step=0, flush_secs=FLUSH_S) as writer:

        def add(row: Row) -> None:
            for tag, value in _tagged(row):
                writer.add_scalar(tag, value, int(row["epoch"]))

        for row in log:
            add(row)
        yield add


def _wait_for_a_later_name(folder: Path) -> None:
    """Readers take files in the order of their names, which begin with the second: no two runs' may be the same."""
    seconds = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    time.sleep(min(max(0.0, max(seconds, default=0) + 1 - time.time()), 1.0))


def _tagged(row: Row) -> Iterator[tuple[str, float]]:
    """Losses, the learning rate, then the watched split's metrics, as a row has them, each in a section of its own."""
    section = "loss/"
    for name, value in row.items():
        if name == "learning_rate":
            section = "val/"
            yield name, value
        elif name != "epoch":
            yield section + name, value
