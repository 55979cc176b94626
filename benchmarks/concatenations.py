"""Measures whether `ask` finds one event in a row of ten held-out videos, after training on videos of 20 s.

    make demo                                            # the run of qvhighlights_v, and the rows of its videos
    python benchmarks/concatenations.py                  # prints the table of docs/own.md

Queries of the demo's val and test are asked. Their words of time ("First", "Near the end of the video") say where in a
video of 20 s an event lies, and mean nothing in the row of ten. So a second run is trained on the same videos and the
same rows, with the same settings and with queries without these words: there only colour and shape tell which event is
meant. The lines of the table:

    alone          each query about its own video
    other colour   the same, while the query names a colour that its video does not show large: a run that reads colours
                   finds nothing, and one that does not read them finds what it found before
    any nine       its video in a random place among nine other held-out videos. Each of the 20 large events has one of
                   6 colours and one of 4 shapes, so others often fit the words, too
    nine without   its video among nine that show nothing large in its colour: one event alone fits

A row of ten is made of the stored rows of its videos; what a file of the same pictures gives is the same, clip by clip.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from tiny_benchmark import Benchmark, list_stores

from pipeline import config, records
from pipeline.asking.moments import Moments
from pipeline.asking.pieces import iou
from pipeline.asking.rows import Encoded, store_path
from pipeline.datasets.synthetic_plan import COLOURS, HALVES, plan_qvhighlights
from pipeline.demo import SEED
from pipeline.encoders.base import Weights
from pipeline.encoders.workers import Workers
from pipeline.features.making.recipe import Recipe
from pipeline.features.making.words import encode_words
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.layout import Layout
from pipeline.layout.places import StorePlace
from pipeline.records import Query

EXPERIMENT, DATASET, RUN = "qvhighlights_v", "qvhighlights", "all-s2017"
SECONDS, IN_A_ROW = 20.0, 10
COLOUR = re.compile("|".join(COLOURS))
OF_TIME = re.compile(f"^({'|'.join(HALVES)}) ")
VIDEO, TEXT = "clip-vit-b32", "clip-text"
PROFILE = Path(__file__).resolve().parents[1] / "workflow/profiles/demo/demo.yaml"


class Timeless(Benchmark):
    """The demo's videos with queries that hold no words of time. `train` trains a run on them."""

    def __init__(self, folder: Path, demo: Path, stores: Sequence[Path]) -> None:
        self.results = folder / "results"
        self.queries = {split: _without_time(path) for split, path in _annotations(demo).items()}
        self.annotations = {split: self._annotate(split, rows) for split, rows in self.queries.items()}
        recipe = Recipe(TEXT, "tokens", Weights.named("random:0", None), "float16")
        words = Layout(self.results).store(DATASET, StorePlace(TEXT, "tokens"), "00000")
        texts = {str(query.qid): query.query for rows in self.queries.values() for query in rows}
        with Workers(1) as threads, StoreWriter(words, recipe.passport) as store:
            encode_words(texts, recipe, store, "cpu", list(texts.values()), threads)
        self.features = [list_stores(folder / "stores.json", [*map(Path.absolute, stores), words])]
        self.annotations.pop("test")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/demo"), help="of the demo")
    options = parser.parse_args()
    layout = Layout(options.results)
    stores = sorted(layout.store(DATASET, StorePlace(VIDEO, "2s"), "00000").parent.glob("*.h5"))
    with Store(stores) as store:
        rows = {vid: store.read(vid) for vid in store.keys()}  # noqa: SIM118 - no dict
    of_demo = {split: records.read_queries(path) for split, path in _annotations(options.results).items()}
    print("| queries | alone | other colour | any nine | nine without |", "|---" * 5 + "|", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        run = layout.run(EXPERIMENT, RUN)
        print(_line("as in the demo", Rows(Path(folder), run, rows), of_demo), flush=True)
        benchmark = Timeless(Path(folder), options.results, stores)
        runs = benchmark.train(config.load_file(PROFILE).experiments[EXPERIMENT], EXPERIMENT)
        print(_line("without time", Rows(Path(folder), runs / RUN, rows), benchmark.queries), flush=True)


class Rows:
    """A run that is asked about videos in a row, made of stored rows."""

    def __init__(self, folder: Path, run: Path, rows: dict[str, np.ndarray]) -> None:
        self.moments, self._rows = Moments.load(run), rows
        self._folder = Path(tempfile.mkdtemp(dir=folder))

    def finds(self, query: Query, text: str, vids: Sequence[str]) -> tuple[bool, bool]:
        """Ask with a text; tell whether the first window, and one of the first five, is the event of the query."""
        passport = self.moments.recipes[VIDEO].passport
        path = store_path(self._folder, passport)
        path.unlink(missing_ok=True)
        with StoreWriter(path, passport) as store:
            store.add("row", np.concatenate([self._rows[vid] for vid in vids]))
        encoded = Encoded(self._folder / "row.mp4", self._folder, "row", SECONDS * len(vids), {VIDEO: path}, "")
        begin = SECONDS * vids.index(query.vid)
        truth = [(begin + start, begin + end) for start, end in query.relevant_windows]
        windows = self.moments.ask(encoded, text).windows[:5]
        found = [max(iou((w.start_s, w.end_s), event) for event in truth) >= 0.5 for w in windows]
        return found[0], any(found)


def _line(name: str, asked: Rows, queries: dict[str, list[Query]]) -> str:
    held_out = queries["val"] + queries["test"]
    large = {v.vid: {e.colour for e in v.events if e.scale == 1} for v in plan_qvhighlights(SEED).videos}
    vids, chance = list(dict.fromkeys(query.vid for query in held_out)), random.Random(0)

    def recoloured(query: Query) -> str:
        return COLOUR.sub(chance.choice([colour for colour in COLOURS if colour not in large[query.vid]]), query.query)

    def in_a_row(query: Query, others: Sequence[str]) -> list[str]:
        row = chance.sample([vid for vid in others if vid != query.vid], IN_A_ROW - 1)
        row.insert(chance.randrange(IN_A_ROW), query.vid)
        return row

    def without(query: Query) -> list[str]:
        colour = COLOUR.search(query.query)[0]  # type: ignore[index]
        return in_a_row(query, [vid for vid in vids if colour not in large[vid]])

    kinds: list[Callable[[Query], tuple[bool, bool]]] = [
        lambda query: asked.finds(query, query.query, [query.vid]),
        lambda query: asked.finds(query, recoloured(query), [query.vid]),
        lambda query: asked.finds(query, query.query, in_a_row(query, vids)),
        lambda query: asked.finds(query, query.query, without(query)),
    ]
    cells = []
    for kind in kinds:
        first, five = 100 * np.mean([kind(query) for query in held_out], axis=0)
        cells.append(f"{first:.1f} / {five:.1f}")
    return f"| {name} | {' | '.join(cells)} |"


def _annotations(results: Path) -> dict[str, Path]:
    return {split: Layout(results).annotations(DATASET, split) for split in ("train", "val", "test")}


def _without_time(path: Path) -> list[Query]:
    return [replace(query, query=OF_TIME.sub("", query.query)) for query in records.read_queries(path)]


if __name__ == "__main__":
    main()
