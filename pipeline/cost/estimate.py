"""Estimates the costs of a config's experiments before anything is fetched: bytes, core hours and GPU hours.

`need.py` finds in the config what is needed. `rates.py` has the costs of a row, a second of video and a training step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.acquire.sources import Sources
from pipeline.config import Config
from pipeline.cost import rates
from pipeline.cost.need import HOUR, DatasetNeeds, File, weights
from pipeline.families import FAMILIES, Cost, cost_of

GB = 1e9
SMALL_GB = 0.1
"""Files smaller than this many gigabytes are added up in one line."""

NEGLIGIBLE = 1e-9
"""Amounts that differ by less than this are equal except for rounding."""

TO_FETCH, ON_DISK = "to fetch, GB", "on disk in the end, GB"
"""Labels of the quantities of bytes."""
CPU_HOURS = ("encoding on a CPU, core hours", "training on a CPU, core hours")
GPU_HOURS = ("encoding on a GPU, hours", "training on a GPU, hours")
"""Labels of the quantities of time that depend on the device."""

SHARED = "shared"
"""Name of the column for costs that several datasets share."""


@dataclass(frozen=True)
class Quantity:
    """One quantity of the estimate.

    amounts: dataset (or `shared`) → amount. known: how its figures are known (`measured`, `assumed`, …). parts: the
    quantities whose sum it is.
    """

    label: str
    amounts: Mapping[str, float] = field(default_factory=dict)
    known: str = ""
    parts: Sequence[Quantity] = ()

    @property
    def total(self) -> float:
        """Sum of the amounts of all datasets."""
        return sum(self.amounts.values())


@dataclass(frozen=True)
class Estimate:
    """The whole estimate.

    facts: the sizes of the datasets. costs: the quantities to add up. unsized: files whose size nobody states. unknown:
    datasets without an estimate, because their annotations are not the released files.
    """

    facts: list[Quantity]
    costs: list[Quantity]
    unsized: list[str]
    unknown: list[str]


def estimate(cfg: Config, table: Sources) -> Estimate:
    """Return the cost of all experiments on a machine that has nothing yet.

    Raises PipelineError for a name that the table of sources lacks.
    """
    used = dict.fromkeys(experiment.dataset for experiment in cfg.experiments.values())
    needs = [need for name in used if (need := DatasetNeeds.of(name, cfg, table))]
    files: dict[str, list[File]] = {need.name: need.files(table) for need in needs} | {SHARED: weights(cfg, table)}
    return Estimate(
        facts=[
            Quantity("videos", {need.name: need.n_videos for need in needs}),
            Quantity("hours of video", {need.name: need.hours for need in needs}),
            Quantity("runs", {need.name: need.n_runs for need in needs}),
        ],
        costs=[_to_fetch(files), _on_disk(needs, files), *_decoding(needs), *_encoding(needs), *_training(needs)],
        unsized=sorted({file.source.name for listed in files.values() for file in listed if file.n_bytes is None}),
        unknown=[name for name in used if name not in files],
    )


def without_peers(cfg: Config) -> Config:
    """Return the config without peers, which is the config of `all_tables` and `figures`."""
    kept = {name: experiment for name, experiment in cfg.experiments.items() if name not in cfg.peers}
    return cfg.model_copy(update={"experiments": kept, "peers": []})


def additional_costs(whole: Estimate, base: Estimate) -> Estimate:
    """Return what `whole` costs in addition to `base`. Quantities and lines that do not grow are left out.

    whole: the estimate of a config. base: the estimate of some of its experiments.
    """
    return Estimate(
        facts=_more(whole.facts, base.facts),
        costs=_more(whole.costs, base.costs),
        unsized=[name for name in whole.unsized if name not in base.unsized],
        unknown=[name for name in whole.unknown if name not in base.unknown],
    )


def changed_lines(other: Estimate, base: Estimate) -> Estimate:
    """Return the lines of `other` whose amounts are not those of `base`, with their whole amounts.

    other: the estimate of the same experiments with other settings, such as fewer seeds.
    """
    return Estimate(_changed(other.facts, base.facts), _changed(other.costs, base.costs), [], [])


def _changed(lines: Sequence[Quantity], base: Sequence[Quantity]) -> list[Quantity]:
    different = {line.label: line for line in _more(lines, base)}
    return [
        replace(line, parts=_changed(line.parts, before.parts))
        for line in lines
        if line.label in different
        # The second `for` has one value. It only gives this value a name.
        for before in (next((old for old in base if old.label == line.label), Quantity(line.label)),)
    ]


def _more(whole: Sequence[Quantity], base: Sequence[Quantity]) -> list[Quantity]:
    before = {line.label: line for line in base}
    found = []
    for line in whole:
        old = before.get(line.label, Quantity(line.label))
        amounts = {name: amount - old.amounts.get(name, 0.0) for name, amount in line.amounts.items()}
        more = {name: amount for name, amount in amounts.items() if abs(amount) > NEGLIGIBLE}
        if more:
            found.append(replace(line, amounts=more, parts=_more(line.parts, old.parts)))
    return found


def _to_fetch(files: Mapping[str, Sequence[File]]) -> Quantity:
    lines: list[Quantity] = []
    small: dict[str, float] = defaultdict(float)
    for dataset, listed in files.items():
        for file in listed:
            size = _gigabytes([file])
            if dataset == SHARED or size < SMALL_GB:
                small[dataset] += size
            else:
                lines.append(Quantity(file.source.name, {dataset: size}, file.known))
    weights_gb = Quantity("weights", {SHARED: small.pop(SHARED, 0.0)}, "exact, reported")
    return _sum(TO_FETCH, [*lines, Quantity("small files", small, "exact, reported"), weights_gb])


def _on_disk(needs: Sequence[DatasetNeeds], files: Mapping[str, Sequence[File]]) -> Quantity:
    """Return everything that stays on disk. Weights are read where they were fetched, also out of an archive."""
    unpacked = {need.name: [file for file in files[need.name] if file.source.kind == "archive"] for need in needs}
    stores = {need.name: (need.made_bytes() + sum(need.archived_bytes().values())) / GB for need in needs}
    return _sum(
        ON_DISK,
        [
            Quantity("fetched files", {name: _gigabytes(listed) for name, listed in files.items()}, "as above"),
            Quantity("unpacked archives", {name: _gigabytes(listed) for name, listed in unpacked.items()}, "assumed"),
            Quantity("features", stores, "counted"),
            Quantity("runs", {need.name: need.run_bytes() / GB for need in needs}, "counted"),
        ],
    )


def _decoding(needs: Sequence[DatasetNeeds]) -> list[Quantity]:
    """Return the cost of decoding every video once for each reader."""
    return [
        Quantity(
            f"decoding {size} videos, core hours",
            {need.name: need.hours * sum(rates.DECODING[reader][place] for reader in need.readers) for need in needs},
            "measured",
        )
        for place, size in enumerate(rates.DECODED_SIZES)
    ]


def _encoding(needs: Sequence[DatasetNeeds]) -> list[Quantity]:
    return [
        _by_family(CPU_HOURS[0], needs, lambda cost: (cost.cpu_s, cost.known)),
        _by_family(GPU_HOURS[0], needs, lambda cost: (cost.macs / rates.GPU_MACS, "assumed")),
    ]


def _by_family(label: str, needs: Sequence[DatasetNeeds], seconds: Callable[[Cost], tuple[float, str]]) -> Quantity:
    """Return one line per family. Families of words share a line, because they cost next to nothing.

    seconds: cost of a row → its seconds, and how they are known.
    """
    lines: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    known: dict[str, set[str]] = defaultdict(set)
    for need in needs:
        for family in need.made:
            name = "words" if FAMILIES[family].reader == "words" else family
            per_row, how = seconds(cost_of(family))
            lines[name][need.name] += need.rows(family) * per_row / HOUR
            known[name].add(how)
    return _sum(
        label, [Quantity(name, amounts, ", ".join(sorted(known[name]))) for name, amounts in sorted(lines.items())]
    )


def _training(needs: Sequence[DatasetNeeds]) -> list[Quantity]:
    seen = {need.name: need.training() for need in needs}
    core_hours = {
        name: (steps * rates.STEP_CPU_S + clips * rates.CLIP_CPU_S) / HOUR for name, (clips, steps) in seen.items()
    }
    gpu_hours = {name: steps * rates.STEP_GPU_S / HOUR for name, (_, steps) in seen.items()}
    return [
        Quantity(CPU_HOURS[1], core_hours, "measured"),
        Quantity(GPU_HOURS[1], gpu_hours, "reported, assumed"),
    ]


def _sum(label: str, parts: Sequence[Quantity]) -> Quantity:
    amounts: dict[str, float] = defaultdict(float)
    for part in parts:
        for name, amount in part.amounts.items():
            amounts[name] += amount
    return Quantity(label, amounts, parts=parts)


def _gigabytes(files: Iterable[File]) -> float:
    return sum(file.n_bytes or 0 for file in files) / GB
