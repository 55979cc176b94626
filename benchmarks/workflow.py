"""Measures what a plan costs (`snakemake -n`): for the paper, and for invented datasets of 1e3, 1e4 and 1e5 videos.

    python benchmarks/workflow.py                        # --videos 1000 10000 for fewer

The paper is config.yaml on a machine that has nothing yet. An invented dataset replaces QVHighlights in it, with the
same number of videos in a shard (317) and the experiments that read it. It is planned first with nothing there, and
then with everything up to features, one video in twenty left out, and Snakemake's records. For each plan it prints
jobs, CPU seconds, wall seconds, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline import config, files, stage_requests
from pipeline.acquire import originals, sources
from pipeline.families import FAMILIES
from pipeline.layout import Layout
from pipeline.layout.places import StorePlace
from pipeline.provenance import StageRequest
from pipeline.shards import shard_names
from pipeline.stages import STAGES, StageJob

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Layout(Path("results"))
QVHIGHLIGHTS = {"dataset": "qvhighlights"}
VIDEOS_A_SHARD = 317
"""QVHighlights: 10,148 in 32 shards."""
OF_NOTHING = hashlib.sha256(b"").hexdigest()
"""The digest of an empty file. A plan compares the digests of small files."""
LEFT_OUT = 20
"""One video of so many is missing, and named in every manifest of its shard."""


class Plan(NamedTuple):
    """The number of jobs that one dry run planned, and the time that it took."""

    jobs: int
    cpu_s: float
    wall_s: float
    mib: float


def main() -> None:
    """Print a line per plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options = parser.parse_args()
    print(f"{'plan':<44} {'jobs':>6} {'CPU s':>6} {'wall s':>6} {'MiB':>5}")
    with tempfile.TemporaryDirectory() as scratch:
        show("the whole paper, nothing there", plan(Path(scratch), ROOT / "config.yaml"))
    for n_videos in options.videos:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            settings = made_up(folder, n_videos)
            show(f"{n_videos:,} videos, nothing there", plan(folder, folder / "config.yaml"))
            make_everything_up_to_features(folder, settings, n_videos)
            remember_everything(folder, settings)
            show(f"{n_videos:,} videos, features there", plan(folder, folder / "config.yaml"))


def show(name: str, measured: Plan) -> None:
    """Print one line of the table."""
    print(
        f"{name:<44} {measured.jobs:>6} {measured.cpu_s:>6.1f} {measured.wall_s:>6.1f} {measured.mib:>5.0f}", flush=True
    )


def plan(folder: Path, configfile: Path) -> Plan:
    """Measure a dry run of all tables in a folder of its own."""
    begun = time.perf_counter()
    said, usage = snakemake(folder, configfile, "-n", "all_tables")
    jobs = re.search(r"^total +(\d+)", said, re.MULTILINE)
    return Plan(
        int(jobs[1]) if jobs else 0,
        usage.ru_utime + usage.ru_stime,
        time.perf_counter() - begun,
        usage.ru_maxrss / 1024,
    )


