"""Comparing stores: one line says how the features of two stores differ."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.families import Passport
from pipeline.features.looking.compare import Alignment, compare_stores
from pipeline.features.looking.compare_text import text, verdict, write_csv
from pipeline.features.store.writer import StoreWriter

DIM = 48
PASSPORT = Passport("clip-vit-b32", 1, "raw", "random:0", "2s", DIM, "float32", "none")
VIDS = {"-a": 12, "b_1": 7, "long name with spaces": 30}


def video(n, seed, dim=DIM):
    """Return rows that change slowly around a common mean, as a video's do. So neighbours and strangers look alike."""
    rng = np.random.default_rng(seed)
    return (np.cumsum(rng.standard_normal((n, dim)), axis=0) + 2 * np.arange(dim) % 5).astype(np.float32)


def write(folder, rows, passport=PASSPORT, shards=1):
    for shard in range(shards):
        with StoreWriter(folder / f"{shard}.h5", passport) as store:
            for key in sorted(rows)[shard::shards]:
                store.add(key, rows[key])
    return folder


def compared(tmp_path, change, passport=PASSPORT):
    before = {vid: video(n, seed) for seed, (vid, n) in enumerate(VIDS.items())}
    after = {vid: change(rows) for vid, rows in before.items()}
    return compare_stores(write(tmp_path / "a", before, shards=2), write(tmp_path / "b", after, passport))


def test_equal_numbers_are_identical_however_they_are_sharded(tmp_path):
    comparison = compared(tmp_path, np.copy)
    assert verdict(comparison) == "identical: 3 vids equal number by number"


