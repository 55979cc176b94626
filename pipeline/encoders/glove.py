"""GloVe 6B.300d: a vector for each word of a query, looked up in a table, as the Charades-STA systems do.

A query is split at blanks and lower-cased. Punctuation stays on its word. Released systems treat the full stop at the
end in two ways. UMT and 2D-TAN strip it. CG-DETR and lighthouse keep it, so that the last word (`shelf.`) is unknown.
An unknown word gets a row of zeros. A text without a word gets one such row, so that all families have the same
queries.

gensim reads a thousand lines in a second, so the whole table would take 400 s. Importing gensim takes 1.5 s and 118 MB.
So the first job of a dataset copies the lines of the words that its queries contain out of the zip, lets gensim read
these, and keeps the vectors in a small file of NumPy beside the zip. All other jobs read that file and do not import
gensim.
"""

from __future__ import annotations

import codecs
import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import cast

import numpy as np

from pipeline import files, limits, locks, work_record
from pipeline.encoders.base import Weights, Words
from pipeline.errors import PipelineError
from pipeline.nouns import counted

MEMBER = "glove.6B.300d.txt"
"""The name of the file inside the zip. It has 400,000 lines with a word and 300 numbers each, and no header."""

DIM = 300

LONGEST_LINE = 1 << 16
"""The largest accepted length of a line in bytes. The lines of GloVe have about 3,000."""

_DAMAGE = (
    OSError,
    KeyError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    UnicodeDecodeError,
    limits.TooLongError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class GloVe:
    """Looks up the vectors of the words of a query."""

    def __init__(
        self,
        weights: Weights,
        device: str,  # noqa: ARG002 - nothing is computed
        corpus: Iterable[str],
        *,
        strips_full_stop: bool,
    ) -> None:
        """Look up the words of all queries of the dataset.

        corpus: the queries of the dataset. strips_full_stop: whether the full stop at the end of a query is removed
        (UMT, 2D-TAN) or kept (CG-DETR, lighthouse).
        Raises PipelineError for a file that does not hold GloVe, and for a file that contains no word of the corpus,
        because every row would then be zero.
        """
        self._strips_full_stop = strips_full_stop
        if weights.path is None:
            self._vectors: Mapping[str, np.ndarray] = _Seeded(weights.seed)
        else:
            vocabulary = sorted({word for query in corpus for word in self.words(query)})
            self._vectors = _vectors_of(weights, weights.path, vocabulary)
            if vocabulary and not self._vectors:
                raise PipelineError(
                    f"{MEMBER} in it contains none of the {counted(len(vocabulary), 'word')} of the queries"
                    f" ({vocabulary[0]} …)",
                    where=weights.path,
                    remedy=f"see that the queries are English words; if they are, {files.FETCH_AGAIN}",
                )

    def words(self, query: str) -> list[str]:
        """Return the words that are looked up for a query, in order."""
        kept = query.rstrip().removesuffix(".") if self._strips_full_stop else query
        return kept.lower().split()

    def encode(self, queries: Sequence[str]) -> list[Words]:
        """Encode queries. Returns for each float32 [n_words, 300] with at least one row, and no pooled vector."""
        return [self._encode(self.words(query)) for query in queries]

    def _encode(self, words: Sequence[str]) -> Words:
        rows = np.zeros((max(1, len(words)), DIM), np.float32)
        unknown = [word not in self._vectors for word in words]
        for row, word, is_unknown in zip(rows, words, unknown, strict=False):
            if not is_unknown:
                row[:] = self._vectors[word]
        return Words(rows, unknown=sum(unknown))


class _Seeded(dict[str, np.ndarray]):
    """A table that has a random vector for every word. Equal seeds give equal vectors."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __contains__(self, word: object) -> bool:
        return True

    def __missing__(self, word: str) -> np.ndarray:
        digest = hashlib.sha256(f"{self._seed} {word}".encode(errors="replace")).digest()
        self[word] = np.random.default_rng(list(digest)).normal(0, DIM**-0.5, DIM).astype(np.float32)
        return self[word]


def _vectors_of(weights: Weights, archive: Path, vocabulary: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Return the vectors float32 [300] of those words that GloVe contains.

    They are kept in a file. Its name contains a digest of the weights and the words, so that other words get another
    file. The first process that needs the file makes it.
    """
    made_of = "\n".join([weights.passport, *vocabulary]).encode(errors="replace")
    path = archive.with_name(f"{Path(MEMBER).stem}.{hashlib.sha256(made_of).hexdigest()[:16]}.npz")
    with locks.lock(path, wait=True):
        if not path.exists():
            _gather(archive, vocabulary, path)
    return _read(path)


def _gather(archive: Path, vocabulary: Sequence[str], path: Path) -> None:
    """Write the vectors of these words to `path`. Raises PipelineError for an archive that does not hold GloVe."""
    work_record.note("searched", path=archive, words=len(vocabulary))
    lines = path.with_suffix(".txt")
    try:
        _copy_lines(archive, {word.encode(errors="replace") for word in vocabulary}, lines)
        vectors = _parsed(lines, archive)
    finally:
        lines.unlink(missing_ok=True)
    words = np.frombuffer("\n".join(vectors).encode(), np.uint8)
    with files.atomic(path, "wb") as file:
        np.savez(file, words=words, vectors=np.array([*vectors.values()], np.float32).reshape(-1, DIM))


def _copy_lines(archive: Path, wanted: set[bytes], path: Path) -> None:
    """Copy the lines of wanted words. The file in the zip is read to its end, where its checksum is compared."""
    try:
        with zipfile.ZipFile(archive) as zipped, zipped.open(MEMBER) as member, files.atomic(path, "wb") as file:
            reader = BufferedReader(cast("BufferedReader", member), files.CHUNK_BYTES)
            is_first = True
            for whole in limits.lines_of(reader.readline, LONGEST_LINE):
                line, is_first = (whole.removeprefix(codecs.BOM_UTF8) if is_first else whole), False
                word = line.partition(b" ")[0]
                if word in wanted:
                    wanted.discard(word)
                    file.write(line)
    except _DAMAGE as error:
        raise _not_glove(archive, error) from error


def _parsed(lines: Path, archive: Path) -> Mapping[str, np.ndarray]:
    """Read lines with gensim. Returns float32 [300] for each word. Raises PipelineError for lines of another form."""
    if not lines.stat().st_size:
        return {}
    from gensim.models import KeyedVectors  # type: ignore[import-untyped]

    try:
        vectors = KeyedVectors.load_word2vec_format(str(lines), binary=False, no_header=True)
    except ValueError as error:
        raise _not_glove(archive, error) from error
    if vectors.vector_size != DIM:
        raise _not_glove(archive, f"its lines have {vectors.vector_size} numbers")
    return {word: vectors[word] for word in vectors.key_to_index}


def _read(path: Path) -> Mapping[str, np.ndarray]:
    """Read a file that `_gather` wrote. Returns float32 [300] for each word. Raises PipelineError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as found:
            words, vectors = found["words"].tobytes().decode(), found["vectors"]
        return dict(zip(words.split("\n") if words else [], vectors, strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise PipelineError(
            f"is damaged ({type(error).__name__}: {error})", where=path, remedy="delete it and run again"
        ) from error


def _not_glove(path: Path, reason: object) -> PipelineError:
    return PipelineError(f"does not hold {MEMBER} ({reason})", where=path, remedy=files.FETCH_AGAIN)
