"""The paths of all files and folders below a results folder.

Only this folder of the code builds such a path or takes one apart. The workflow's rules read `MANIFESTS`; the stages
ask a `Layout`. `runs.py` names runs and the files in the folder of a run. `places.py` is the way back, from the place
of a file to what it is.

A *manifest* is what a rule declares; the files it lists lie beside it, at places that a `Layout` names too.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.layout.places import StorePlace
from pipeline.layout.runs import EPOCHS, LOG

MANIFESTS: dict[str, str] = {
    "fetched": "resources/{name}/fetch.json",
    "unpacked": "resources/{name}/unpack.json",
    "annotations": "annotations/{dataset}/{split}.json",
    "videos": "videos/{dataset}/{shard}.json",
    "segments": "segments/{dataset}/{shard}.json",
    "features": "features/{dataset}/{reader}/{shard}.json",
    "archive": "features/{dataset}/+{name}.json",
    "runs": "runs/{experiment}.{part}.json",
    "predictions": "predictions/{experiment}.json",
    "metrics": "metrics/{experiment}.{split}.json",
    "table": "tables/{table}.json",
    "figure": "figures/{experiment}.json",
    "page": "report/report.json",
    "leaderboard": "report/leaderboard-{dataset}-{split}.json",
}
"""Kind of a manifest → its path below the results folder. The braces are Snakemake's wildcards."""

LOGS: dict[str, str] = {
    "fetch": "logs/fetch/{name}.log",
    "unpack": "logs/unpack/{name}.log",
    "annotate": "logs/annotate/{dataset}.{split}.log",
    "videos": "logs/videos/{dataset}.{shard}.log",
    "segment": "logs/segment/{dataset}.{shard}.log",
    "extract": "logs/extract/{dataset}.{reader}.{shard}.log",
    "import_archive": "logs/import/{dataset}.{name}.log",
    "train": "logs/train/{experiment}.{part}.log",
    "predict": "logs/predict/{experiment}.log",
    "score": "logs/score/{experiment}.{split}.log",
    "tabulate": "logs/tabulate/{table}.log",
    "draw": "logs/draw/{experiment}.log",
    "page": "logs/page.log",
    "leaderboard": "logs/leaderboard/{dataset}.{split}.log",
}
"""Stage → the path of the log of its jobs below the results folder. The braces are Snakemake's wildcards."""

OWN_TABLE = "own_"
"""The start of the name of a table of a dataset of one's own. The name of the dataset follows."""

UNPACKED = "files"
"""The folder with all files that were unpacked from a fetched file. It is in the same folder as that file."""


