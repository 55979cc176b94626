"""Hundreds of made videos from a server that fails one request in five, through the whole workflow to Table 1.

    python benchmarks/acquisition_to_table.py [--videos 500] [--rate 0.2] [--shards 4]

The server is that of `acquisition.py`. Each video is a clip of two seconds with one query; nine in ten train.
The row of Table 1 comes from CLIP with random weights and from a network of 16 columns that is trained for two epochs.
Its numbers mean nothing, but every stage works on every video. `snakemake table1` is started until it ends well, as
after a break. Then the account is counted, and every file is compared with the one that was made.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import acquisition
from breaking_server import breaking

from pipeline import files, records
from pipeline.acquire.sources import COLUMNS
from pipeline.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 2
MOST_STARTS = 10

CONFIG = """
seeds: [2017]
acquire: {{sources: sources.csv, attempts: 5, timeout_s: 1.0}}
encoding: {{weights: {{clip-vit-b32: "random:0"}}}}
datasets:
  qvhighlights: {{shards: {shards}, annotations: {{train: train, val: val}}, videos: [made]}}
model: {{hidden_dim: 16, heads: 2, queries: 3, encoder_layers: 1, decoder_layers: 1, feedforward_dim: 16}}
training:
  qvhighlights: {{epochs: 2, batch_size: 32, evaluate_every: 2}}
experiments:
  fetched:
    table: 1
    row: TR-DETR V
    dataset: qvhighlights
    features: {{video: [clip-vit-b32], text: clip-text}}
"""


def prepare(folder: Path, vids: list[str], shards: int, url: str) -> None:
    """Write the config, the annotations, and the table of sources that names the server."""
    (folder / "config.yaml").write_text(CONFIG.format(shards=shards), encoding="utf-8")
    table = [["made", "video", "{vid}.mp4", f"{url}/{{vid}}.mp4", "", "", "", ""]]
    n_val = max(1, len(vids) // 10)
    for split, listed in {"train": vids[n_val:], "val": vids[:n_val]}.items():
        path = folder / f"{split}.jsonl"
        records.write_jsonl(path, [_row(vid) for vid in listed])
        table.append([split, "file", path.name, path.as_uri(), f"sha256:{files.sha256(path)}", "", "", ""])
    with files.atomic(folder / "sources.csv") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *table])


def _renamed(videos: dict[str, Path]) -> dict[str, Path]:
    """Give the files names that are vids of QVHighlights. vid → file."""
    found = {f"{k:011d}_0.0_{SECONDS}.0": path for k, path in enumerate(videos.values())}
    return {vid: path.rename(path.with_stem(vid)) for vid, path in found.items()}


def _row(vid: str) -> dict[str, object]:
    """Return an annotated query of a video of one clip."""
    return {
        "qid": int(vid[:11]),
        "query": f"thing {int(vid[:11])} moves",
        "vid": vid,
        "duration": SECONDS,
        "relevant_windows": [[0, SECONDS]],
        "relevant_clip_ids": [0],
        "saliency_scores": [[2, 3, 4]],
    }


def snakemake(folder: Path) -> int:
    """Start the workflow once and return its exit code. What it says goes to `snakemake.log`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile"), "--cores", "2"]
    with open(folder / "snakemake.log", "ab") as log:
        told = subprocess.run(
            [*command, "table1"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return told.returncode


def account_of(layout: Layout) -> list[dict[str, str]]:
    """Return the rows of all shards."""
    found = []
    for path in layout.accounts(acquisition.DATASET):
        with open(path, newline="", encoding="utf-8") as file:
            found += list(csv.DictReader(file))
    return found


def to_a_table(folder: Path, n: int, rate: float, shards: int) -> dict[str, object]:
    """Make the videos, run the workflow against the breaking server, and return the figures."""
    acquisition.SECONDS = SECONDS
    vids = _renamed(acquisition.made(folder / "served", n))
    layout = Layout(folder / "results")
    with breaking(folder / "served", acquisition.fault_one_in(rate, seed=0)) as server:
        prepare(folder, list(vids), shards, server.url)
        began, codes, statuses = time.monotonic(), [], []
        while not codes or (0 not in codes and statuses[-1] and len(codes) < MOST_STARTS):
            codes.append(snakemake(folder))
            statuses.append(dict(Counter(row["status"] for row in account_of(layout))))
        seconds, seen = time.monotonic() - began, dict(server.seen)
    rows = [row for row in account_of(layout) if row["status"] == "ok"]
    made = [files.read_json(path)["counts"] for path in layout.results.glob("features/*/frames224/*.json")]
    return {
        "videos": n,
        "requests": sum(seen.values()),
        "failed requests": sum(count for fault, count in seen.items() if fault != "none"),
        "by fault": {fault: count for fault, count in sorted(seen.items()) if fault != "none"},
        "exit code of each start": codes,
        "account after each start": statuses,
        "equal to what was made": sum(files.sha256(folder / r["path"]) == files.sha256(vids[r["vid"]]) for r in rows),
        "videos in the feature stores": sum(counts["clip-vit-b32_arrays"] for counts in made),
        "seconds": round(seconds, 1),
        "table": (layout.table("table1", "md") if 0 in codes else folder / "snakemake.log").read_text(),
    }


def main() -> None:
    """Run it with the options of the command line, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--shards", type=int, default=4)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="to-a-table-"))
    try:
        for name, value in to_a_table(folder, options.videos, options.rate, options.shards).items():
            print(f"{name}: {value}")
    except BaseException:
        print((folder / "snakemake.log").read_text(encoding="utf-8")[-3000:], file=sys.stderr)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
