"""Encodes the words of a query with the code of the stage `extract`, and keeps them beside the video's rows.

A network stays in memory, so that a second query needs only a forward pass. A query that was asked before needs none.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from pipeline.asking.rows import store_path
from pipeline.encoders.workers import workers
from pipeline.errors import PipelineError, is_printable, printable
from pipeline.families import FAMILIES
from pipeline.features.making.recipe import Recipe
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter

LONGEST = 2_000
"""Largest number of characters of a query. The encoders read only some tens of words."""

LINE_ENDS = re.compile(r"[\t\r\n\v\f]+")
"""White space that would end a line. Each character of it becomes a blank."""


def qid_of(query: str) -> str:
    """Return the key of a query's words: a digest of its text."""
    return hashlib.sha256(query.encode("utf-8", "replace")).hexdigest()[:16]


def query_text(query: str) -> str:
    """Return a query as one line. Raises PipelineError for one that cannot be printed or is very long."""
    text = LINE_ENDS.sub(" ", query).strip()
    if not is_printable(text):
        raise PipelineError(
            f"`{printable(text[:80])}` holds characters that cannot be printed", where="query", remedy="take them out"
        )
    if len(text) > LONGEST:
        raise PipelineError(f"has {len(text):,} characters", where="query", remedy=f"write at most {LONGEST:,}")
    return text


class Words:
    """Encodes the words of queries by one recipe. A network is built once. Vectors of a table are looked up for each
    query."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._network: Any = None

    def store_of(self, query: str, folder: Path) -> Path:
        """Return the store with the rows of one query. It is made if it does not exist yet. folder: the folder of the
        video's rows.

        Raises PipelineError for weights that do not fit, and for a folder that cannot be written.
        """
        place = store_path(folder, self.recipe.passport)
        path, qid = place.with_suffix("") / f"{qid_of(query)}.h5", qid_of(query)
        if _holds(path, qid, query):
            return path
        with workers("cpu") as threads, StoreWriter(path, self.recipe.passport) as store:
            words = threads.submit(self._encoder(query).encode, [query]).result()[0]
            store.add(qid, words.tokens, pooled=words.pooled, query=query)
        return path

    def _encoder(self, query: str) -> Any:
        if FAMILIES[self.recipe.family].from_word_table:
            return self.recipe.encoder(self.recipe.weights, "cpu", [query])
        if self._network is None:
            self._network = self.recipe.encoder(self.recipe.weights, "cpu", [])
        return self._network


def _holds(path: Path, qid: str, query: str) -> bool:
    if not path.is_file():
        return False
    try:
        with Store([path]) as store:
            return qid in store and store.attributes(qid).get("query") == query
    except PipelineError:
        return False  # damaged, so it is made again
