"""GloVe 6B.300d: a vector per word of a query, looked up, as the Charades-STA systems have it.

A query is split at blanks and lower-cased; punctuation stays on its word. Two rules are about: UMT and 2D-TAN strip the
full stop that ends a sentence, CG-DETR and lighthouse do not, whose last word (`shelf.`) is then unknown.
Unknown words are rows of zeros. A text without a word has one such row, so that all families have the same queries.

gensim reads a thousand lines a second, 400 s for all. So the lines of the words that a dataset's queries hold are
copied once, straight out of the zip, into a small file beside it in GloVe's own form; jobs read that one.
"""

from __future__ import annotations

import codecs
import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import cast

import numpy as np

from pipeline import files
from pipeline.encoders.base import Weights, Words
from pipeline.errors import PipelineError

MEMBER = "glove.6B.300d.txt"
"""The file inside the zip: 400,000 lines, a word and 300 numbers each, without a header."""

DIM = 300

LONGEST_LINE = 1 << 16
"""Bytes; GloVe's have about 3,000."""


class GloVe:
    """Words → vectors, after the full stop that ends the sentence is gone (UMT, 2D-TAN)."""

    preprocessing = "final full stop stripped, split at blanks, lower-cased; unknown words are zeros"
    batch = 1024

    def __init__(self, weights: Weights, device: str, corpus: Iterable[str]) -> None:  # noqa: ARG002 - looked up
        """corpus: the queries of the dataset.

        Raises PipelineError for a file that does not hold GloVe, and for one that holds no word of the corpus: every
        text would be zeros.
        """
        if weights.path is None:
            self._vectors: Mapping[str, np.ndarray] = _Seeded(weights.seed)
        else:
            vocabulary = sorted({word for query in corpus for word in self.words(query)})
            self._vectors = _read(_lines_of(weights, weights.path, vocabulary))
            if vocabulary and not self._vectors:
                raise PipelineError(
                    f"{MEMBER} in it holds none of the {len(vocabulary):,} words of the queries ({vocabulary[0]} …)",
                    where=weights.path,
                    remedy="see that the queries are English words; if they are, delete that file and fetch it again",
                )

    def words(self, query: str) -> list[str]:
        """What is looked up for a query, in order."""
        return query.rstrip().removesuffix(".").lower().split()

    def encode(self, queries: Sequence[str]) -> list[Words]:
        """One Words per query: float32 [n_words, 300], at least a row; nothing pooled."""
        return [self._encode(self.words(query)) for query in queries]

    def _encode(self, words: Sequence[str]) -> Words:
        rows = np.zeros((max(1, len(words)), DIM), np.float32)
        unknown = [word not in self._vectors for word in words]
        for row, word, is_unknown in zip(rows, words, unknown, strict=False):
            if not is_unknown:
                row[:] = self._vectors[word]
        return Words(rows, unknown=sum(unknown))


class GloVeKeptStop(GloVe):
    """Words → vectors, the query looked up as it is stored (CG-DETR, lighthouse)."""

    preprocessing = "split at blanks, lower-cased, full stops kept; unknown words are zeros"

    def words(self, query: str) -> list[str]:
        """What is looked up for a query, in order."""
        return query.lower().split()


class _Seeded(dict[str, np.ndarray]):
    """A vector of its own for every word there is; equal seeds give equal vectors."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __contains__(self, word: object) -> bool:
        return True

    def __missing__(self, word: str) -> np.ndarray:
        digest = hashlib.sha256(f"{self._seed} {word}".encode(errors="replace")).digest()
        self[word] = np.random.default_rng(list(digest)).normal(0, DIM**-0.5, DIM).astype(np.float32)
        return self[word]


def _lines_of(weights: Weights, archive: Path, vocabulary: Sequence[str]) -> Path:
    """The small file with these words' lines, named after what it was made of; the first process that asks makes it."""
    made_of = "\n".join([weights.passport, *vocabulary]).encode(errors="replace")
    path = archive.with_name(f"{Path(MEMBER).stem}.{hashlib.sha256(made_of).hexdigest()[:16]}.txt")
    with files.lock(path, wait=True):
        if not path.exists():
            _copy_lines(archive, {word.encode(errors="replace") for word in vocabulary}, path)
    return path


def _copy_lines(archive: Path, wanted: set[bytes], path: Path) -> None:
    """Copy the lines of wanted words. The zip's checksum is that of the whole member, so it is read to its end."""
    try:
        with zipfile.ZipFile(archive) as zipped, zipped.open(MEMBER) as member, files.atomic(path, "wb") as file:
            reader = BufferedReader(cast("BufferedReader", member), files.CHUNK_BYTES)
            is_first = True
            while line := reader.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE:
                    raise _not_glove(archive, f"a line of it is longer than {LONGEST_LINE:,} bytes")
                line, is_first = (line.removeprefix(codecs.BOM_UTF8) if is_first else line), False
                word = line.partition(b" ")[0]
                if word in wanted:
                    wanted.discard(word)
                    file.write(line)
    except (OSError, KeyError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise _not_glove(archive, error) from error


def _read(path: Path) -> Mapping[str, np.ndarray]:
    """word → float32 [300]. Raises PipelineError for lines of another form."""
    from gensim.models import KeyedVectors  # type: ignore[import-untyped]

    if not path.stat().st_size:
        return {}
    try:
        vectors = KeyedVectors.load_word2vec_format(str(path), binary=False, no_header=True)
    except ValueError as error:
        raise _not_glove(path, error) from error
    if vectors.vector_size != DIM:
        raise _not_glove(path, f"its lines have {vectors.vector_size} numbers")
    return {word: vectors[word] for word in vectors.key_to_index}


def _not_glove(path: Path, reason: object) -> PipelineError:
    return PipelineError(f"does not hold {MEMBER} ({reason})", where=path, remedy="delete it and fetch it again")
