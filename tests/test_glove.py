"""GloVe: both rules about the full stop, zeros for what is unknown, and a zip of 400,000 lines read once."""

from __future__ import annotations

import gzip
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import stage_jobs

from pipeline import config, files, records
from pipeline.encoders import glove
from pipeline.encoders.base import Weights, encoder_of
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.features.store import Store

STRIPPED, KEPT = encoder_of("glove-6b-300d"), encoder_of("glove-6b-300d-kept-stop")
WORDS = {word: k + 1 for k, word in enumerate(["a", "person", "opens", "the", "shelf", ".", "baby's", "é"])}


def lines(words=WORDS, dim=300):
    return "".join(f"{word} {' '.join(f'{number}.{k:03d}' for k in range(dim))}\n" for word, number in words.items())


def zipped(folder, text=None, member=glove.MEMBER):
    path = folder / "glove.6B.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glove.6B.50d.txt", "a 1 2\n")
        archive.writestr(member, lines() if text is None else text)
    return path


def vectors(text):
    """Return the lines read one by one, without a library."""
    return {line.split(" ")[0]: np.array(line.split(" ")[1:], np.float32) for line in text.splitlines()}


def encode(kind, path, query):
    return kind(Weights.named("released", path), "cpu", [query]).encode([query])[0]


@pytest.mark.parametrize(("kind", "last"), [(STRIPPED, "shelf"), (KEPT, None)])
def test_the_full_stop_decides_about_the_last_word(tmp_path, kind, last):
    query = "A person OPENS the  shelf."
    words = encode(kind, zipped(tmp_path), query)
    known = vectors(lines())
    expected = [known.get(word, np.zeros(300)) for word in ("a", "person", "opens", "the", last)]
    np.testing.assert_array_equal(words.tokens, np.array(expected, np.float32))
    assert (words.tokens.dtype, words.pooled, words.unknown) == (np.float32, None, int(last is None))


@pytest.mark.parametrize(
    ("query", "rule", "kept"),
    [
        ("a shelf. ", ["a", "shelf"], ["a", "shelf."]),
        ("a shelf .", ["a", "shelf"], ["a", "shelf", "."]),
        ("the door.the bed, baby's", ["the", "door.the", "bed,", "baby's"], ["the", "door.the", "bed,", "baby's"]),
        (".", [], ["."]),
        ("", [], []),
    ],
)
def test_words_are_split_at_blanks_alone(query, rule, kept):
    weights = Weights.named("random:0", None)
    assert STRIPPED(weights, "cpu", []).words(query) == rule
    assert KEPT(weights, "cpu", []).words(query) == kept


def test_a_text_without_a_word_has_one_row_of_zeros(tmp_path):
    words = encode(STRIPPED, zipped(tmp_path), " . ")
    assert (words.tokens.shape, words.tokens.any(), words.unknown) == ((1, 300), False, 0)


def test_a_text_of_unknown_words_has_a_row_of_zeros_for_each(tmp_path):
    query = "qwx \ud800 vbn"
    words = STRIPPED(Weights.named("released", zipped(tmp_path)), "cpu", [query, "the shelf"]).encode([query])[0]
    assert (words.tokens.shape, words.tokens.any(), words.unknown) == ((3, 300), False, 3)


