"""The demo's benchmarks: small, made here, in the exact shape of the released QVHighlights and TVSum.

Same files, keys, ids and splits; what happens in the videos is `synthetic_plan`'s to say. Made to be fetched, decoded,
encoded and learned from by the real pipeline.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import files
from pipeline.datasets import synthetic_features, synthetic_plan, synthetic_video
from pipeline.datasets.synthetic_plan import Video

QVHIGHLIGHTS_NAMES = {
    "train": "highlight_train_release.jsonl",
    "val": "highlight_val_release.jsonl",
    "test": "highlight_test_with_gt.jsonl",
}
TVSUM_NAMES = {"train": "tvsum_train.jsonl", "val": "tvsum_val.jsonl"}
QVHIGHLIGHTS_ARCHIVE = "qvhilights_videos.tar.gz"
TVSUM_VIDEOS = "tvsum_videos"
TVSUM_FEATURES = "tvsum_features.zip"
QVHIGHLIGHTS_FEATURES = "qvhighlights_features.zip"
ONE_CLIP = "one_clip.mp4"
INDEX = "index.json"
PROCESSES = 2


def make_benchmarks(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Make both benchmarks under `folder`; the same seed gives the same bytes on one machine.

    Annotation files lie at the top, QVHighlights-like videos in one archive (`videos/{vid}.mp4` inside), TVSum-like
    videos as files (`tvsum_videos/{vid}.mp4`), features of both in zips of UMT's layouts, and `one_clip.mp4` by
    itself. Returns what `index.json` lists: `{path, bytes, sha256}` of every file, paths relative to `folder`.
    """
    folder = Path(folder)
    moments, highlights = synthetic_plan.plan_qvhighlights(seed), synthetic_plan.plan_tvsum(seed)
    for benchmark, names in ((moments, QVHIGHLIGHTS_NAMES), (highlights, TVSUM_NAMES)):
        for split, name in names.items():
            write_rows(folder / name, benchmark.rows[split])
    with TemporaryDirectory() as scratch:
        pieces = {video: Path(scratch) / f"{video.vid}.mp4" for video in moments.videos}
        whole = {video: folder / TVSUM_VIDEOS / f"{video.vid}.mp4" for video in highlights.videos}
        _encode({**pieces, **whole, synthetic_plan.one_clip(): folder / ONE_CLIP})
        pack(pieces.values(), folder / QVHIGHLIGHTS_ARCHIVE)
    with ProcessPoolExecutor(PROCESSES) as pool:
        done = [
            pool.submit(synthetic_features.write_tvsum_archive, highlights, folder / TVSUM_FEATURES),
            pool.submit(synthetic_features.write_qvhighlights_archive, moments, folder / QVHIGHLIGHTS_FEATURES),
        ]
        for archive in done:
            archive.result()
    made = [*QVHIGHLIGHTS_NAMES.values(), *TVSUM_NAMES.values()]
    made += [QVHIGHLIGHTS_ARCHIVE, QVHIGHLIGHTS_FEATURES, TVSUM_FEATURES, ONE_CLIP]
    made += sorted(f"{TVSUM_VIDEOS}/{video.vid}.mp4" for video in highlights.videos)
    index = [
        {"path": name, "bytes": (folder / name).stat().st_size, "sha256": files.sha256(folder / name)} for name in made
    ]
    files.write_json(folder / INDEX, index)
    return index


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write JSON Lines as the released files are: no newline after the last row."""
    with files.atomic(path) as file:
        file.write("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))


def pack(videos: Iterable[Path], archive: Path) -> None:
    """Pack files into a `.tar.gz` under `videos/`, without times or owners, so that equal files give equal bytes."""
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
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(synthetic_video.write_mp4, targets, targets.values(), chunksize=5))
