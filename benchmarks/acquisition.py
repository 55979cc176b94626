"""Fetches hundreds of small videos from a server that fails one request in five, and makes their account and their
clips.

    python benchmarks/acquisition.py [--videos 500] [--rate 0.2] [--connections 1] [--at-once 4]

The server answers a failing request with 500, with 429 or 503 and `Retry-After`, with a reset before or in the middle
of the file, with a file that is cut short, with a wrong length, or not at all until the client hangs up. The stages
`videos` and `segment` run shard by shard, as the workflow runs them. They are started again until nothing failed, as a
user starts `snakemake` again after an interruption. At the end every file is compared with the one that was made.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from breaking_server import FAULTS, breaking
from made_videos import make_video

from pipeline import files, records
from pipeline.config import Acquire, Dataset
from pipeline.layout import Layout
from pipeline.manifests import describe
from pipeline.shards import shard_names
from pipeline.stage_settings import Segment, Videos
from pipeline.stages import StageJob
from pipeline.video.account import videos
from pipeline.video.segment import segment

DATASET = "qvhighlights"
KINDS = 8
"""Number of different videos. The others are copies under other names."""
SECONDS = 4
MOST_STARTS = 10


def made(folder: Path, n: int) -> dict[str, Path]:
    """Make `n` videos, vid → file. Only `KINDS` of them are encoded; a comment at the end makes each file differ."""
    folder.mkdir(parents=True)
    frames = range(0, 600 * SECONDS, 20)
    kinds = [make_video(folder / f"kind{k}.mp4", frames, width=64 + 16 * k) for k in range(min(KINDS, n))]
    found = {}
    for k in range(n):
        path = folder / f"v{k:04d}.mp4"
        path.write_bytes(kinds[k % len(kinds)].read_bytes() + _comment(k))
        found[path.stem] = path
    return found


def _comment(k: int) -> bytes:
    """Return a box of MP4 that players skip, with noise in it. It is short, so that half a file is not a whole
    video."""
    content = random.Random(k).randbytes(16)
    return (8 + len(content)).to_bytes(4, "big") + b"free" + content


def fault_one_in(rate: float, seed: int) -> Callable[[str], str | None]:
    """Return what decides on each request: one of the faults with this probability, else nothing.

    Each file has a sequence of its own. So what happens to a file does not depend on the order in which threads ask.
    """
    draws: dict[str, random.Random] = {}

    def fault_of(path: str) -> str | None:
        draw = draws.setdefault(path, random.Random(f"{seed} {path}"))
        return draw.choice(FAULTS) if draw.random() < rate else None

    return fault_of


def annotations(layout: Layout, vids: dict[str, Path]) -> Path:
    """Return annotations of val that name every video."""
    file, manifest = layout.annotations(DATASET, "val"), layout.manifest("annotations", dataset=DATASET, split="val")
    rows = [{"qid": n, "query": "something moves", "vid": vid, "duration": SECONDS} for n, vid in enumerate(vids)]
    records.write_jsonl(file, rows)
    files.write_json(manifest, {"stage": "annotate", "files": [describe(file)]})
    return manifest


def acquired(folder: Path, n: int, rate: float, shards: int, at_once: int = 4, **acquire: object) -> dict[str, object]:
    """Make the videos, fetch them from the breaking server, and return the figures of the whole run."""
    vids = made(folder / "served", n)
    layout = Layout(folder / "results")
    listed = annotations(layout, vids)
    dataset = Dataset(shards=shards, annotations={"val": "any"}, videos=["made"])
    table = folder / "sources.csv"
    with breaking(folder / "served", fault_one_in(rate, seed=0)) as server:
        row = f"made,video,{{vid}}.mp4,{server.url}/{{vid}}.mp4,,,,"
        table.write_text(f"name,kind,file,url,digest,bytes,licence,note\n{row}\n")
        settings = Videos(dataset=dataset, acquire=Acquire.model_validate({"sources": str(table), **acquire}))

        def one_shard(shard: str) -> None:
            about = {"dataset": DATASET, "shard": shard}
            manifest = layout.manifest("videos", **about)
            videos(StageJob(layout.results, manifest, settings, about, {"inputs": (listed,)}))
            clips, of_clips = Segment(grids=("2s",), clip="2s"), layout.manifest("segments", **about)
            segment(StageJob(layout.results, of_clips, clips, about, {"videos": (manifest,)}))

        began, counts = time.monotonic(), []
        while len(counts) < MOST_STARTS and (not counts or counts[-1].get("ok", 0) < n):
            with ThreadPoolExecutor(at_once) as jobs:
                list(jobs.map(one_shard, shard_names(shards)))
            counts.append(_statuses(layout, shards))
        seconds = time.monotonic() - began
        seen = dict(server.seen)
    rows = _rows(layout, shards)
    equal = sum(files.sha256(row["path"]) == files.sha256(vids[row["vid"]]) for row in rows if row["status"] == "ok")
    left = [p.name for p in layout.unpacked("made").iterdir() if p.name.startswith(".")]
    return {
        "videos": n,
        "requests": sum(seen.values()),
        "failed requests": sum(count for fault, count in seen.items() if fault != "none"),
        "by fault": {fault: count for fault, count in sorted(seen.items()) if fault != "none"},
        "account after each start": [dict(one) for one in counts],
        "equal to what was made": equal,
        "left behind": left,
        "seconds": round(seconds, 1),
    }


def _rows(layout: Layout, shards: int) -> list[dict[str, str]]:
    found = []
    for shard in shard_names(shards):
        with open(layout.account(DATASET, shard), newline="", encoding="utf-8") as file:
            found += list(csv.DictReader(file))
    return found


def _statuses(layout: Layout, shards: int) -> Counter[str]:
    return Counter(row["status"] for row in _rows(layout, shards))


def main() -> None:
    """Run it with the options of the command line, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=4, help="shards that are fetched at the same time")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="acquisition-"))
    try:
        found = acquired(
            folder,
            options.videos,
            options.rate,
            options.shards,
            options.at_once,
            attempts=5,
            timeout_s=1.0,
            connections=options.connections,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