def snakemake(folder: Path, configfile: Path, *arguments: str) -> tuple[str, os.struct_rusage]:
    """Run Snakemake with `folder` as its working directory; what it said, and what it took."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "workflow/Snakefile", "--directory", folder]
    with tempfile.TemporaryFile("w+") as said:
        arguments = ("--cores", "8", "--configfile", str(configfile), *arguments)
        process = subprocess.Popen([*command, *arguments], stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        said.seek(0)
        text = said.read()
    if status:
        sys.exit(text)
    return text, usage


def made_up(folder: Path, n_videos: int) -> config.Config:
    """Write the paper's config with its QVHighlights experiments alone and as many shards as the videos need."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    raw["datasets"]["qvhighlights"]["shards"] = -(-n_videos // VIDEOS_A_SHARD)
    raw["experiments"] = {k: e for k, e in raw["experiments"].items() if e["dataset"] == "qvhighlights"}
    raw["peers"] = [name for name in raw["peers"] if name in raw["experiments"]]
    (folder / "config.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return config.load(raw)


def readers(settings: config.Config) -> dict[str, list[str]]:
    """Return the families that are made from raw videos, by reader."""
    wanted = {f for e in settings.experiments.values() if e.source == "raw" and e.features for f in e.features.all}
    found: dict[str, list[str]] = {}
    for family in sorted(wanted):
        found.setdefault(str(FAMILIES[family].reader), []).append(family)
    return found


def features(settings: config.Config) -> list[str]:
    """Return the feature manifests of all shards."""
    shards = shard_names(settings.datasets["qvhighlights"].shards)
    return [str(feature_manifest(reader, shard)) for reader in readers(settings) for shard in shards]


def make_everything_up_to_features(folder: Path, settings: config.Config, n_videos: int) -> None:
    """Write the manifests that the stages would write, and the files that they list. The files are empty, because a
    plan looks at names, sizes and times only."""
    dataset, table = settings.datasets["qvhighlights"], sources.load()
    weights = {r: {w for f in made for w in FAMILIES[f].weights} for r, made in readers(settings).items()}
    with contextlib.chdir(folder):
        for name in sorted({*dataset.annotations.values(), *dataset.videos, *set().union(*weights.values())}):
            source = table[name]
            want = stage_requests.fetch(job("fetch", name=name), source.file, source.digest)
            leave(want, fetched(name), [RESULTS.resource(name) / source.file])
        for name in dataset.videos:
            want = stage_requests.unpack(job("unpack", {"fetched": [fetched(name)]}, name=name))
            leave(want, unpacked(name), [RESULTS.index(name)])
        for split, name in dataset.annotations.items():
            want = stage_requests.annotate(job("annotate", {"fetched": [fetched(name)]}, **QVHIGHLIGHTS, split=split))
            leave(want, annotated(split), [RESULTS.annotations("qvhighlights", split)])
        annotations = [annotated(split) for split in dataset.annotations]
        archives = [unpacked(name) for name in dataset.videos]
        looked_for = originals.searched_addresses(dataset.videos, table)
        for shard in shard_names(dataset.shards):
            vids = [f"{shard}-{i:05d}_60.0_210.0" for i in range(n_videos // dataset.shards // LEFT_OUT)]
            why = {"why": "missing: not among the videos of the archive", "asked": looked_for}
            skipped = [{"vid": vid, **why} for vid in vids]
            account, clips = of_shard("videos", shard), of_shard("segments", shard)
            place = QVHIGHLIGHTS | {"shard": shard}
            sections = {"dataset": dataset, "acquire": settings.acquire}
            want = stage_requests.videos(job("videos", {"inputs": annotations + archives}, sections, **place))
            leave(want, account, [RESULTS.account("qvhighlights", shard)], skipped)
            sections = {"grids": ("2s",), "clip": dataset.clip}
            want = stage_requests.segment(job("segment", {"videos": [account]}, sections, **place))
            leave(want, clips, [RESULTS.segments("qvhighlights", "2s", shard)], skipped)
            for reader, families in readers(settings).items():
                inputs = {"inputs": annotations if reader == "words" else [clips]}
                inputs["weights"] = [fetched(name) for name in weights[reader]]
                sections = {"dataset": dataset, "families": families, "encoding": settings.encoding}
                want = stage_requests.extract(job("extract", inputs, sections, **place, reader=reader))
                places = [StorePlace(family, dataset.grid_of(family)) for family in families]
                stores = [RESULTS.store("qvhighlights", one, shard) for one in places]
                leave(want, feature_manifest(reader, shard), stores, skipped)


def job(
    stage: str,
    inputs: Mapping[str, Sequence[Path]] | None = None,
    sections: Mapping[str, Any] | None = None,
    **about: str,
) -> StageJob[Any]:
    """Return a job of a stage. sections: the sections of its settings."""
    given = {name: tuple(paths) for name, paths in (inputs or {}).items()}
    settings = STAGES[stage].settings_class()(**(sections or {}))
    return StageJob(RESULTS.results, Path("unused.json"), settings, about, given)


def fetched(name: str) -> Path:
    """Return the manifest of a source's `fetch`."""
    return RESULTS.manifest("fetched", name=name)


def unpacked(name: str) -> Path:
    """Return the manifest of an archive's `unpack`."""
    return RESULTS.manifest("unpacked", name=name)


def annotated(split: str) -> Path:
    """Return the manifest of a split's `annotate`."""
    return RESULTS.manifest("annotations", dataset="qvhighlights", split=split)


def of_shard(kind: str, shard: str) -> Path:
    """Return a shard's manifest of `videos` or `segments`."""
    return RESULTS.manifest(kind, dataset="qvhighlights", shard=shard)


def feature_manifest(reader: str, shard: str) -> Path:
    """Return a shard's manifest of one reader."""
    return RESULTS.manifest("features", dataset="qvhighlights", reader=reader, shard=shard)


def remember_everything(folder: Path, settings: config.Config) -> None:
    """Let Snakemake make its records of all manifests."""
    snakemake(folder, folder / "config.yaml", "--touch", "--forceall", "--", *features(settings))


def leave(want: StageRequest, manifest: Path, made: Sequence[Path], skipped: Sequence[dict[str, str]] = ()) -> None:
    """Leave what a stage would: its files, then the manifest that lists them."""
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    listed = [{"path": str(path), "bytes": 0, "sha256": OF_NOTHING} for path in made]
    files.write_json(manifest, want.header() | {"files": listed, "counts": {}, "skipped": list(skipped)})


if __name__ == "__main__":
    main()
