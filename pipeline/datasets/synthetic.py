"""Makes the demo's small benchmarks in the exact form of the released QVHighlights, Charades-STA and TVSum.

The benchmarks have the same files, keys, kinds of ids and splits as the released ones. `synthetic_plan` decides what
happens in the videos. The real pipeline fetches, decodes and encodes the benchmarks and learns from them.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import files, orphans
from pipeline.datasets import qvhighlights, synthetic_features, synthetic_plan, synthetic_video, tvsum
from pipeline.datasets.synthetic_plan import Benchmark, Video, one_clip

QVHIGHLIGHTS_NAMES = {
    "train": "highlight_train_release.jsonl",
    "val": "highlight_val_release.jsonl",
    "test": "highlight_test_with_gt.jsonl",
}
CHARADES_NAMES = {"train": "charades_sta_train_tvr_format.jsonl", "val": "charades_sta_test_tvr_format.jsonl"}
TVSUM_NAMES = {"train": "tvsum_train.jsonl", "val": "tvsum_val.jsonl"}
ANNOTATIONS = {
    qvhighlights.DATASET.name: QVHIGHLIGHTS_NAMES,
    "charades": CHARADES_NAMES,
    tvsum.DATASET.name: TVSUM_NAMES,
}
"""Word in the names of sources → the annotation file of each split."""
QVHIGHLIGHTS_ARCHIVE = "qvhilights_videos.tar.gz"
TVSUM_VIDEOS = "tvsum_videos"
TVSUM_FEATURES = "tvsum_features.zip"
QVHIGHLIGHTS_FEATURES = "qvhighlights_features.zip"
CHARADES_ARCHIVE = "charades_videos.tar.gz"
CHARADES_VGG, CHARADES_I3D, CHARADES_SF_CLIP = "charades_vgg.zip", "charades_i3d.zip", "charades_sf_clip.zip"
ONE_CLIP = "one_clip.mp4"
INDEX = "index.json"
PROCESSES = 2


def make_benchmarks(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Make the benchmarks under `folder`. The same seed gives the same bytes on one machine.

    Annotation files lie directly in `folder`. The QVHighlights-like and the Charades-like videos are in one archive
    each (as `videos/{vid}.mp4`). The TVSum-like videos are single files (`tvsum_videos/{vid}.mp4`). Features are in zip
    files with the released layouts. `one_clip.mp4` is a file of its own. Returns the content of `index.json`: a list of
    `{path, bytes, sha256}` with one entry for each file and paths relative to `folder`.
    """
    folder = Path(folder)
    moments, highlights = synthetic_plan.plan_qvhighlights(seed), synthetic_plan.plan_tvsum(seed)
    homes = synthetic_plan.plan_charades(seed)
    annotated = ((moments, QVHIGHLIGHTS_NAMES), (homes, CHARADES_NAMES), (highlights, TVSUM_NAMES))
    for benchmark, names in annotated:
        for split, name in names.items():
            write_rows(folder / name, benchmark.rows[split])
    _make_videos(folder, moments, homes, highlights)
    _make_features(folder, moments, homes, highlights)
    made = [name for _, names in annotated for name in names.values()]
    made += [QVHIGHLIGHTS_ARCHIVE, QVHIGHLIGHTS_FEATURES, CHARADES_ARCHIVE, CHARADES_VGG, CHARADES_I3D]
    made += [CHARADES_SF_CLIP, TVSUM_FEATURES, ONE_CLIP]
    made += sorted(f"{TVSUM_VIDEOS}/{video.vid}.mp4" for video in highlights.videos)
    index = [
        {"path": name, "bytes": (folder / name).stat().st_size, "sha256": files.sha256(folder / name)} for name in made
    ]
    files.write_json(folder / INDEX, index)
    return index


def _make_videos(folder: Path, moments: Benchmark, homes: Benchmark, highlights: Benchmark) -> None:
    with TemporaryDirectory() as scratch:
        packed = {
            archive: {video: Path(scratch) / f"{video.vid}.mp4" for video in benchmark.videos}
            for archive, benchmark in ((QVHIGHLIGHTS_ARCHIVE, moments), (CHARADES_ARCHIVE, homes))
        }
        whole = {video: folder / TVSUM_VIDEOS / f"{video.vid}.mp4" for video in highlights.videos}
        _encode({**whole, **dict(chain.from_iterable(map(dict.items, packed.values()))), one_clip(): folder / ONE_CLIP})
        for archive, pieces in packed.items():
            pack(pieces.values(), folder / archive)


def _make_features(folder: Path, moments: Benchmark, homes: Benchmark, highlights: Benchmark) -> None:
    of_homes = [folder / name for name in (CHARADES_VGG, CHARADES_I3D, CHARADES_SF_CLIP)]
    with ProcessPoolExecutor(PROCESSES, initializer=orphans.die_with_parent) as pool:
        done = [
            pool.submit(synthetic_features.write_qvhighlights_archive, moments, folder / QVHIGHLIGHTS_FEATURES),
            pool.submit(synthetic_features.write_tvsum_archive, highlights, folder / TVSUM_FEATURES),
            pool.submit(synthetic_features.write_charades_archives, homes, *of_homes),
        ]
        for archive in done:
            archive.result()


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write JSON Lines in the form of the released files, which have no newline after the last row."""
    with files.atomic(path) as file:
        file.write("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))


def pack(videos: Iterable[Path], archive: Path) -> None:
    """Pack files into a `.tar.gz`, under `videos/`.

    No times and no owners are stored, so that equal files give an archive of equal bytes.
    """
    with (
        files.atomic(archive, "wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for video in videos:
            member = tarfile.TarInfo(f"videos/{video.name}")
            member.size = video.stat().st_size
            with open(video, "rb") as content:
                tar.addfile(member, content)


def _encode(targets: dict[Video, Path]) -> None:
    with ProcessPoolExecutor(PROCESSES, initializer=orphans.die_with_parent) as pool:
        list(pool.map(synthetic_video.write_mp4, targets, targets.values(), chunksize=5))
