"""The files of a run on disk. With them a run can be killed at any moment, and goes on to the same bits.

While it trains there is `state.pt`: weights, optimizer, schedule and progress, as tensors and plain values only. When
it is complete there are `selected.safetensors`, `last.safetensors`, `log.csv` and, written last, `card.json`. Beside
them stand `seconds.csv`, `commit.txt` (the commit of the checkout when training ended) and TensorBoard's event file
(`curves.py`). These three differ between equal runs, and no result depends on them.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from pipeline import csv_file, files, seal
from pipeline.errors import PipelineError
from pipeline.layout.runs import CARD, COMMIT, EPOCHS, LOG, SECONDS, STATE, weights_of
from pipeline.version import commit


class Stateful(Protocol):
    """Anything whose state can be saved: a network, an optimizer or a schedule."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Replace the state with the given one."""


@dataclass
class Progress:
    """The progress of a run: everything that decides how it goes on, besides weights, optimizer and schedule.

    epoch: number of finished epochs. best: largest value of the selection metric, at best_epoch; None before the first
    evaluation. without_gain: number of evaluations since then. log: one row per epoch. seconds: wall seconds per epoch.
    """

    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    without_gain: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def judge(self, value: float, model: Stateful) -> None:
        """Keep the weights if `value` is strictly larger than all values before, as released."""
        self.without_gain += 1
        if self.best is None or value > self.best:
            self.best, self.best_epoch, self.without_gain = value, self.epoch, 0
            self.best_weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def save_state(folder: Path, made_from: str, parts: Mapping[str, Stateful], progress: Progress, device: str) -> None:
    """Write everything that is needed to continue. The file is replaced completely or not at all.

    made_from: digest of settings and inputs. The first line of the file is the digest of the rest.
    """
    state = {"made_from": made_from, "device": device, "progress": vars(progress)}
    content = io.BytesIO()
    torch.save(state | {name: part.state_dict() for name, part in parts.items()}, content)
    with files.atomic(folder / STATE, "wb") as file:
        file.write(hashlib.sha256(content.getbuffer()).hexdigest().encode() + b"\n")
        file.write(content.getbuffer())
    if not (folder / CARD).exists():  # A complete run of other settings keeps its log until this run is complete.
        _write_logs(folder, progress)


def load_state(folder: Path, made_from: str, parts: Mapping[str, Stateful], device: str) -> Progress:
    """Load a killed run's state into `parts`, or return a new Progress when there is nothing to continue.

    A state that was made from other settings or inputs is ignored. A state of another kind of device is ignored too,
    and this is printed: its optimizer is another one, and its sums differ. Raises PipelineError for a file that is no
    state, and for one that was damaged.
    """
    path = folder / STATE
    if not path.exists():
        return Progress()
    try:
        state = torch.load(io.BytesIO(_whole(path.read_bytes())), map_location=device, weights_only=True)
        if state["made_from"] != made_from:
            return Progress()
        left_by = state.get("device", "cpu")  # States without this key are from before the first training on a GPU.
        if left_by != device:
            print(
                f"{path}: written on a {left_by}, this is a {device}: the run starts anew",
                file=sys.stderr,
            )
            return Progress()
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return Progress(**state["progress"])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        # torch's own error text advises to load the file without the check against running code, so it is not shown.
        why = "is no training state, or was damaged after it was written"
        raise PipelineError(why, where=path, remedy="delete it and run again; that run starts from its seed") from error


def _whole(content: bytes) -> bytes:
    """Return a state without the line of its digest. The digest is checked here, because torch's reader checks no bits.

    Older states have no digest. They begin with the bytes of a ZIP file and are returned unchanged. Raises ValueError
    if the state does not fit its digest.
    """
    if content.startswith(b"PK"):
        return content
    digest, _, state = content.partition(b"\n")
    if hashlib.sha256(state).hexdigest().encode() != digest:
        raise ValueError("the state does not fit its digest")
    return state


def finish(folder: Path, model: Stateful, progress: Progress, card: Mapping[str, Any]) -> None:
    """Write weights, log and card of a complete run, the card last, and delete the state.

    The card is sealed (`pipeline/seal.py`), and gives the digests of the other files.
    """
    # From here until the end the folder may hold files of two runs, so an older card goes first.
    (folder / CARD).unlink(missing_ok=True)
    last = model.state_dict()
    for epoch, weights in zip(EPOCHS, (progress.best_weights or last, last), strict=True):
        with files.atomic(weights_of(folder, epoch), "wb") as file:
            file.write(save({key: tensor.contiguous() for key, tensor in weights.items()}))
    _write_logs(folder, progress)
    _write_commit(folder)
    made = {path.name: files.sha256(path) for path in outputs(folder) if path.name != CARD}
    files.write_json(folder / CARD, seal.sealed({**card, "files": made}))
    (folder / STATE).unlink(missing_ok=True)


def outputs(folder: Path) -> list[Path]:
    """Return the files of a complete run that later stages may read."""
    return [*(weights_of(folder, epoch) for epoch in EPOCHS), folder / LOG, folder / CARD]


def is_complete(folder: Path, made_from: str) -> bool:
    """Tell whether a run with these settings and inputs was completed here and all its files are as they were then."""
    if not all(path.is_file() for path in outputs(folder)):
        return False
    card = files.read_json(folder / CARD, files.MADE_HERE)
    if seal.is_broken(card) or card.get("made_from") != made_from:
        return False
    return all(files.sha256(folder / name) == digest for name, digest in card.get("files", {}).items())


def read_weights(folder: Path, epoch: str, device: str) -> dict[str, Tensor]:
    """Read the weights of the `selected` or `last` epoch. Raises PipelineError for a file that is missing or
    damaged."""
    path = weights_of(folder, epoch)
    try:
        return load_file(path, device=device)
    except (OSError, SafetensorError) as error:
        raise PipelineError(f"cannot be read ({error})", where=path, remedy="train that run again") from error


def _write_logs(folder: Path, progress: Progress) -> None:
    columns = list(dict.fromkeys(name for row in progress.log for name in row))
    csv_file.write(folder / LOG, columns, [[row.get(name, "") for name in columns] for row in progress.log])
    seconds = [[i, f"{s:.3f}"] for i, s in enumerate(progress.seconds, 1)]
    csv_file.write(folder / SECONDS, ["epoch", "seconds"], seconds)


def _write_commit(folder: Path) -> None:
    if found := commit():
        with files.atomic(folder / COMMIT) as file:
            file.write(f"{found}\n")
    else:  # Delete the commit that an earlier training recorded.
        (folder / COMMIT).unlink(missing_ok=True)