def test_real_lines_are_read_to_the_last_digit(tmp_path, shared_data):
    with gzip.open(shared_data / "glove" / "glove.6B.300d.sample.txt.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    expected = vectors(text)
    words = encode(KEPT, zipped(tmp_path, text), " ".join(expected))
    np.testing.assert_array_equal(words.tokens, np.stack(list(expected.values())))


def test_every_real_charades_query_ends_in_a_stop_and_has_at_most_ten_words(shared_data):
    encoder, kept = (kind(Weights.named("random:0", None), "cpu", []) for kind in (STRIPPED, KEPT))
    queries = [
        row["query"]
        for split in ("train", "test")
        for _, row in records.read_jsonl(shared_data / "annotations" / f"charades_sta_{split}.jsonl")
    ]
    assert len(queries) == 16_124
    assert all(kept.words(query)[-1].endswith(".") for query in queries)
    assert not any(encoder.words(query)[-1].endswith(".") for query in queries)
    assert max(len(encoder.words(query)) for query in queries) == 10


def test_the_zip_is_read_once_for_one_corpus(tmp_path, work_done):
    weights = Weights.named("released", zipped(tmp_path))
    with ThreadPoolExecutor(4) as jobs:
        made = list(jobs.map(lambda _: STRIPPED(weights, "cpu", ["a shelf", "the é"]), range(4)))
    assert len(work_done("searched")) == 1
    for encoder in made:
        np.testing.assert_array_equal(encoder.encode(["é"])[0].tokens[0], vectors(lines())["é"])
    STRIPPED(weights, "cpu", ["the É A", "shelf."])  # the same words
    assert not work_done("searched")
    STRIPPED(weights, "cpu", ["another person"])
    STRIPPED(Weights("another digest", weights.path), "cpu", ["a shelf", "the é"])
    assert len(work_done("searched")) == 2


def test_only_the_words_asked_for_are_kept_beside_the_zip(tmp_path):
    STRIPPED(Weights.named("released", zipped(tmp_path)), "cpu", ["the shelf qwx.", "the shelf"])
    (kept,) = tmp_path.glob("glove.6B.300d.*.npz")
    with np.load(kept) as found:
        words, known = found["words"].tobytes().decode().split("\n"), vectors(lines())
        assert sorted(words) == ["shelf", "the"]
        np.testing.assert_array_equal(found["vectors"], [known[word] for word in words])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b"<html>not found</html>"), "not a zip"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "not a zip"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"\x78", b"\x79")), "."),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_a_damaged_zip_is_refused(tmp_path, damage, reason):
    path = zipped(tmp_path)
    weights = Weights.named("released", path)
    damage(path)
    with pytest.raises(PipelineError, match=f"does not hold glove.6B.300d.txt .*{reason}.* → fetch it again"):
        STRIPPED(weights, "cpu", ["a"])
    assert not list(tmp_path.glob("*.txt"))


def test_no_bit_of_a_zip_ends_in_another_error(tmp_path):
    path = tmp_path / "glove.6B.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(glove.MEMBER, "a\n")
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x80]) + whole[position + 1 :])
        with suppress(PipelineError):
            STRIPPED(Weights.named("released", path), "cpu", ["a"])


@pytest.mark.parametrize(
    ("text", "member"),
    [(lines(dim=299), glove.MEMBER), (lines() + "a 1 2\nb x y\n", glove.MEMBER), (lines(), "glove.6B.200d.txt")],
)
def test_a_zip_of_other_vectors_is_refused(tmp_path, text, member):
    with pytest.raises(PipelineError, match=r"does not hold glove\.6B\.300d\.txt"):
        STRIPPED(Weights.named("released", zipped(tmp_path, text, member)), "cpu", ["a b"])


def test_with_a_seed_every_word_has_a_vector_of_its_own_and_keeps_it():
    one, same, other = (STRIPPED(Weights.named(f"random:{seed}", None), "cpu", []) for seed in (1, 1, 2))
    words = one.encode(["the dog the"])[0]
    np.testing.assert_array_equal(words.tokens[0], words.tokens[2])
    np.testing.assert_array_equal(same.encode(["dog"])[0].tokens[0], words.tokens[1])
    assert np.abs(other.encode(["dog"])[0].tokens[0] - words.tokens[1]).max() > 0.01
    assert words.unknown == 0


