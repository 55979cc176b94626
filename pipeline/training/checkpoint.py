"""What a run leaves on disk, so that it can be killed at any moment, continued to the same bits, and trusted later.

While it trains: `state.pt` (weights, optimizer, schedule, how far it came; tensors and plain values only). When it is
complete: `selected.safetensors`, `last.safetensors`, `log.csv` and, last of all, `card.json`. Beside them stand
`seconds.csv` and TensorBoard's event file (`curves.py`), which no two runs have in common and nothing depends on.
"""

from __future__ import annotations

import csv
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from pipeline import files
from pipeline.errors import PipelineError
from pipeline.layout import CARD, EPOCHS, LOG, SECONDS, STATE, weights_of


class Stateful(Protocol):
    """A network, an optimizer or a schedule."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take them over."""


@dataclass
class Progress:
    """How far a run has come: all that decides what happens next besides weights, optimizer and schedule.

    epoch: finished ones. best: largest value of the selection metric, at best_epoch; None before the first evaluation.
    without_gain: evaluations since then. log: one row per epoch. seconds: wall seconds per epoch.
    """

    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    without_gain: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def judge(self, value: float, model: Stateful) -> None:
        """Keep the weights if `value` is strictly larger than all before, as released."""
        self.without_gain += 1
        if self.best is None or value > self.best:
            self.best, self.best_epoch, self.without_gain = value, self.epoch, 0
            self.best_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def save_state(folder: Path, made_from: str, parts: Mapping[str, Stateful], progress: Progress, device: str) -> None:
    """Write everything needed to go on, whole or not at all. made_from: digest of settings and inputs."""
    state = {"made_from": made_from, "device": device, "progress": vars(progress)}
    with files.atomic(folder / STATE, "wb") as file:
        torch.save(state | {name: part.state_dict() for name, part in parts.items()}, file)
    if not (folder / CARD).exists():  # a complete run of other settings keeps its log until this one is complete
        _write_logs(folder, progress)


def load_state(folder: Path, made_from: str, parts: Mapping[str, Stateful], device: str) -> Progress:
    """Put `parts` where a killed run left them; a fresh Progress where there is nothing to go on with.

    A state made from other settings or inputs is passed over; so is one of another kind of device, whose optimizer is
    another and whose sums differ, and that is said. Raises PipelineError for a file that is no state.
    """
    path = folder / STATE
    if not path.exists():
        return Progress()
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if state["made_from"] != made_from:
            return Progress()
        left_by = state.get("device", "cpu")  # states of before this key: no GPU had trained yet
        if left_by != device:
            print(f"{path}: left by a {left_by}, this is a {device}: the run begins anew", file=sys.stderr)
            return Progress()
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return Progress(**state["progress"])
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        kind = type(error).__name__  # torch's own words advise to load the file without its safeguard
        raise PipelineError(
            f"is no training state ({kind})", where=path, remedy="delete it; that run starts again"
        ) from error


def finish(folder: Path, model: Stateful, progress: Progress, card: Mapping[str, Any]) -> None:
    """Write weights, log and card of a complete run, the card last, and let go of the state."""
    (folder / CARD).unlink(missing_ok=True)  # from here on the folder's files are of two runs, if one was here before
    last = model.state_dict()
    for epoch, weights in zip(EPOCHS, (progress.best_weights or last, last), strict=True):
        with files.atomic(weights_of(folder, epoch), "wb") as file:
            file.write(save({key: tensor.contiguous() for key, tensor in weights.items()}))
    _write_logs(folder, progress)
    files.write_json(folder / CARD, card)
    (folder / STATE).unlink(missing_ok=True)


def outputs(folder: Path) -> list[Path]:
    """The files of a complete run that later stages may read."""
    return [*(weights_of(folder, epoch) for epoch in EPOCHS), folder / LOG, folder / CARD]


def is_complete(folder: Path, made_from: str) -> bool:
    """Whether a run with these settings and inputs ended here and everything it wrote is still there."""
    if not all(path.is_file() for path in outputs(folder)):
        return False
    return bool(files.read_json(folder / CARD, files.MADE_HERE).get("made_from") == made_from)


def read_weights(folder: Path, epoch: str, device: str) -> dict[str, Tensor]:
    """Weights of the `selected` or `last` epoch. Raises PipelineError for a file that is missing or damaged."""
    path = weights_of(folder, epoch)
    try:
        return load_file(path, device=device)
    except (OSError, SafetensorError) as error:
        raise PipelineError(f"cannot be read ({error})", where=path, remedy="train that run again") from error


def _write_logs(folder: Path, progress: Progress) -> None:
    columns = list(dict.fromkeys(name for row in progress.log for name in row))
    _write_csv(folder / LOG, columns, [[row.get(name, "") for name in columns] for row in progress.log])
    _write_csv(folder / SECONDS, ["epoch", "seconds"], [[i, f"{s:.3f}"] for i, s in enumerate(progress.seconds, 1)])


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with files.atomic(path) as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