@dataclass(frozen=True)
class Layout:
    """Makes the paths below one results folder. Its methods only return paths. They create nothing."""

    results: Path

    def manifest(self, kind: str, **wildcards: str) -> Path:
        """Return the path of the manifest of a kind in `MANIFESTS`. wildcards: one value for each of its braces."""
        return self.results / MANIFESTS[kind].format(**wildcards)

    def manifests(self) -> Iterator[Path]:
        """Yield the paths of all manifests that exist, kind by kind, sorted."""
        for pattern in MANIFESTS.values():
            found = self.results.glob(re.sub(r"\{\w+\}", "*", pattern))
            yield from sorted(path for path in found if not self._is_of_own_dataset(path))

    def resource(self, name: str) -> Path:
        """Return the path of the folder of a source. It has the fetched file, its pin, and the files unpacked from
        it."""
        return self.results / "resources" / name

    def last_seen(self) -> Path:
        """Return the path of the file in which `doctor --links` notes when each address of a source last answered."""
        return self.results / "resources" / "last-seen.json"

    def unpacked(self, name: str) -> Path:
        """Return the path of the folder with an archive's members, or with videos of a source that are fetched one by
        one."""
        return self.resource(name) / UNPACKED

    def unpacked_from(self, name: str) -> Path:
        """Return the path of the file with the digest of the archive from which the files were unpacked."""
        return self.resource(name) / "archive.sha256"

    def index(self, name: str) -> Path:
        """Return the path of the table of an archive's members and their sizes."""
        return self.resource(name) / "index.csv"

    def annotations(self, dataset: str, split: str) -> Path:
        """Return the path of the queries of a split, as JSONL in this project's form."""
        return self.results / "annotations" / dataset / f"{split}.jsonl"

    def own_dataset(self, dataset: str) -> Path:
        """Return the path of the definition of a dataset of one's own. Commands that read no config read it."""
        return self.results / "annotations" / dataset / "dataset.json"

    def own_durations(self, dataset: str) -> Path:
        """Return the path of the durations of the videos of a dataset of one's own. They are read from the videos
        once."""
        return self.results / "annotations" / dataset / "durations.json"

    def own_datasets(self) -> list[Path]:
        """Return the paths of the definitions of all datasets of one's own that have annotations, sorted."""
        # With an empty name the path is `annotations/dataset.json`, whose folder has a folder for each dataset.
        return sorted(self.own_dataset("").parent.glob("*/dataset.json"))

    def _is_of_own_dataset(self, path: Path) -> bool:
        """Tell whether a file beside the manifests of annotations describes a dataset of one's own."""
        return path in (self.own_dataset(path.parent.name), self.own_durations(path.parent.name))

    def account(self, dataset: str, shard: str) -> Path:
        """Return the path of the account of a shard's videos: which exist, which do not, and the reason."""
        return self.results / "videos" / dataset / f"{shard}.csv"

    def accounts(self, dataset: str) -> list[Path]:
        """Return the paths of the accounts of all shards that exist, sorted."""
        return sorted((self.results / "videos" / dataset).glob("*.csv"))

    def segments(self, dataset: str, grid: str, shard: str) -> Path:
        """Return the path of the table of a shard's clips on one grid."""
        return self.results / "segments" / dataset / grid / f"{shard}.csv"

    def store(self, dataset: str, place: StorePlace, shard: str) -> Path:
        """Return the path of the feature store of one family, grid and shard."""
        return self.results / "features" / dataset / place.grid / place.folder / f"{shard}.h5"

    def sound_report(self, dataset: str, shard: str) -> Path:
        """Return the path of the table of sound tracks whose number of rows differs from the number of clips."""
        return self.results / "features" / dataset / "sound" / f"{shard}.csv"

    def import_report(self, dataset: str, archive: str) -> Path:
        """Return the path of the table of the files that were found in a released feature archive."""
        return self.results / "features" / dataset / f"+{archive}.csv"

    def runs(self, experiment: str) -> Path:
        """Return the path of the folder with the runs of an experiment."""
        return self.results / "runs" / experiment

    def run(self, experiment: str, run: str) -> Path:
        """Return the path of the folder of one run: weights, training state, `log.csv`, `card.json` and predictions."""
        return self.runs(experiment) / run

    def parts(self, experiment: str) -> list[Path]:
        """Return the paths of the training manifests of an experiment that exist, sorted."""
        return sorted(self.results.glob(MANIFESTS["runs"].format(experiment=glob.escape(experiment), part="*of*")))

    def log(self, experiment: str, run: str) -> Path:
        """Return the path of the learning curve of a run. It has one row per epoch."""
        return self.run(experiment, run) / LOG

    def predictions(self, experiment: str, run: str, split: str, epoch: str) -> Path:
        """Return the path of the predictions of one run. epoch: one of `EPOCHS`."""
        return self.run(experiment, run) / "predictions" / f"{split}-{epoch}.jsonl"

    def metrics(self, experiment: str, run: str, split: str, epoch: str) -> Path:
        """Return the path of the metrics of one run. The file with the results of each query is in the same folder."""
        return self.results / "metrics" / experiment / run / f"{split}-{epoch}.json"

    def all_metrics(self, experiment: str, split: str, epoch: str) -> list[Path]:
        """Return the paths of the metrics of all runs of an experiment that exist, sorted."""
        # With an empty name of a run the path is in the experiment's folder, which has a folder for each run.
        return sorted(self.metrics(experiment, "", split, epoch).parent.glob(f"*/{split}-{epoch}.json"))

    def tables(self) -> Path:
        """Return the path of the folder of all tables."""
        return self.results / "tables"

    def table(self, table: str, suffix: str) -> Path:
        """Return the path of one form of a table. suffix: `csv`, `md`, `tex`, `html` or `txt`."""
        return self.tables() / f"{table}.{suffix}"

    def matrices(self, number: int) -> list[Path]:
        """Return the paths of all forms of the matrices of a table of the paper that exist, sorted."""
        return sorted(self.tables().glob(f"paired{number}-*"))

    def learning_curves(self, experiment: str) -> Path:
        """Return the path of the figure with the learning curves of an experiment's runs."""
        return self.results / "figures" / f"{experiment}.svg"

    def sweep_curve(self, experiment: str) -> Path:
        """Return the path of the figure with the result of every point of a sweep over numbers."""
        return self.results / "figures" / f"{experiment}-sweep.svg"

    def report(self) -> Path:
        """Return the path of the folder with the pages of the report."""
        return self.results / "report"

    def report_index(self) -> Path:
        """Return the path of the first page of the report."""
        return self.report() / "index.html"

    def queries_page(self, dataset: str, split: str) -> Path:
        """Return the path of the page of the report that shows every query of a split."""
        return self.report() / f"{dataset}-{split}.html"

    def leaderboard(self, dataset: str, split: str) -> Path:
        """Return the path of the page that compares all known prediction files of a split."""
        return self.report() / f"leaderboard-{dataset}-{split}.html"

    def pictures(self) -> Path:
        """Return the path of the folder with the pictures of stores that `features inspect` draws."""
        return self.results / "inspect"

    def demo_lock(self) -> Path:
        """Return the path whose lock a running demo holds."""
        return self.results / "demo"

    def benchmark(self) -> Path:
        """Return the path of the folder with the small benchmarks that the demo makes."""
        return self.results / "benchmark"

    def benchmark_manifest(self) -> Path:
        """Return the path of the manifest of the demo's benchmarks."""
        return self.benchmark() / "manifest.json"

    def benchmark_sources(self) -> Path:
        """Return the path of the demo's table of sources."""
        return self.benchmark() / "sources.csv"

    def one_clip_store(self, family: str) -> Path:
        """Return the path of the demo's store with a family's features of one clip."""
        return self.results / "one_clip" / f"{family}.h5"

    def logs(self) -> Path:
        """Return the path of the folder of all logs."""
        return self.results / "logs"


