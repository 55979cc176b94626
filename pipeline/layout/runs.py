"""The names of runs, and the files in the folder of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError

EVERYTHING = "all"
"""The domain in the name of a run of a dataset that is not split into domains."""

RELEASED_RUN = "released"
"""The run name that stands for a prediction file that its authors released."""

IMPORTED = "released checkpoint"
"""The beginning of `origin` in the card of a run that is an imported checkpoint. The card of a trained run has none."""

EPOCHS = ("selected", "last")
"""The two epochs of a run whose weights, predictions and metrics are kept."""

STATE, LOG, SECONDS, CARD = "state.pt", "log.csv", "seconds.csv", "card.json"
"""Files in the folder of a run: the state from which training continues, the learning curve, the wall seconds of each
epoch, and the card that describes the run."""
COMMIT = "commit.txt"
"""The file in the folder of a run with the commit of the code. No manifest lists it, because the same work gives the
same bytes with different commits."""

_RUN = re.compile(r"(?:(?P<point>[A-Za-z0-9.]+)-)?(?P<domain>[A-Za-z]+)-s(?P<seed>\d+)")


@dataclass(frozen=True)
class RunId:
    """The identity of one training: a seed, a domain (`all` if a dataset has none), and a point of the sweep, or ''.

    `str()` gives its name, `{point-}{domain}-s{seed}`, which is the run's folder. `parse` does the reverse.
    """

    seed: int
    domain: str = EVERYTHING
    point: str = ""

    def __str__(self) -> str:
        return f"{self.point}-{self.domain}-s{self.seed}" if self.point else f"{self.domain}-s{self.seed}"

    @classmethod
    def parse(cls, name: str) -> RunId:
        """Return the run with this name. Raises PipelineError if this is no name of a run."""
        parts = _RUN.fullmatch(name)
        if parts is None:
            raise PipelineError("is not the name of a run", where=name, remedy="name one like all-s2017 or a-all-s2017")
        return cls(int(parts["seed"]), parts["domain"], parts["point"] or "")


def is_name_of_run(name: str) -> bool:
    """Tell whether this is a valid name of a run."""
    return _RUN.fullmatch(name) is not None


def is_imported(card: Any) -> bool:
    """Tell whether the content of a card is that of an imported checkpoint."""
    return isinstance(card, dict) and str(card.get("origin", "")).startswith(IMPORTED)


def weights_of(folder: Path, epoch: str) -> Path:
    """Return the path of the weights of a run. folder: the run's folder. epoch: one of `EPOCHS`."""
    return folder / f"{epoch}.safetensors"


def runs_below(folder: Path) -> list[Path]:
    """Return the folders of finished runs at or below a folder, sorted."""
    return sorted(path.parent for path in folder.glob(f"**/{CARD}"))
