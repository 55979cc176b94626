"""Runs the whole workflow on small benchmarks. They are made and served here, and the real workflow takes them from
video files to tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from pipeline import config, csv_file, files, locks, methods, provenance, records, snakemake_records
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.features.store import Store
from pipeline.grids import grid_seconds, whole_clips
from pipeline.layout import Layout
from pipeline.nouns import counted
from pipeline.reporting.tables import texts
from pipeline.stage_settings import OwnFile
from pipeline.targets import TABLES
from pipeline.terminal import GO_ON_WITH
from pipeline.version import program

SEED = 0
PROFILE = "workflow/profiles/demo"
RANDOM_WINDOWS = "random_windows.jsonl"
DEAR_FAMILIES = {
    "slowfast-r50-caffe2": "2s",
    "i3d-resnet50": "2s",
    "i3d-inception-rgb-tvsum": "2s",
    "i3d-inception-flow-raft-tvsum": "2s",
    "i3d-inception-rgb-charades": "0.5s",
    "vgg16-imagenet": "1-6s",
    "pann-cnn14": "2s",
}
"""Families that take seconds for each row on a CPU → their grids."""

TARGETS = ("all_tables", "figures", "report")
DOWNLOADING = ("fetch", "videos")
"""Stages whose jobs download from the server that a demo runs."""


def run(cores: int, results: Path = Path("results/demo")) -> None:
    """Make the benchmarks, serve them, run the workflow on them and print its tables.

    Finished work is not done again, and processes and locks of a killed demo are removed first. Raises PipelineError if
    the workflow fails, outside the repository, and if another demo is at work here.
    """
    if not Path(PROFILE).is_dir():
        raise PipelineError("no workflow here", where=PROFILE, remedy="run the demo from the repository's root")
    command = os.environ.get(GO_ON_WITH) or f"{program()} demo --cores {cores}"
    try:
        with locks.lock(Layout(results).demo_lock()):
            end_what_was_left(results)
            _run(cores, results, command)
    except locks.BusyError as error:
        if error.where != str(Layout(results).demo_lock()):
            raise
        raise PipelineError(
            "another demo is at work here", where=results, remedy=f"wait until it ends, then: {command}"
        ) from error


def _run(cores: int, results: Path, command: str) -> None:
    layout = Layout(results)
    print("Demo 1/4: making 126 short videos with their annotations (once)", flush=True)
    make_benchmark(layout)
    print(
        "Demo 2/4: videos → clips → features → training → predictions → metrics → tables, figures, report", flush=True
    )
    with _served(layout.benchmark()) as address:
        write_sources(layout, address)
        workflow = [sys.executable, "-m", "snakemake", "--workflow-profile", PROFILE, "--cores", str(cores), *TARGETS]
        if code := subprocess.run(workflow, check=False, env={**os.environ, GO_ON_WITH: ""}).returncode:
            raise PipelineError(
                f"the workflow ended with code {code}",
                where=layout.logs(),
                remedy=f"correct the errors above, then go on with: {command}",
            )
    print(
        "Demo 3/4: the slow encoders on one clip of 2 s (seconds for each row on a CPU; flow: a minute)",
        flush=True,
    )
    for line in _encode_dearly(layout):
        print(line, flush=True)
    print("Demo 4/4: the tables", flush=True)
    for table in TABLES:
        print(texts(layout.manifest("table", table=table)))
    print(_what_was_learned(results))
    print(f"All results are under {results}: tables/table*.{{md,html,csv}}, figures/*.svg (learning curves)")
    page = layout.report_index().resolve()
    print(f"To look at it all, and at every query, open this in a browser: {page}")


def end_what_was_left(results: Path) -> None:
    """End the processes that a killed demo left behind, and remove the lock of its Snakemake. The caller must hold the
    lock of the demo.

    A Snakemake that is still running starts no new job after SIGTERM. Jobs that download are ended, because their
    server ended with the demo. The other jobs are waited for, and their work is kept.
    """
    import psutil

    left = _left_behind(results)
    if left:
        print(
            f"An earlier demo was killed; waiting for the end of {counted(len(left), 'process', 'processes')} of it",
            flush=True,
        )
    while left:
        for process in left:
            with suppress(psutil.Error):
                words = process.cmdline()
                if "snakemake" in words or any(stage in words for stage in DOWNLOADING):
                    process.terminate()
        psutil.wait_procs(left, timeout=10)
        left = _left_behind(results)
    for lock in snakemake_records.LOCKS.glob("*.lock"):
        # Another Snakemake may be at work in this folder, on other results. Its locks are kept.
        if any(line.startswith(f"{results}/") for line in lock.read_text(encoding="utf-8").splitlines()):
            lock.unlink(missing_ok=True)


def _left_behind(results: Path) -> list[Any]:
    """Return the processes in this folder that run the demo's workflow, or a job on its results."""
    import psutil

    found, here = [], os.getcwd()
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # ended meanwhile, or another user's
            words = process.cmdline()
            is_workflow = "snakemake" in words and PROFILE in words
            if (is_workflow or f"-m pipeline --results {results} " in " ".join(words)) and process.cwd() == here:
                found.append(process)
    return found


