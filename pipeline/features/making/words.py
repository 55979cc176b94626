"""Fills stores with rows of words, for the queries of a shard in all splits, and counts unknown words.

A text without a known word gets a row of zeros (GloVe). Such a text is kept and counted. Every family then has the same
queries, and every row of a table is computed on the same queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline import progress, records, work_record
from pipeline.encoders.base import WordEncoder
from pipeline.encoders.workers import Workers, workers
from pipeline.errors import PipelineError
from pipeline.features.making.recipe import Recipe
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.provenance import Outcome
from pipeline.shards import shard_name, shard_of

UNKNOWN = "unknown_words"
"""Name of the attribute of an array that says how many words of its text the encoder does not know."""


def fill_from_queries(
    recipes: Mapping[Path, Recipe], annotations: Iterable[Path], shard: str, n_shards: int, device: str
) -> Outcome:
    """Encode the queries of the videos of a shard, in all splits, and fill the stores.

    recipes: for the path of each store, how its rows are made.
    annotations: the annotation files of all splits.
    Raises PipelineError if one qid has two texts.
    """
    queries = queries_of(annotations)
    ours = {qid: q.query for qid, q in queries.items() if shard_name(shard_of(q.vid, n_shards)) == shard}
    corpus = [query.query for query in queries.values()]
    for path, recipe in recipes.items():
        with workers(device) as threads, StoreWriter(path, recipe.passport) as store:
            encode_words(ours, recipe, store, device, corpus, threads)
    return Outcome(recipes, _counts(recipes))


def encode_words(
    queries: Mapping[str, str],
    recipe: Recipe,
    store: StoreWriter,
    device: str,
    corpus: Sequence[str],
    threads: Workers,
) -> None:
    """Encode the queries that the store lacks.

    queries: the text of each qid. corpus: all texts of the dataset, from which an encoder may learn which words occur.
    An encoder with a network gets one query at a time (the family's `batch` is 1), because the last bits of its numbers
    depend on how many queries it gets at once.
    """
    waiting = [(qid, query) for qid, query in queries.items() if not store.keep(qid, query=query)]
    if not waiting:
        return
    network: WordEncoder = recipe.encoder(recipe.weights, device, corpus)
    size = recipe.kind.batch
    parts = [waiting[start : start + size] for start in range(0, len(waiting), size)]
    encoded = threads.in_order(network.encode, ([query for _, query in part] for part in parts))
    with progress.Progress(len(waiting), "query", recipe.family) as shown:
        for part, rows in zip(parts, encoded, strict=True):
            work_record.note("encoded", family=recipe.family, rows=len(rows))
            for (qid, query), words in zip(part, rows, strict=True):
                unknown = {UNKNOWN: str(words.unknown)} if words.unknown else {}
                store.add(qid, words.tokens, pooled=words.pooled, query=query, **unknown)
            shown.add(len(part))


def queries_of(annotations: Iterable[Path]) -> dict[str, records.Query]:
    """Return all queries of the files by qid, written as text. Raises PipelineError if one qid has two texts."""
    queries: dict[str, records.Query] = {}
    for path in annotations:
        for query in records.read_queries(path):
            if queries.setdefault(str(query.qid), query).query != query.query:
                raise PipelineError(f"qid {query.qid} has two texts", where=path, remedy="make qids unique")
    return queries


def _counts(recipes: Mapping[Path, Recipe]) -> dict[str, int]:
    """Count arrays and rows, and, where there are any, unknown words and texts whose rows are all zero."""
    counts: Counter[str] = Counter()
    for path, recipe in recipes.items():
        with Store([path]) as store:
            qids = store.keys()
            counts.update(store.counts)
            found = {
                UNKNOWN: sum(int(store.attributes(qid).get(UNKNOWN, 0)) for qid in qids),
                "texts_of_zeros": sum(not store.read(qid).any() for qid in qids),
            }
        counts.update({f"{recipe.family}_{name}": n for name, n in found.items() if n})
    return dict(counts)
