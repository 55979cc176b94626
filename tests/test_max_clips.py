"""`max_clips` below a video's length cuts the video: this does not count as missing data, and times stay in seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from families_on_disk import TOKENS, WORDS, two_streams
from tiny_benchmark import N_CLIPS, Benchmark, experiment

from pipeline import files, records
from pipeline.models.labels import query_labels
from pipeline.models.windows import scored_windows
from pipeline.records import Query
from pipeline.training.cut import clip_scores, cut_query

RATED = Query(
    1, "q", "v", 24.0, relevant_windows=((2, 8), (12, 20)), relevant_clip_ids=(1, 2, 3, 6, 7, 8, 9),
    saliency_scores=tuple((k % 5,) * 3 for k in range(7)),
)  # fmt: skip


def test_moments_end_where_the_network_stops_seeing():
    query = cut_query(RATED, 8, 2.0)
    assert query.relevant_windows == ((2, 8), (12, 16))
    assert (query.relevant_clip_ids, len(query.saliency_scores)) == ((1, 2, 3, 6, 7), 5)
    labels = query_labels(query, 8, 2.0)
    np.testing.assert_allclose(labels.spans, [[5 / 16, 6 / 16], [14 / 16, 4 / 16]])
    assert (len(labels.saliency), labels.clip_mask.tolist()) == (8, [0, 1, 1, 1, 0, 0, 1, 1])


def test_a_moment_behind_the_cut_is_left_out_and_one_on_another_grid_is_cut_too():
    assert cut_query(RATED, 4, 2.0).relevant_windows == ((2, 8),)
    assert cut_query(Query(1, "q", "v", 30.0, ((3.5, 20.25),)), 30, 1 / 6).relevant_windows == ((3.5, 5.0),)


def test_clips_that_were_hidden_are_ranked_last_and_those_behind_the_end_left_out():
    assert clip_scores([3, 1, 2], Query(1, "q", "v", 10.0), 2.0, is_cut=True) == [3, 1, 2, 1, 1]
    assert clip_scores([3, 1, 2], Query(1, "q", "v", 10.0), 2.0, is_cut=False) == [3, 1, 2]
    assert clip_scores([3, 1, 2], Query(1, "q", "v", 4.0), 2.0, is_cut=False) == [3, 1]
    assert clip_scores([3, 1, 2], Query("v", "q", "v", 8.0, label=((1.0,) * 20,) * 4), 2.0, is_cut=True) == [3, 1, 2, 1]


@pytest.mark.parametrize("dataset", ["qvhighlights", "charades_sta"])
def test_spans_are_fractions_of_what_was_seen(dataset):
    whole = torch.tensor([[[0.5, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    seen = replace(RATED, duration=16.0)  # what `max_clips` leaves of its 24 s
    window = scored_windows(whole[1], whole[0], [seen], dataset, 2.0)[0, 0, :2]
    assert window.tolist() == [0, 16]


def test_only_what_is_longer_is_cut_and_queries_behind_the_cut_teach_nothing(tmp_path):
    families = two_streams(tmp_path).put("clip-text", 3, TOKENS, "tokens")
    data = families.load(WORDS, max_clips=5)
    assert data.cut < {query.vid for query in data.queries}
    assert all(n == 5 for query, n in zip(data.queries, data.n_clips, strict=True) if query.vid in data.cut)


@pytest.mark.parametrize("max_clips", [N_CLIPS - 4, N_CLIPS, None])
def test_a_run_that_sees_less_trains_and_predicts_every_query(tmp_path, torch_one_thread, max_clips):
    benchmark = Benchmark(tmp_path)
    settings = experiment(training={"epochs": 2, "max_clips": max_clips})
    run = benchmark.train(settings) / "all-s2017"
    benchmark.predict(settings)
    card = files.read_json(run / "card.json")
    seen_s = 2 * (max_clips or N_CLIPS)
    beyond = [q for q in benchmark.splits["train"] if q.relevant_windows[0][0] >= seen_s]
    assert [row["qid"] for row in card["skipped"]["train"]] == [str(query.qid) for query in beyond]
    assert all(row["why"].startswith("max_clips: its moments lie beyond") for row in card["skipped"]["train"])
    rows = [row for _, row in records.read_jsonl(run / "predictions/val-last.jsonl")]
    assert len(rows) == len(benchmark.splits["val"])
    assert {len(row["pred_saliency_scores"]) for row in rows} == {N_CLIPS}
    assert max(end for row in rows for _, end, _ in row["pred_relevant_windows"]) <= seen_s + 2