def make_benchmark(layout: Layout) -> None:
    """Make videos, annotations, features and random predictions of the demo, unless they are there."""
    folder = layout.benchmark()

    def work() -> provenance.Outcome:
        from pipeline.datasets.synthetic import INDEX, QVHIGHLIGHTS_NAMES, make_benchmarks

        made = make_benchmarks(folder, SEED)
        rows = [row for _, row in records.read_jsonl(folder / QVHIGHLIGHTS_NAMES["test"])]
        records.write_jsonl(folder / RANDOM_WINDOWS, random_predictions(rows, SEED))
        listed = [folder / INDEX, folder / RANDOM_WINDOWS, *(folder / entry["path"] for entry in made)]
        return provenance.Outcome(listed, {"files": len(listed)})

    provenance.run_stage("benchmark", layout.benchmark_manifest(), work, settings={"seed": SEED})


def random_predictions(rows: list[dict[str, Any]], seed: int) -> Iterator[dict[str, Any]]:
    """Yield ten random windows on the 2-second grid, and random scores, for every annotation row."""
    random = np.random.default_rng(seed)
    for row in rows:
        n_clips = whole_clips(row["duration"], float(grid_seconds("2s")))
        starts = random.integers(0, n_clips, 10)
        ends = random.integers(starts, n_clips) + 1
        scores = np.sort(random.random(10))[::-1]
        yield {
            **{key: row[key] for key in ("qid", "query", "vid")},
            "pred_relevant_windows": np.column_stack([2 * starts, 2 * ends, scores.round(4)]).tolist(),
            "pred_saliency_scores": random.random(n_clips).round(4).tolist(),
        }


def _encode_dearly(layout: Layout) -> Iterator[str]:
    """Make features of one clip with the command for a user's own file, and yield a line about each family."""
    from pipeline.datasets.synthetic import ONE_CLIP

    video = layout.benchmark() / ONE_CLIP
    for family, grid in DEAR_FAMILIES.items():
        settings = OwnFile(family=family, grid=grid, weights=f"random:{SEED}")
        store = layout.one_clip_store(family)
        work = partial(_encode_one, video, settings, store)
        manifest = store.with_suffix(".json")
        provenance.run_stage("extract", manifest, work, inputs=[video], settings=settings.model_dump())
        with Store([store]) as made:
            yield f"  {family}: {made.read(video.stem).shape}, weights {made.passport.weights}"


def _encode_one(video: Path, settings: OwnFile, store: Path) -> provenance.Outcome:
    from pipeline.encoders.base import Weights
    from pipeline.features.making.own_file import extract_own

    random = Weights.named(settings.weights, None)
    weights = Weights.joined(*(random for _ in FAMILIES[settings.family].weights))
    extract_own(video, settings.family, settings.grid, weights, store).close()
    return provenance.Outcome([store])


def _what_was_learned(results: Path) -> str:
    """Return one line that compares a trained network with an untrained one and with random windows, on held-out
    queries."""
    runs = {"TR-DETR": "qvhighlights_v", "the same untrained": "untrained", "random windows": "random_windows"}
    runs |= _other_methods()
    shown, n_queries = [], 0
    for name, experiment in runs.items():
        (path,) = Layout(results).all_metrics(experiment, "test", "selected")
        metrics = files.read_json(path)
        n_queries = metrics["n_queries"]["all"]
        shown.append(f"{name} {metrics['brief']['MR-full-R1@0.5']:.2f} / {metrics['brief']['MR-full-mAP']:.2f}")
    return f"Learned? R1@0.5 / mAP on {counted(n_queries, 'held-out query')}: {', '.join(shown)}"


def _other_methods() -> dict[str, str]:
    """Return row of Table 1 → the experiment that trains the row's method, for all methods but the default one."""
    experiments = config.load_file(Path(PROFILE) / "demo.yaml").experiments
    return {str(e.row): name for name, e in experiments.items() if e.table == 1 and e.model.name != methods.DEFAULT}


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder on a free local port during the block. Yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing, because the workflow shows its own progress on the terminal."""


def write_sources(layout: Layout, address: str) -> None:
    """Write the demo's table of sources. Addresses change with the port. Digests do not, and only they get into
    results."""
    from pipeline.acquire.sources import COLUMNS
    from pipeline.datasets import synthetic

    known = {entry["path"]: entry for entry in files.read_json(layout.benchmark_manifest())["files"]}
    archives = {
        "qvhighlights-videos": synthetic.QVHIGHLIGHTS_ARCHIVE,
        "qvhighlights-features": synthetic.QVHIGHLIGHTS_FEATURES,
        "charades-videos": synthetic.CHARADES_ARCHIVE,
        "charades-vgg": synthetic.CHARADES_VGG,
        "charades-i3d": synthetic.CHARADES_I3D,
        "charades-sf-clip": synthetic.CHARADES_SF_CLIP,
        "tvsum-features": synthetic.TVSUM_FEATURES,
    }
    named = {
        f"demo-{kind}-{split}": ("file", name)
        for kind, names in synthetic.ANNOTATIONS.items()
        for split, name in names.items()
    }
    named |= {f"demo-{name}": ("archive", path) for name, path in archives.items()}
    named["demo-random-windows"] = ("file", RANDOM_WINDOWS)
    rows: list[tuple[object, ...]] = []
    for name, (kind, path) in named.items():
        entry = known[str(layout.benchmark() / path)]
        digest = f"sha256:{entry['sha256']}"
        rows.append((name, kind, path, f"{address}/{path}", digest, entry["bytes"], "MIT", "made by the demo"))
    url = f"{address}/{synthetic.TVSUM_VIDEOS}/{{vid}}.mp4"
    rows.append(("demo-tvsum-videos", "video", "{vid}.mp4", url, "", "", "MIT", "made by the demo"))
    csv_file.write(layout.benchmark_sources(), COLUMNS, rows)
