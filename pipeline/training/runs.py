"""The runs of one training or prediction job: reads their features, trains them and predicts with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from pipeline import config, records
from pipeline.errors import PipelineError
from pipeline.families import own_definitions
from pipeline.files import MADE_HERE, read_json
from pipeline.layout import Layout
from pipeline.layout.places import StorePlace
from pipeline.layout.runs import CARD, EPOCHS, RunId, is_imported
from pipeline.nouns import counted
from pipeline.provenance import Outcome
from pipeline.recorded_settings import skipped_in
from pipeline.training import checkpoint, coverage, pool
from pipeline.training.data import Data, load, open_features
from pipeline.training.loop import Run, train
from pipeline.training.predict import method_for, predict


@dataclass(frozen=True)
class Job:
    """Some runs of one experiment. A job is sent to worker processes, and it keeps what it has read.

    features: the families that the runs read. annotations: split → JSONL file. places: family → the place of its
    stores. manifests: those of the stores. fill: family → the place of the stores that fill missing videos. made_from:
    run → digest of its settings and inputs. layout: the layout of the results. shared: whether features are read into
    memory that worker processes use together.
    """

    name: str
    experiment: config.Experiment
    dataset: config.Dataset
    features: config.Features
    annotations: Mapping[str, Path]
    places: Mapping[str, StorePlace]
    manifests: Sequence[Path]
    made_from: Mapping[str, str]
    layout: Layout
    device: str
    fill: Mapping[str, StorePlace] = field(default_factory=dict)
    threads: int = 1
    shared: bool = False
    _read: dict[Any, tuple[Data, dict[str, Any]]] = field(default_factory=dict)
    _filled: dict[str, str] = field(default_factory=dict)
    _released: dict[str, Any] = field(default_factory=dict)

    def folder(self, run: str) -> Path:
        """Return the folder of one run."""
        return self.layout.run(self.name, run)

    def data(self, split: str, run: str) -> tuple[Data, dict[str, Any]]:
        """Return the data of a run for a split, on the job's device, and the passports of its features. Each is read
        once.

        Raises PipelineError when the split has no query of the run's domain, and as `load` does.
        """
        settings, domain = self.experiment.settings_of(run), self.experiment.domain_of(run)
        training, normalisation = settings.training, settings.model.normalisation(self.experiment.dataset)
        key = (split, domain, training.max_clips, training.max_tokens, training.normalise_text, normalisation)
        if key not in self._read:
            queries = records.read_queries(self.annotations[split])
            mine = [query for query in queries if domain in (None, query.domain)]
            by_choice = [coverage.row_of(query) for query in mine if query.vid in self.dataset.skip]
            if not mine:
                raise PipelineError(
                    f"none of the {counted(len(queries), 'query')} belongs to domain {domain}",
                    where=self.annotations[split],
                    remedy="make the annotations again, or remove the domain from `domains`",
                )
            with open_features(self.places, self.manifests, self.fill) as opened:
                data = load(
                    opened,
                    self.features,
                    [query for query in mine if query.vid not in self.dataset.skip],
                    training=training,
                    normalisation=normalisation,
                    learns=split == "train",
                    shared=self.shared,
                )
                passports = {family: asdict(store.passport) for family, store in opened.stores.items()}
                self._filled.update(opened.filled)
                self._released.update({family: asdict(store.passport) for family, store in opened.released.items()})
            data = replace(data, skipped=[*data.skipped, *by_choice])
            self._read[key] = (data.to(self.device), passports)
        return self._read[key]

    def read_ahead(self, runs: Sequence[str]) -> None:
        """Read the data that these runs need before workers are started. Otherwise each worker would read it again.

        A run whose features cannot be read is ignored here. It fails later in its worker, with its own error, and the
        others go on.
        """
        for run in runs:
            with suppress(PipelineError):
                self.data("train", run)
                self.data("val", run)

    def refuse_missing(self) -> None:
        """Print which queries the runs cannot use. Raises PipelineError as `coverage.check` does."""
        with open_features(self.places, self.manifests, self.fill) as opened:
            coverage.check(self.name, self.experiment, self.dataset, self.features, opened, self.annotations)

    def train(self, run: str, tell: pool.Tell) -> None:
        """Train one run, from its seed to its card."""
        data, passports = self.data("train", run)
        watched, _ = self.data("val", run)
        settings = self.experiment.settings_of(run)
        seed = RunId.parse(run).seed
        card = {
            "experiment": self.name,
            "run": run,
            "dataset": self.experiment.dataset,
            "seed": seed,
            "device": self.device,
            "threads": self.threads,
            "selected_on": "val",
            "features": passports,
            "reads": self.features.model_dump(mode="json"),
            "longest_clips": max(data.n_clips),
            **({"own_dataset": own._asdict()} if (own := self.experiment.about.own) else {}),
            **({"own_families": made} if (made := own_definitions(self.features.all)) else {}),
            **self.filled({"train": data, "val": watched}),
            "skipped": {"train": data.skipped, "val": watched.skipped},
            **settings.model_dump(mode="json"),
        }
        be_exact(self.device)
        here = Run(run, self.experiment.dataset, seed, settings, self.made_from[run], self.folder(run))
        train(here, data, watched, card, device=self.device, tell=tell)

    def filled(self, seen: Mapping[str, Data]) -> dict[str, Any]:
        """Return the facts about filled videos for a card. They are empty without `missing: fill`. They are the
        archive, its passports, and the filled vids of train and of val. `others` are the other filled vids, such as
        those of test.
        """
        if not self.fill:
            return {}
        found = {split: {query.vid for query in data.queries} & set(self._filled) for split, data in seen.items()}
        found["others"] = set(self._filled).difference(*found.values())
        vids = {split: sorted(vids) for split, vids in found.items()}
        return {"filled": {"archive": self.dataset.fill_archive, "features": self._released, "vids": vids}}

    def predict(self, run: str, tell: pool.Tell) -> None:
        """Write the predictions of one run for every split, with the weights of both epochs."""
        settings = self.experiment.settings_of(run)
        be_exact(self.device)
        threads = read_json(self.folder(run) / CARD, MADE_HERE)["threads"]
        # The settings are those of the training's evaluations, because the last bits of sums depend on them.
        torch.set_num_threads(threads)
        for split in self.annotations:
            data, _ = self.data(split, run)
            method = method_for(settings.model, data, self.experiment.dataset, self.device)
            for epoch in EPOCHS:
                method.network.load_state_dict(checkpoint.read_weights(self.folder(run), epoch, self.device))
                rows = predict(
                    method,
                    data,
                    dataset=self.experiment.dataset,
                    batch_size=settings.training.evaluation_batch_size,
                )
                path = self.layout.predictions(self.name, run, split, epoch)
                records.write_jsonl(path, map(records.to_row, rows))
                tell(run, {})

    def skipped(self, run: str) -> Iterator[dict[str, str]]:
        """Yield the queries that a run could not use."""
        for split in self.annotations:
            yield from self.data(split, run)[0].skipped


def train_all(job: Job, runs: Sequence[str]) -> Outcome:
    """Train those of `runs` that are not complete yet.

    Raises PipelineError before the first run for missing videos that the config does not allow and for a folder with an
    imported checkpoint, and after all others when a run failed.
    """
    job.refuse_missing()
    folders = {run: job.folder(run) for run in runs}
    missing = [run for run in runs if not checkpoint.is_complete(folders[run], job.made_from[run])]
    for run in missing:
        _refuse_imported(folders[run])
    processes, threads = pool.processes_and_threads(len(runs), job.device)
    epochs = sum(job.experiment.settings_of(run).training.epochs for run in missing)
    if epochs and any(job.experiment.settings_of(run).training.precision == "bfloat16" for run in missing):
        _warn_of_slow_bfloat16(job.device)
    job = replace(job, threads=threads, shared=min(processes, len(missing)) > 1)
    if job.shared:
        job.read_ahead(missing)
    pool.run_all(job.train, missing, processes=processes, threads=threads, title=f"train {job.name}", total=epochs)
    cards = [read_json(folder / CARD, MADE_HERE) for folder in folders.values()]
    _show(cards)
    return Outcome(
        files=[path for folder in folders.values() for path in checkpoint.outputs(folder)],
        counts={"runs": len(runs), **_n_filled(cards)},
        skipped=_once(row for card in cards for rows in skipped_in(card).values() for row in rows),
    )


def _refuse_imported(folder: Path) -> None:
    """Raise PipelineError for a folder with an imported checkpoint: a training here would write over it."""
    if (folder / CARD).is_file() and is_imported(read_json(folder / CARD, MADE_HERE)):
        raise PipelineError(
            "holds an imported checkpoint, and the training of this run would write over it",
            where=folder,
            remedy="move that folder out of the folder of the experiment, and run again",
        )


def _n_filled(cards: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many videos an archive filled, for the manifest; nothing without `missing: fill`."""
    filled = [card["filled"]["vids"] for card in cards if "filled" in card]
    return {"filled_videos": len({vid for of in filled for vids in of.values() for vid in vids})} if filled else {}


