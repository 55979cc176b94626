"""The stage `videos` on a dataset of one shard whose videos come from a table of sources, and videos for it."""

from __future__ import annotations

import csv

import av
import numpy as np
import stage_jobs

from pipeline import files, records
from pipeline.acquire.sources import COLUMNS
from pipeline.config import Acquire, Dataset
from pipeline.manifests import describe


def make_video(path, seconds=2, options=None):
    """Write a small H.264 MP4 at 10 frames per second, and return its path."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(seconds * 10):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class AccountStage:
    """Call it with vids to run the stage on them. It returns whether there was work."""

    def __init__(self, folder, server_url=""):
        self.folder, self.server_url, self.results = folder, server_url, folder / "results"
        self.manifest = self.results / "videos/qvhighlights/00000.json"
        self.acquire = Acquire(sources=str(folder / "sources.csv"), attempts=1, timeout_s=5)

    def __call__(self, *vids, kind="video", url="{server}/{vid}.mp4", also=(), then=(), **acquiring):
        """Run the stage on these vids, and tell whether there was work. kind, url: of the source of videos. also: more
        input manifests. then: sources that are asked after it."""
        file = "films.zip" if kind == "archive" else "{vid}.mp4"
        table = [COLUMNS, ["films", kind, file, url.replace("{server}", self.server_url), "", "", "", ""]]
        table += [[name, "video", "{vid}.mp4", f"{self.server_url}/{{vid}}.mp4", "", "", "", ""] for name in then]
        (self.folder / "sources.csv").write_text("\n".join(map(",".join, table)))
        listed = self.results / "annotations/qvhighlights/val.jsonl"
        records.write_jsonl(listed, [{"qid": i, "query": "q", "vid": vid, "duration": 2} for i, vid in enumerate(vids)])
        annotations = listed.with_suffix(".json")
        files.write_json(annotations, {"stage": "annotate", "files": [describe(listed)]})
        dataset = Dataset(shards=1, annotations={"val": "any"}, videos=["films", *then])
        settings = {"dataset": dataset, "acquire": self.acquire.model_copy(update=acquiring)}
        inputs, about = {"inputs": [annotations, *also]}, {"dataset": "qvhighlights", "shard": "00000"}
        return stage_jobs.run("videos", self.results, self.manifest, inputs, settings, **about)

    def rows(self):
        """Return the account, by vid."""
        with open(self.manifest.with_suffix(".csv"), newline="") as file:
            return {row["vid"]: row for row in csv.DictReader(file)}
