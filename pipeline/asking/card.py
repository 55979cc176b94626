"""Reads the card of a run, which says what the network was trained on. Families that cannot be made from a video are
refused.

A card lists the passport of every family. A family is made again exactly as the passport says: by the same revision,
with weights of the same digest, on the same grid and in the same number format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline import config, datasets, families, files, manifests, seal
from pipeline.datasets.definition import Dataset
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, Passport
from pipeline.features.store.passports import passport_from
from pipeline.grids import grid_seconds
from pipeline.layout import Layout, results_folder_of
from pipeline.layout.runs import CARD, EPOCHS, is_imported, runs_below, weights_of
from pipeline.own_families import checked

NO_CARD = "name the folder of a finished run, such as results/runs/EXPERIMENT/RUN"
WHOLE_AGAIN = (
    "copy the folder of the run anew from where it is whole; or delete this file and run the workflow again, which"
    " trains that run again"
)


IMPORT_AGAIN = "delete this file, and import the checkpoint again with `import-checkpoint`"


@dataclass(frozen=True)
class RunCard:
    """The content of the card of one run.

    folder: the folder of the run. results: the results folder that contains it. features: the families in the order in
    which the network reads them. passports: family → passport of the rows that it was trained on. threads: number of
    CPU threads among which sums were divided. longest_clips: number of clips of the longest video in training; None if
    the card does not give it. digests: name of a file of the run → its SHA-256; empty if an older version wrote the
    card. is_import: whether the run is an imported checkpoint, which has the selected epoch only.
    """

    folder: Path
    results: Path
    dataset: str
    features: config.Features
    passports: Mapping[str, Passport]
    settings: config.SweepPoint
    threads: int
    longest_clips: int | None
    digests: Mapping[str, str]
    is_import: bool = False

    @property
    def name(self) -> str:
        """The names of the experiment and of the run."""
        folder = self.folder.absolute()
        return f"{folder.parent.name}/{folder.name}"

    @property
    def about(self) -> Dataset:
        """The object of the dataset that the run was trained on."""
        return datasets.get(self.dataset)

    @property
    def visual(self) -> list[str]:
        """The families of the video and of its sound, in order."""
        return [*self.features.video, *self.features.audio]

    @property
    def grid(self) -> str:
        """The grid of all families of the video."""
        return self.passports[self.features.video[0]].grid

    @property
    def clip_s(self) -> float:
        """Seconds of a clip."""
        return float(grid_seconds(self.grid))

    def widths(self) -> tuple[int, int, int]:
        """Return the widths of video, audio and text, without the columns of endpoints."""
        groups = (self.features.video, self.features.audio, [self.features.text])
        video, audio, text = (sum(self.passports[family].dim for family in group) for group in groups)
        return video, audio, text

    def imported(self) -> list[str]:
        """Return the families whose rows came from a released archive when the run was trained."""
        return [family for family in self.features.all if self.passports[family].origin != "raw"]


def read_card(folder: Path | str) -> RunCard:
    """Read the card of a run, and check that all its families can be made from a video.

    Raises PipelineError for a folder without a finished run, for a card that was changed or has an impossible value,
    and for a run whose features cannot be made from a video here. The last error names every such family with the
    reason.
    """
    folder = Path(folder)
    path = folder / CARD
    if not path.is_file():
        raise PipelineError(f"holds no {CARD}", where=folder, remedy=_advice(folder))
    raw = files.read_json(path, "train that run again")
    if not isinstance(raw, dict):
        raise PipelineError("is no card of a run", where=path, remedy=NO_CARD)
    if seal.is_broken(raw):
        raise PipelineError(manifests.CHANGED, where=path, remedy=IMPORT_AGAIN if is_imported(raw) else WHOLE_AGAIN)
    card = _card(raw, Path(os.path.abspath(folder)), path)  # absolute, so that `.` has its experiment above it
    if complaints := list(_unmakeable(card)):
        raise PipelineError(
            f"this run cannot be asked about a video: {'; '.join(complaints)}",
            where=path,
            remedy="name a run whose families are made here, or train one (`source: raw` in config.yaml)",
        )
    return card


def weights_file_of(card: RunCard, epoch: str) -> Path:
    """Return the weights of one epoch of the run.

    Raises PipelineError if they do not exist, and if their digest is not the one that the card gives.
    """
    if epoch not in EPOCHS:
        raise PipelineError(
            f"there is no epoch `{epoch}`", where=card.folder, remedy=f"name one of {', '.join(EPOCHS)}"
        )
    path = weights_of(card.folder, epoch)
    if card.is_import and epoch != EPOCHS[0]:
        raise PipelineError(
            f"is an imported checkpoint, which has no epoch `{epoch}`",
            where=card.folder,
            remedy=f"ask with the epoch `{EPOCHS[0]}`",
        )
    if not path.is_file():
        remedy = "import the checkpoint again" if card.is_import else "train that run again"
        raise PipelineError("is missing beside the run's card", where=path, remedy=remedy)
    digest = card.digests.get(path.name)
    if digest is not None and (found := files.sha256(path)) != digest:
        why = f"was changed or damaged after it was made: its SHA-256 is {found}, and {CARD} beside it gives {digest}"
        raise PipelineError(why, where=path, remedy=IMPORT_AGAIN if card.is_import else WHOLE_AGAIN)
    return path


def _card(raw: Mapping[str, Any], folder: Path, path: Path) -> RunCard:
    try:
        passports = {str(name): passport_from(values, path) for name, values in dict(raw["features"]).items()}
        dataset = str(raw["dataset"])
        if raw.get("own_dataset"):
            datasets.learn(dataset, raw["own_dataset"])
        datasets.get(dataset)
        own = {str(name): checked(facts, path) for name, facts in dict(raw.get("own_families", {})).items()}
        families.learn(own)
        reads = raw.get("reads") or _features_of_experiment(raw, folder)
        card = RunCard(
            folder=folder,
            results=results_folder_of(folder) or Path("results"),
            dataset=dataset,
            features=config.Features.model_validate(reads),
            passports=passports,
            settings=config.SweepPoint.model_validate({"model": raw["model"], "training": raw["training"]}),
            threads=_count(raw.get("threads", 1), "threads"),
            longest_clips=None if (longest := raw.get("longest_clips")) is None else _count(longest, "longest_clips"),
            digests={str(name): str(digest) for name, digest in dict(raw.get("files", {})).items()},
            is_import=is_imported(raw),
        )
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        what = error.args[0] if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise PipelineError(
            f"is no card that this version can read ({what})", where=path, remedy="train that run again"
        ) from error
    if lacking := [family for family in card.features.all if family not in passports]:
        raise PipelineError(f"has no passport of {', '.join(lacking)}", where=path, remedy="train that run again")
    return card


def _count(value: Any, key: str) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"`{key}` is {value!r}, which is no number from 1 on")
    return value


def _features_of_experiment(raw: Mapping[str, Any], folder: Path) -> Any:
    """Return the families in order from the manifest of the training, for a card that is older than this key."""
    experiment = Path(str(raw["experiment"])).name or "?"
    results = results_folder_of(folder)
    for manifest in Layout(results).parts(experiment) if results else ():
        settings = files.read_json(manifest).get("settings", {})
        if settings.get("experiment") == experiment and settings.get("features"):
            return settings["features"]
    raise PipelineError(
        "does not give the order in which the network reads its families, and no manifest beside the runs gives it",
        where=folder / CARD,
        remedy="train that run again, or copy the manifests runs/EXPERIMENT.*.json along with the run",
    )


def _unmakeable(card: RunCard) -> Iterator[str]:
    """Yield the families that cannot be made from a video as the run read them, each with the reason."""
    for family in card.features.all:
        passport, kind = card.passports[family], FAMILIES[family]
        if kind.encoder is None:
            instead = [name for name, other in FAMILIES.items() if other.instead_of == family]
            advice = f", and a run trained on {' or '.join(instead)} could be asked" if instead else ""
            yield f"{family} is released only: nobody can make it again{advice}"
        elif kind.dim != passport.dim:
            yield f"{family} had rows of {passport.dim} numbers, and here it has {kind.dim}"
        elif passport.origin == "raw" and kind.revision != passport.revision:
            yield f"{family} was made by revision {passport.revision}, and this version makes revision {kind.revision}"
        elif kind.reader != "words" and kind.grid not in (None, passport.grid):
            yield f"{family} was read on the grid {passport.grid}, and is made on {kind.grid} only"


def _advice(folder: Path) -> str:
    below = runs_below(folder)[:5]
    if below:
        return f"name a run below it: {', '.join(map(str, below))}"
    known = runs_below(Layout(Path("results")).runs(""))[:5]
    return f"{NO_CARD}; there are {', '.join(map(str, known))}" if known else NO_CARD