def test_a_shard_counts_what_it_does_not_know_and_keeps_every_query(tmp_path):
    queries = [(1, "A person opens.", "x"), (2, "qwx", "x"), (3, ".", "y"), (4, "the qwx shelf", "y")]
    path = tmp_path / "annotations" / "charades_sta" / "train.jsonl"
    records.write_jsonl(path, [{"qid": q, "query": t, "vid": v, "duration": 9.5} for q, t, v in queries])
    manifest = tmp_path / "features" / "charades_sta" / "words" / "00000.json"
    (tmp_path / "glove-6b").mkdir()
    weights = zipped(tmp_path / "glove-6b")
    settings = {
        "dataset": config.Dataset(shards=1, annotations={"train": "x"}),
        "families": ["glove-6b-300d", "glove-6b-300d-kept-stop"],
        "encoding": config.Encoding(dtype="float32"),
    }
    about = {"dataset": "charades_sta", "shard": "00000", "reader": "words"}
    stage_jobs.run("extract", tmp_path, manifest, {"inputs": path, "weights": weights}, settings, **about)
    assert files.read_json(manifest)["counts"] == {
        "glove-6b-300d_arrays": 4,
        "glove-6b-300d_rows": 8,
        "glove-6b-300d_unknown_words": 2,
        "glove-6b-300d_texts_of_zeros": 2,
        "glove-6b-300d-kept-stop_arrays": 4,
        "glove-6b-300d-kept-stop_rows": 8,
        "glove-6b-300d-kept-stop_unknown_words": 3,
        "glove-6b-300d-kept-stop_texts_of_zeros": 1,
    }
    store = Store([tmp_path / "features" / "charades_sta" / "tokens" / "glove-6b-300d" / "00000.h5"])
    assert store.passport.weights == files.sha256(weights)
    assert [store.n_rows(qid) for qid in store.keys()] == [3, 1, 1, 3]  # noqa: SIM118 - no dict
    assert store.entry("1").pooled is None


def test_the_families_say_which_rule_they_follow():
    stripped, kept = FAMILIES["glove-6b-300d"], FAMILIES["glove-6b-300d-kept-stop"]
    assert stripped.dim == kept.dim == glove.DIM
    assert stripped.encoder == kept.encoder
    assert stripped.preprocessing != kept.preprocessing


@pytest.mark.parametrize("kind", [STRIPPED, KEPT])
@pytest.mark.parametrize("text", [lines({"der": 1, "Hund": 2}), "", "\n", lines().upper().replace(" ", "\t")])
def test_a_file_in_which_no_word_of_the_queries_is_found_is_refused(tmp_path, kind, text):
    weights = Weights.named("released", zipped(tmp_path, text))
    for _ in range(2):  # what was copied at the first time is not believed at the second
        with pytest.raises(PipelineError, match=r"glove\.6B\.zip: .* contains none of the 3 words of the queries \(a"):
            kind(weights, "cpu", ["the shelf", "a the"])
    kind(weights, "cpu", [" ", ""])  # texts without a word ask for none


def test_a_line_without_an_end_takes_no_memory(tmp_path):
    with pytest.raises(PipelineError, match="its line 1 is longer than 65,536 bytes"):
        STRIPPED(Weights.named("released", zipped(tmp_path, "a" * 3_000_000)), "cpu", ["a"])
    assert not list(tmp_path.glob("*.txt"))


def test_only_the_first_job_of_a_corpus_imports_gensim(tmp_path, monkeypatch):
    weights = Weights.named("released", zipped(tmp_path))
    first = STRIPPED(weights, "cpu", ["the shelf"]).encode(["the shelf"])[0]
    for name in ("gensim", "gensim.models"):
        monkeypatch.setitem(sys.modules, name, None)  # an import now fails
    second = STRIPPED(weights, "cpu", ["the shelf"]).encode(["the shelf"])[0]
    np.testing.assert_array_equal(first.tokens, second.tokens)
    with pytest.raises(ImportError):
        STRIPPED(weights, "cpu", ["a person"])


@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda _: b"PK", lambda _: b"", lambda c: c[::-1]])
def test_damaged_vectors_beside_the_zip_are_named(tmp_path, damage):
    weights = Weights.named("released", zipped(tmp_path))
    STRIPPED(weights, "cpu", ["the shelf"])
    (kept,) = tmp_path.glob("glove.6B.300d.*.npz")
    kept.write_bytes(damage(kept.read_bytes()))
    with pytest.raises(PipelineError, match=r"\.npz: is damaged .* → delete it and run again"):
        STRIPPED(weights, "cpu", ["the shelf"])