@pytest.mark.parametrize(
    ("change", "alignment", "words"),
    [
        (lambda r: np.concatenate([r[:1], r]), Alignment(1, 0), "B is shifted by +1 row (row i of A is row i+1 of B)"),
        (lambda r: r[1:], Alignment(-1, 0), "B is shifted by -1 row (row i of A is row i-1 of B)"),
        (lambda r: np.roll(r, DIM // 2, axis=1), Alignment(0, DIM // 2), "the halves of the columns are exchanged"),
        (lambda r: np.roll(r, 9, axis=1), Alignment(0, 9), "(the first 39 of A are the last of B)"),
        (lambda r: np.roll(r, 9, axis=1)[2:] * 3, Alignment(-2, 9), "B is scaled by 3"),
        (lambda r: r * 0.5, Alignment(), "but B is scaled by 0.5, median cosine 1.0000"),
        (lambda r: r / np.linalg.norm(r, axis=1, keepdims=True), Alignment(), "each row of B has its own scale"),
    ],
)
def test_what_was_done_to_the_same_features_is_said(tmp_path, change, alignment, words):
    comparison = compared(tmp_path, change)
    assert comparison.alignment == alignment
    assert verdict(comparison).startswith("the same features, but ")
    assert words in verdict(comparison)


def test_float16_is_the_same_features(tmp_path):
    comparison = compared(tmp_path, np.copy, replace(PASSPORT, dtype="float16"))
    assert verdict(comparison) == "the same features, median cosine 1.0000"
    assert "passports: dtype: float32 ≠ float16" in text(comparison, "a", "b")


def test_a_little_noise_is_nearly_the_same_and_much_is_related(tmp_path):
    def noisy(much):
        return lambda rows: rows + much * np.random.default_rng(9).standard_normal(rows.shape).astype(np.float32)

    assert verdict(compared(tmp_path / "1", noisy(0.4))).startswith("nearly the same features")
    assert verdict(compared(tmp_path / "2", noisy(3.0))).startswith("related, but not the same features")


def test_features_of_other_weights_are_unrelated_even_with_a_high_cosine_of_any_two_rows(tmp_path):
    def around_a_mean(seed):
        rng, mean = np.random.default_rng(seed), 40 * np.arange(DIM) / DIM
        return {vid: (mean + rng.standard_normal((n, DIM))).astype(np.float32) for vid, n in VIDS.items()}

    comparison = compare_stores(write(tmp_path / "a", around_a_mean(0)), write(tmp_path / "b", around_a_mean(1)))
    assert comparison.chance > 0.99
    assert np.median(comparison.worst[0].cosines) > 0.98
    assert verdict(comparison).startswith("unrelated: ")


def test_random_features_are_unrelated(tmp_path):
    comparison = compared(tmp_path, lambda r: np.random.default_rng(5).standard_normal(r.shape).astype(np.float32))
    assert verdict(comparison).startswith("unrelated: median cosine ")
    assert comparison.alignment == Alignment()


def test_silence_equals_silence_and_nothing_else(tmp_path):
    silent = {"a": np.zeros((6, DIM), np.float32), "b": video(6, 1)}
    half = {"a": silent["a"].copy(), "b": silent["b"].copy()}
    half["b"][:3] = 0
    comparison = compare_stores(write(tmp_path / "a", silent), write(tmp_path / "b", half))
    by_key = {pair.key: pair for pair in comparison.pairs}
    assert by_key["a"].is_equal
    np.testing.assert_allclose(by_key["a"].cosines, 1)
    np.testing.assert_allclose(by_key["b"].cosines, [0, 0, 0, 1, 1, 1])


def test_one_bad_video_among_good_ones_heads_the_list(tmp_path):
    rows = {f"v{i}": video(10, i) for i in range(6)}
    spoiled = rows | {"v4": video(10, 99), "v2": np.roll(rows["v2"], 1, axis=0)}
    comparison = compare_stores(write(tmp_path / "a", rows), write(tmp_path / "b", spoiled))
    assert {pair.key for pair in comparison.worst[:2]} == {"v4", "v2"}
    assert next(pair.best for pair in comparison.pairs if pair.key == "v2") == Alignment(1, 0)
    assert "2 of 6 vids stand apart, v2 among them" in verdict(comparison)
    write_csv(comparison, tmp_path / "out.csv")
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["vid"] for row in table] == [pair.key for pair in comparison.worst]
    assert next(row["best_lag"] for row in table if row["vid"] == "v2") == "1"


def test_the_table_has_the_vids_as_they_are_and_empty_cells_for_what_there_is_not(tmp_path):
    rows = {vid: video(4, k) for k, vid in enumerate(("007", "NA", "1e5", 'a, "b"', "-é"))}
    write_csv(compare_stores(write(tmp_path / "a", rows), write(tmp_path / "b", rows)), tmp_path / "out.csv")
    heading, *lines = (tmp_path / "out.csv").read_bytes().decode().split("\n")
    assert heading == "vid,rows_a,rows_b,cosine_min,cosine_median,cosine_pooled,best_lag,best_turn,scale"
    assert {line.removesuffix(",4,4,1.000000,1.000000,,0,0,1") for line in lines} == {
        "007", "NA", "1e5", '"a, ""b"""', "-é", ""
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        (lambda rows: rows * (np.arange(len(rows)) < len(rows) * 3 // 5)[:, None], 20),
        (lambda rows: np.concatenate([rows[:-2], np.random.default_rng(0).standard_normal((2, DIM))]), 6),
    ],
)
def test_a_part_that_differs_in_every_video_is_never_called_the_same(tmp_path, change, differ):
    said = verdict(compared(tmp_path, lambda rows: change(rows).astype(np.float32)))
    assert said.startswith(f"in part the same features, but {differ} of 49 rows differ")
    assert "scale" not in said


def test_a_larger_part_that_differs_is_not_unrelated(tmp_path):
    rng = np.random.default_rng(0)
    before = {f"v{k}": rng.standard_normal((20, DIM)).astype(np.float32) for k in range(4)}
    after = {vid: np.concatenate([rows[:8], rows[8:][::-1]]) for vid, rows in before.items()}
    said = verdict(compare_stores(write(tmp_path / "a", before), write(tmp_path / "b", after)))
    assert said.startswith("related, but not the same features: median cosine")
    assert "32 of 80 rows agree" in said


@pytest.mark.filterwarnings("error")
def test_a_video_shorter_than_the_shift_is_left_out_of_the_verdict_and_counted(tmp_path):
    rows = {f"v{k}": video(12, k) for k in range(4)} | {"one": video(1, 9)}
    shifted = {vid: (np.roll(values, 1, axis=0) if len(values) > 1 else values) for vid, values in rows.items()}
    said = verdict(compare_stores(write(tmp_path / "a", rows), write(tmp_path / "b", shifted)))
    assert said.startswith("the same features, but B is shifted by +1 row")
    assert said.endswith("; too short to be compared under that shift: 1 vid")


def test_missing_vids_and_other_lengths_are_counted(tmp_path):
    rows = {f"v{i}": video(10, i) for i in range(4)}
    fewer = {"v0": rows["v0"], "v1": rows["v1"][:6], "w": rows["v2"]}
    said = text(compare_stores(write(tmp_path / "a", rows), write(tmp_path / "b", fewer)), "a", "b")
    assert "in both: 2 vids, 1 of another length; only in A: 2 (v2, v3); only in B: 1 (w)" in said
    assert said.endswith("1 vid with a length that differs by more than 1; 3 vids in only one of them")


def test_pooled_vectors_are_compared_too(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        with StoreWriter(tmp_path / f"{name}.h5", replace(PASSPORT, grid="tokens")) as store:
            store.add("7", video(5, 3), pooled=video(1, seed)[0])
    (pair,) = compare_stores(tmp_path / "a.h5", tmp_path / "b.h5").pairs
    assert not pair.is_equal
    np.testing.assert_allclose(pair.cosines, 1)
    assert pair.lowest == pair.pooled < 0.98
    comparison = compare_stores(tmp_path / "a.h5", tmp_path / "b.h5")
    assert verdict(comparison).startswith("in part the same features, but the pooled vector differs (cosine below")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": "1s"}, r"grid: 2s ≠ 1s \(clip-vit-b32, clip-vit-b32\) → compare stores of one family and grid"),
        ({"dim": 8}, "dim: 48 ≠ 8"),
    ],
)
def test_rows_that_cannot_be_laid_side_by_side_are_refused(tmp_path, changes, message):
    a = write(tmp_path / "a", {"x": video(3, 0)})
    b = write(tmp_path / "b", {"x": video(3, 0, changes.get("dim", DIM))}, replace(PASSPORT, **changes))
    with pytest.raises(PipelineError, match=message):
        compare_stores(a, b)


def test_stores_without_a_common_vid_are_refused(tmp_path):
    a, b = write(tmp_path / "a", {"x": video(3, 0)}), write(tmp_path / "b", {"y": video(3, 0)})
    with pytest.raises(PipelineError, match="has none of the 1 vid of"):
        compare_stores(a, b)
