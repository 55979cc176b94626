"""From stores to the network's input, against the rules of the released loaders spelled out in NumPy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from families_on_disk import LENGTHS, TOKENS, VIDEO, WORDS, FamiliesOnDisk, two_streams
from tiny_benchmark import list_stores, passport, write_store

from pipeline import config
from pipeline.errors import PipelineError
from pipeline.layout.places import StorePlace
from pipeline.methods.settings import Normalisation
from pipeline.records import Query
from pipeline.training.batches import collate
from pipeline.training.data import load, open_features


def norm(x: np.ndarray) -> np.ndarray:
    return x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-5)


def endpoints(n: int) -> np.ndarray:
    i = np.arange(n)
    return np.stack((i / n, i / n + 1 / n), axis=1)


def test_qvhighlights_normalises_every_family_alone_and_cuts_to_the_shortest(tmp_path):
    families = FamiliesOnDisk(tmp_path).put(VIDEO[0], 6).put(VIDEO[1], 4, {key: n - 1 for key, n in LENGTHS.items()})
    data = families.put("clip-text", 3, TOKENS, "tokens").load(WORDS, max_clips=5, max_tokens=5)
    batch = collate(data, [0, 1, 2])
    assert batch.n_clips == [4, 2, 5]
    assert batch.video.shape == (3, 5, 12) and batch.text.shape == (3, 5, 3)
    for i, (vid, n) in enumerate(zip("abc", batch.n_clips, strict=True)):
        parts = [norm(families.rows[family][vid][:n]) for family in VIDEO]
        expected = np.concatenate([*parts, endpoints(n)], axis=1)
        np.testing.assert_allclose(batch.video[i, :n], expected, atol=1e-7)
        words = norm(families.rows["clip-text"][str(i + 1)][:5])
        np.testing.assert_allclose(batch.text[i, : len(words)], words, atol=1e-7)


def test_tvsum_normalises_both_streams_as_one_vector_and_leaves_words_as_stored(tmp_path):
    families = two_streams(tmp_path).put("clip-text", 3, TOKENS, "tokens")
    batch = collate(families.load(WORDS, dataset="tvsum", max_clips=1000, max_tokens=None), [0])
    expected = norm(np.concatenate([families.rows[family]["a"] for family in VIDEO], axis=1))
    np.testing.assert_allclose(batch.video[0, :, :10], expected, atol=1e-7)
    np.testing.assert_array_equal(batch.text[0], families.rows["clip-text"]["1"])


def test_words_of_tvsum_are_normalised_where_asked_for(tmp_path):
    families = two_streams(tmp_path).put("clip-text", 3, TOKENS, "tokens")
    batch = collate(families.load(WORDS, dataset="tvsum", max_tokens=None, normalise_text=True), [0])
    np.testing.assert_allclose(batch.text[0], norm(families.rows["clip-text"]["1"]), atol=1e-7)


def test_sound_stands_behind_the_video_with_endpoints_of_its_own_and_shortens_it(tmp_path):
    families = (
        two_streams(tmp_path).put("pann-cnn14", 5, {"a": 6, "b": 2, "c": 7}).put("clip-text", 3, TOKENS, "tokens")
    )
    features = config.Features(video=VIDEO, audio=["pann-cnn14"], text="clip-text")
    batch = collate(families.load(features, dataset="tvsum", max_clips=None, max_tokens=None), [1])
    video = norm(np.concatenate([families.rows[family]["b"][:2] for family in VIDEO], axis=1))
    sound = norm(families.rows["pann-cnn14"]["b"][:2])
    expected = np.concatenate([video, endpoints(2), sound, endpoints(2)], axis=1)
    assert batch.n_clips == [2]
    np.testing.assert_allclose(batch.video[0], expected, atol=1e-7)


def test_padding_is_zero_and_masked_to_the_batchs_longest(tmp_path):
    batch = collate(two_streams(tmp_path).put("clip-text", 3, TOKENS, "tokens").load(WORDS), [1, 0])
    assert batch.video_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.text_mask.sum(1).tolist() == [6, 4]
    assert batch.video[0, 3:].abs().sum() == 0
    assert batch.text[1, 4:].abs().sum() == 0


def test_a_sample_has_the_same_rows_alone_and_in_any_batch(tmp_path):
    data = two_streams(tmp_path).put("clip-text", 3, TOKENS, "tokens").load(WORDS)
    together = collate(data, [2, 0, 1])
    for place, index in enumerate([2, 0, 1]):
        alone = collate(data, [index])
        np.testing.assert_array_equal(together.video[place, : alone.n_clips[0]], alone.video[0])


def test_stores_of_half_precision_stay_half_in_memory_and_lose_nothing(tmp_path):
    families = two_streams(tmp_path, dtype="float16").put("clip-text", 3, TOKENS, "tokens")
    data = families.load(WORDS)
    batch = collate(data, [2])
    assert str(data.video.rows.dtype) == "torch.float16"
    np.testing.assert_allclose(batch.video[0, :, :6], norm(families.rows[VIDEO[0]]["c"]), atol=1e-7)


@pytest.mark.parametrize(("grid", "seconds"), [("2s", 2.0), ("0.5s", 0.5), ("1-6s", 1 / 6)])
def test_the_length_of_a_clip_is_read_off_the_stores(tmp_path, grid, seconds):
    families = FamiliesOnDisk(tmp_path).put("clip-vit-b32", 4, grid=grid).put("clip-text", 3, TOKENS, "tokens")
    assert families.load(config.Features(video=["clip-vit-b32"], text="clip-text")).clip_s == seconds


def test_families_on_two_grids_are_refused_by_name(tmp_path):
    families = (
        FamiliesOnDisk(tmp_path).put(VIDEO[0], 6).put(VIDEO[1], 4, grid="1s").put("clip-text", 3, TOKENS, "tokens")
    )
    with pytest.raises(PipelineError, match=r"different grids.*rgb-tvsum 2s, i3d-inception-flow-tvsum 1s"):
        families.load(WORDS)


def test_lengths_more_than_one_row_apart_name_the_vid_the_files_and_both_lengths(tmp_path):
    families = (
        FamiliesOnDisk(tmp_path)
        .put(VIDEO[0], 6)
        .put(VIDEO[1], 4, LENGTHS | {"b": 5})
        .put("clip-text", 3, TOKENS, "tokens")
    )
    with pytest.raises(PipelineError, match=r"vid b has 3 clips in .*rgb-tvsum/00000.h5, 5 clips in .*flow-tvsum/"):
        families.load(WORDS)


def test_queries_without_features_are_listed_all_at_once(tmp_path):
    families = two_streams(tmp_path).put("clip-text", 3, {"2": 4}, "tokens")
    with pytest.raises(PipelineError, match=r"2 of 3 queries.*qid 1 \(vid a\) in clip-text; qid 3 \(vid c\)"):
        families.load(WORDS)


def test_queries_whose_video_was_skipped_on_record_are_left_out_and_counted(tmp_path):
    families = (
        FamiliesOnDisk(tmp_path)
        .put(VIDEO[0], 6, {"a": 5, "c": 7})
        .put(VIDEO[1], 4)
        .put("clip-text", 3, TOKENS, "tokens")
    )
    data = families.load(WORDS, skipped=({"vid": "b", "why": "404"},))
    assert [q.qid for q in data.queries] == [1, 3]
    assert data.skipped == [{"qid": "2", "vid": "b", "why": "404"}]


def test_a_family_without_a_store_is_named(tmp_path):
    families = two_streams(tmp_path)
    families.grids["clip-text"] = "tokens"
    with pytest.raises(PipelineError, match="no store of clip-text"):
        families.load(WORDS)


def test_the_released_loader_prepares_the_same_input(tmp_path, shared_data):
    stored = np.load(shared_data / "golden/sharp/forward.npz")
    metas = json.loads((shared_data / "golden/sharp/expected.json").read_text())["metas"]
    families = {"i3d-inception-rgb-tvsum": "slowfast", "i3d-inception-flow-tvsum": "clip", "clip-text": "text"}
    paths, places = [], {}
    for family, name in families.items():
        raw = [stored[f"raw_{name}_{i}"] for i in range(len(metas))]
        grid = "tokens" if name == "text" else "2s"
        keys = [str(meta["qid"] if name == "text" else meta["vid"]) for meta in metas]
        sign = passport(family, raw[0].shape[1], grid, "float16")
        paths.append(write_store(tmp_path / grid / family / "0.h5", sign, dict(zip(keys, raw, strict=True))))
        places[family] = StorePlace(family, grid)
    annotated = [Query(m["qid"], m["query"], m["vid"], m["duration"]) for m in metas]
    with open_features(places, [list_stores(tmp_path / "all.json", paths)]) as families:
        data = load(families, WORDS, annotated, training=config.Training(), normalisation=Normalisation())
    batch = collate(data, range(len(metas)))
    ours = {"vid": batch.video, "vid_mask": batch.video_mask, "txt": batch.text, "txt_mask": batch.text_mask}
    for name, tensor in ours.items():
        np.testing.assert_allclose(tensor, stored[f"in_src_{name}"], atol=1e-7)