def predict_all(job: Job, runs: Sequence[str]) -> Outcome:
    """Predict every split with every run, one after the other. It takes a small part of the time of training."""
    kept = [(split, epoch) for split in job.annotations for epoch in EPOCHS]
    written = [job.layout.predictions(job.name, run, split, epoch) for run in runs for split, epoch in kept]
    pool.run_all(
        job.predict, runs, processes=1, threads=1, title=f"predict {job.name}", total=len(written), unit="file"
    )
    return Outcome(
        files=written,
        counts={"runs": len(runs), "files": len(written)},
        skipped=_once(row for run in runs for row in job.skipped(run)),
    )


def be_exact(device: str) -> None:
    """Set torch so that equal runs on a GPU give equal bits and that float32 is computed as float32."""
    if device == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.allow_tf32 = False  # torch allows TF32 by default in cuDNN. Here only the GRU uses cuDNN.


def _warn_of_slow_bfloat16(device: str) -> None:
    """Warn when the CPU has no instructions for bfloat16.

    A CPU told not to use them took 2 times the time of float32 with AVX-512, and 14 times with AVX2.
    """
    if device == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_native = any("bf16" in name and has for name, has in torch.cpu.get_capabilities().items())
    if not is_native:
        print(
            f"this {device} has no instructions for bfloat16: training is faster with `precision: float32`",
            file=sys.stderr,
        )


def _show(cards: Sequence[Mapping[str, Any]]) -> None:
    """Print one line per run: the selected epoch and the last, each with the selection metric."""
    for card in cards:
        selected, last = card["selected"], card["last"]
        print(
            f"{card['experiment']}/{card['run']}: {card['metric']} on {card['selected_on']} (n = {card['n_watched']})"
            f" {selected['value']} at the selected epoch {selected['epoch']},"
            f" {last['value']} at the last, {last['epoch']}",
            file=sys.stderr,
        )


def _once(rows: Iterator[dict[str, str]]) -> list[dict[str, str]]:
    return list({row["qid"]: row for row in rows}.values())
