"""Runs the real workflow on a very small benchmark: six videos in two shards, two experiments, and fake encoders. Its
work is counted.

`Workflow.run` starts Snakemake in a folder of its own and returns what its jobs recorded (`pipeline.work_record`).
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import yaml
from made_videos import make_video
from recorded_work import read_work
from tiny_benchmark import query

from pipeline import files, locks, records
from pipeline.acquire.sources import COLUMNS
from pipeline.work_record import VARIABLE

ROOT = Path(__file__).resolve().parents[1]
HOOKS = Path(__file__).with_name("hooks")
SECONDS = 8
VIDS = [f"{letter * 11}_0.0_{SECONDS}.0" for letter in "ABCDEF"]
"""C and F belong to val. A and C are in shard 0, and the others in shard 1. The new one would be in shard 0."""
NEW_VID = f"{'G' * 11}_0.0_{SECONDS}.0"

CONFIG = """
# A comment.
seeds: [2017]
acquire: {sources: sources.csv}
encoding: {weights: {clip-vit-b32: "random:0", slowfast-r50-caffe2: "random:0", pann-cnn14: "random:0"}}
datasets:
  qvhighlights: {shards: 2, annotations: {train: train, val: val}, videos: [videos]}
model: {hidden_dim: 16, heads: 2, queries: 3, t2v_layers: 1, encoder_layers: 1, decoder_layers: 1, feedforward_dim: 16}
training:
  qvhighlights: {epochs: 2, batch_size: 4, evaluate_every: 2}
experiments:
  seen:
    table: 1
    row: TR-DETR V
    dataset: qvhighlights
    features: {video: [slowfast-r50-caffe2, clip-vit-b32], text: clip-text}
  heard:
    table: 1
    row: TR-DETR V+A
    dataset: qvhighlights
    features: {video: [slowfast-r50-caffe2, clip-vit-b32], audio: [pann-cnn14], text: clip-text}
"""


STAGES = ("fetch", "annotate", "videos", "segment", "extract", "train", "predict", "score", "tabulate", "draw")
ORDER = [*STAGES[:3], "videos looked at", *STAGES[3:5], "rows", STAGES[5], "epochs", *STAGES[6:]]
"""The order in which counted work is listed."""


def make_videos(folder: Path) -> Path:
    """Write all videos, including the new one."""
    folder.mkdir()
    for vid in [*VIDS, NEW_VID]:
        make_video(folder / f"{vid}.mp4", range(0, 600 * SECONDS, 60), sound_s=SECONDS)
    return folder


def link_checkout(folder: Path, parts: tuple[str, ...] = ("workflow", "pipeline")) -> Path:
    """Make a checkout with the hooks beside the package, where the jobs' Python finds them."""
    folder.mkdir(exist_ok=True)
    for original in (*(ROOT / part for part in parts), *HOOKS.glob("*.py"), HOOKS.parent / "fake_encoders.py"):
        (folder / original.name).symlink_to(original)
    return folder


class Workflow:
    """A folder with config, sources and annotations; `run` starts Snakemake there."""

    def __init__(self, folder: Path, videos: Path) -> None:
        self.folder, self.videos, self.code, self.said = folder, videos, folder / "checkout", ""

    def prepare(self) -> Workflow:
        self.folder.mkdir()
        link_checkout(self.code)
        self.write("config.yaml", CONFIG)
        self.annotate([VIDS[0], VIDS[1], VIDS[3], VIDS[4]])
        return self

    def copy(self, folder: Path) -> Workflow:
        """Return an equal workflow in another folder, run by the same checkout, with all times and Snakemake's
        records."""
        shutil.copytree(self.folder, folder, symlinks=True)
        copied = Workflow(folder, self.videos)
        copied.code = self.code
        return copied

    def own_code(self) -> None:
        """Copy the code into the folder, to be changed there."""
        for part in ("workflow", "pipeline"):
            shutil.copytree(ROOT / part, self.folder / part)
        shutil.copy(ROOT / "README.md", self.folder)
        self.code = link_checkout(self.folder, parts=())

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def change_config(self, change) -> None:
        raw = yaml.safe_load((self.folder / "config.yaml").read_text())
        change(raw)
        self.write("config.yaml", yaml.safe_dump(raw))

    def annotate(self, train: list[str]) -> None:
        """Write annotations of these training videos and of val's two, and the table of sources that names both."""
        table = [["videos", "video", "{vid}.mp4", f"{self.videos.as_uri()}/{{vid}}.mp4", "", "", "", ""]]
        for split, vids in {"train": train, "val": [VIDS[2], VIDS[5]]}.items():
            path = self.folder / f"{split}.jsonl"
            rows = [records.to_row(query(ord(vid[0]), 1, 2)) | {"vid": vid, "duration": SECONDS} for vid in vids]
            records.write_jsonl(path, rows)
            table.append([split, "file", path.name, path.as_uri(), f"sha256:{files.sha256(path)}", "", "", ""])
        with files.atomic(self.folder / "sources.csv") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *table])

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start Snakemake, two cores, target `table1` unless `arguments` say otherwise."""
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(self.code / "workflow/Snakefile"),
            "--cores",
            "2",
        ]
        return subprocess.Popen(
            [*command, *(arguments or ["table1"])],
            cwd=self.folder,
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **env: str) -> dict[str, int]:
        """Run Snakemake to a good end; returns what was done."""
        self.forget()
        process = self.start(*arguments, **env)
        self.said, _ = process.communicate()
        assert process.returncode == 0, self.said
        return self.done()

    def forget(self) -> None:
        """Count from here."""
        self.log.unlink(missing_ok=True)
        (self.folder / "held").unlink(missing_ok=True)

    @property
    def env(self) -> dict[str, str]:
        # PYTHONPATH is for Snakemake itself, whose revisions $RAISED raises, too. Jobs take no notice of it.
        return {**os.environ, "PYTHONPATH": str(self.code), VARIABLE: str(self.log), "OMP_NUM_THREADS": "1"}

    @property
    def log(self) -> Path:
        return self.folder / "work.jsonl"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def is_held(self) -> bool:
        """Tell whether a job with $HOLD has reached that place."""
        return (self.folder / "held").exists()

    def imported_by_idle_jobs(self) -> dict[str, set[str]]:
        """Return the stages whose jobs were started without work, and the packages that they had imported by then."""
        return {line["stage"]: set(line["imported"]) for line in read_work(self.log, "unchanged")}

    def done(self) -> dict[str, int]:
        """Return the work of the jobs since the last `forget`, sorted: stages with work, videos read, rows and
        epochs."""
        done: Counter[str] = Counter()
        for line in read_work(self.log):
            if line["what"] == "began":
                done[line["stage"]] += 1
            if line["what"] == "probed":
                done["videos looked at"] += 1
            if line["what"] == "encoded":
                done[f"rows of {line['family']}"] += line["rows"]
            if line["what"] == "epoch":
                done[f"epochs of {Path(line['run']).parent.name}"] += 1
        return dict(sorted(done.items(), key=lambda item: (ORDER.index(item[0].split(" of ")[0]), item[0])))


def finished_once(folder: Path) -> tuple[Workflow, dict[str, int]]:
    """Return a finished workflow and its work. Tests copy it. The first process that asks for the folder makes it."""
    with locks.lock(folder / "finished", wait=True):
        workflow, work = Workflow(folder / "finished", folder / "videos"), folder / "work.json"
        if not work.exists():
            make_videos(folder / "videos")
            files.write_json(work, list(workflow.prepare().run().items()))
        return workflow, dict(files.read_json(work))


def wait_for(condition, seconds: float = 180) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
