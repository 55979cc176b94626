"""Reads a shard's videos a second time with another reader, and reports and counts what it finds. This is done after
the rows are made, so that a video on which the second reader crashes keeps its rows.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from pipeline.errors import printable
from pipeline.features.making.encode import frames_wanted
from pipeline.features.making.extract import videos_of
from pipeline.features.making.recipe import Recipe
from pipeline.progress import Progress
from pipeline.video.ahead import Request
from pipeline.video.second_reader import opinions, refuse_without_decord

__all__ = ["read_again", "refuse_without_decord"]


def read_again(
    recipes: Iterable[Recipe], results: Path, dataset: str, shard: str, seconds_per_video: float
) -> dict[str, int]:
    """Return how many videos the second reader finds equal, finds different, and refuses. Each that is not equal is
    named on stderr."""
    recipes = list(recipes)
    wanted = {recipe.family: frames_wanted(recipe) for recipe in recipes}
    sources, _ = videos_of(results, dataset, shard, {recipe.grid for recipe in recipes})
    counts: Counter[str] = Counter()
    with (
        closing(opinions([Request(source.to_read, wanted) for source in sources], seconds_per_video)) as found,
        Progress(len(sources), "video", f"{dataset} {shard}, second reader") as shown,
    ):
        for position, opinion in found:
            counts[opinion.verdict] += 1
            shown.add()
            if opinion.verdict != "equal":
                said = f"decord {opinion.verdict}: {sources[position].vid}: {printable(opinion.why)}"
                print(said, file=sys.stderr, flush=True)
    return {f"second_reader_{verdict}": counts[verdict] for verdict in ("equal", "differs", "refuses")}