def results_of(manifest: Path) -> Path | None:
    """Return the results folder that contains a manifest, or None if it is not at the place of a manifest."""
    for pattern in MANIFESTS.values():
        # Only the last parts of the path are compared, because the results folder may have any name. A `+` in a pattern
        # is the sign itself, as in the path of an imported archive.
        depth, place = pattern.count("/"), re.sub(r"\{\w+\}", "[^/]+", pattern.replace("+", r"\+"))
        if re.fullmatch(place, "/".join(manifest.parts[-depth - 1 :])):
            return manifest.parents[depth]
    return None


def pin_path_of(fetched: Path) -> Path:
    """Return the path of a fetched file's pin, in the same folder. A pin is the digest of the first download, and is
    used for files for which nobody publishes a digest."""
    return fetched.with_name("pin.json")


def unpacked_path_of(index: Path) -> Path:
    """Return the path of the folder with the members of an archive. index: the table of the members, in the same parent
    folder."""
    return index.with_name(UNPACKED)


def matrix_name(number: int, split: str, epoch: str) -> str:
    """Return the file name of a matrix of paired differences, which is among the tables. number: the paper's table."""
    return f"paired{number}-{split}" + ("" if epoch == EPOCHS[0] else f"-{epoch}")


def queries_path_of(metrics: Path) -> Path:
    """Return the path of the results of each query, which is beside a metrics file."""
    return metrics.with_suffix(".queries.jsonl")


def results_folder_of(run: Path) -> Path | None:
    """Return the results folder that contains the folder of a run, or None for a run at another place."""
    place = run.absolute().parents  # the experiment's folder, `runs`, and the results folder
    return place[2] if len(place) > 2 and place[1].name == "runs" else None


def sources_by_name(manifests: Iterable[Path]) -> dict[str, Path]:
    """Return the manifests of `fetch` by the names of their sources."""
    return {path.parent.name: path for path in manifests}


def annotations_by_split(paths: Iterable[Path]) -> dict[str, Path]:
    """Return manifests of `annotate`, or annotation files, by the splits in their names."""
    return {path.stem: path for path in paths}
