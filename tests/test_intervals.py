"""Bootstrap over videos: determinism, pairing, clusters, coverage; and the luck of a selected epoch."""

from __future__ import annotations

import csv
import itertools
import math

import numpy as np
import pytest

from pipeline import datasets
from pipeline.errors import PipelineError
from pipeline.evaluation import compare, format_comparison, headline_intervals, luck
from pipeline.evaluation.intervals import holm, resampled_means, share_interval, sign_flip_p, smallest_p
from pipeline.evaluation.selection import still_rising


def rows(values, videos):
    return [
        {"qid": i, "vid": f"v{i}", "video": video, "metric": value}
        for i, (value, video) in enumerate(zip(values, videos, strict=True))
    ]


def many(seed=0, n=300, gain=0.0):
    random = np.random.default_rng(seed)
    return rows((random.random(n) + gain).tolist(), [f"video {k // 3}" for k in range(n)])


def test_two_files_without_a_metric_in_common_are_refused():
    other = [{**row, "other": row["metric"]} for row in rows([1, 0], ["a", "b"])]
    for row in other:
        del row["metric"]
    with pytest.raises(PipelineError, match="name files that share a task"):
        compare(rows([1, 0], ["a", "b"]), other)


@pytest.mark.parametrize(("resamples", "seed"), [(0, 0), (-5, 0), (10, -1), (10**11, 0)])
def test_a_bootstrap_that_nobody_can_draw_is_refused(resamples, seed):
    with pytest.raises(PipelineError, match=f"{resamples:,} resamples with seed {seed}"):
        compare(many(), many(1), resamples, seed)


def test_a_seed_gives_one_interval_and_another_seed_another():
    assert headline_intervals(many(), seed=1) == headline_intervals(many(), seed=1)
    assert headline_intervals(many(), seed=1) != headline_intervals(many(), seed=2)


def test_the_interval_is_about_the_mean_in_percent_and_holds_it():
    interval = headline_intervals(many())["metric"]
    assert interval.value == pytest.approx(100 * np.mean([row["metric"] for row in many()]))
    assert interval.low < interval.value < interval.high


def test_queries_of_one_video_are_drawn_together():
    values = np.repeat(np.random.default_rng(0).random(60), 5)
    clustered = headline_intervals(rows(values.tolist(), [k // 5 for k in range(300)]))["metric"]
    apart = headline_intervals(rows(values.tolist(), range(300)))["metric"]
    assert (clustered.high - clustered.low) == pytest.approx(math.sqrt(5) * (apart.high - apart.low), rel=0.1)


def test_pieces_of_one_youtube_video_are_one_video_on_qvhighlights_only():
    pieces = ("_a-b_c_60.0_210.0", "_a-b_c_210.0_360.0")
    assert set(map(datasets.get("qvhighlights").video_of, pieces)) == {"_a-b_c"}
    assert datasets.get("tvsum").video_of("_xMr-HKMfVA") == "_xMr-HKMfVA"


def test_a_query_outside_a_length_range_takes_no_part():
    values = [1.0, None, 0.0, None]
    assert headline_intervals(rows(values, "abcd"))["metric"].value == 50.0
    assert headline_intervals(rows([None, None], "ab")) == {}


def test_one_video_has_no_interval():
    interval = headline_intervals(rows([0.0, 1.0], "aa"))["metric"]
    assert (interval.value, interval.low, interval.high) == (50.0, None, None)


def test_a_file_does_not_differ_from_itself():
    (comparison,) = compare(many(), many())
    assert (comparison.difference.low, comparison.difference.high) == (0.0, 0.0)
    assert comparison.p == 1.0


def test_a_shared_difficulty_cancels_in_the_paired_difference():
    a, b = many(), many(gain=-0.01)
    (comparison,) = compare(a, list(reversed(b)))
    assert comparison.difference.value == pytest.approx(1.0)
    assert comparison.difference.low > 0.99
    assert comparison.a.high - comparison.a.low > 3
    assert comparison.p == pytest.approx(2 / 10_001)


def test_p_agrees_with_the_interval():
    for seed in range(30):
        (comparison,) = compare(many(seed), many(seed + 100, gain=0.05), resamples=1000, seed=seed)
        excludes_zero = not comparison.difference.low <= 0 <= comparison.difference.high
        assert excludes_zero == (comparison.p < 0.05) or 0.04 < comparison.p < 0.06


def test_files_on_other_queries_are_not_compared():
    with pytest.raises(PipelineError, match="not the same"):
        compare(many(n=30), many(n=33))


@pytest.mark.parametrize("clusters", [60, 300])
def test_a_95_percent_interval_covers_the_truth_about_95_times_in_100(clusters):
    """Videos of 1 to 6 queries whose answers correlate inside a video; the true mean is 1/2."""
    trials, covered = 400, 0
    random = np.random.default_rng(clusters)
    for trial in range(trials):
        sizes = random.integers(1, 7, clusters)
        difficulty = random.random(clusters)
        sums = random.binomial(sizes, difficulty)
        means = resampled_means(sums[:, None].astype(float), sizes[:, None].astype(float), 400, trial)
        low, high = np.quantile(means[:, 0], [0.025, 0.975])
        covered += low <= 0.5 <= high
    assert 0.91 <= covered / trials <= 0.98


def test_under_no_difference_p_is_below_5_percent_about_5_times_in_100():
    small = 0
    for trial in range(300):
        random = np.random.default_rng(trial)
        videos = [k // 3 for k in range(180)]
        a, b = (rows((random.random(180) < 0.5).astype(float).tolist(), videos) for _ in range(2))
        small += compare(a, b, resamples=400, seed=trial)[0].p < 0.05
    assert 0.02 <= small / 300 <= 0.09


def test_luck_is_the_height_above_five_neighbours_on_each_side():
    curve = [float(k * k) for k in range(10)] + [1000.0] + [float(k) for k in range(10, 20)]
    assert luck(curve) == 1000 - (25 + 36 + 49 + 64 + 81 + 10 + 11 + 12 + 13 + 14) / 10


def test_luck_takes_as_many_neighbours_on_each_side_as_the_shorter_side_has():
    assert luck([1.0, 3.0, 8.0, 5.0]) == 4.0


def test_a_steady_rise_is_no_luck():
    assert luck([0.0, 10.0, 20.0, 30.0, 41.0, 40.0]) == 41 - 35
    assert math.isnan(luck([10.0 * k for k in range(20)]))
    assert still_rising([1.0, 2.0])
    assert not still_rising([1.0, 2.0, 1.5])
    assert not still_rising([4.0])
    assert math.isnan(luck([4.0]))


def test_luck_of_the_released_run(shared_data):
    with open(shared_data / "predictions" / "trdetr_qvhighlights_val_curve.csv", newline="") as file:
        curve = [float(row["MR-full-mAP"]) for row in csv.DictReader(file)]
    assert luck(curve) == pytest.approx(1.295)


def few(differences):
    """Return two files with one query for each video. Their values differ by these numbers."""
    return tuple(rows([0.5 + sign * d / 2 for d in differences], map(str, range(len(differences)))) for sign in (1, -1))


def test_two_videos_cannot_give_a_small_p():
    (row,) = compare(*few([0.4, 0.5]))
    assert (row.p, row.smallest_p, row.videos) == (0.5, 0.5, 2)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 16])
def test_the_sign_flip_test_counts_every_pattern(n):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    found = abs(differences.sum())
    patterns = list(itertools.product((-1, 1), repeat=n)) if n <= 10 else []
    if patterns:
        share = np.mean([abs(np.dot(signs, differences)) >= found - 1e-9 for signs in patterns])
        assert sign_flip_p(differences, 100, 0) == pytest.approx(share)
    assert sign_flip_p(np.ones(n), 100, 0) == smallest_p(n, 100) == 2.0 ** (1 - n)


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_with_few_videos_p_is_not_too_small(n):
    random = np.random.default_rng(n)
    small = sum(compare(*few(random.normal(size=n)), resamples=300, seed=k)[0].p < 0.05 for k in range(300))
    assert small / 300 <= 0.09


def test_holm_stops_at_the_first_p_that_is_too_large():
    assert holm([0.04, 0.001, None, 0.02]) == [True, True, False, True]
    assert holm([0.03, 0.03]) == [False, False]
    assert holm([0.01, 0.03]) == [True, True]


def test_the_paired_resolution_is_the_smallest_difference_that_the_interval_tells_from_0():
    """Shift one file until the interval just touches 0: with few videos (t) exactly, with many up to the resampling."""
    for n, tolerance in ((10, 1e-9), (200, 0.15)):
        differences = np.random.default_rng(n).normal(0, 0.1, n)
        (row,) = compare(*few(differences))
        for reach, leaves_out_0 in ((1 + tolerance, True), (1 - tolerance, False)):
            shift = reach * row.resolution / 100 - differences.mean()
            (moved,) = compare(*few(differences + shift))
            assert moved.resolution == pytest.approx(row.resolution)
            assert (moved.difference.low > 0) == leaves_out_0


def test_compare_prints_the_paired_resolution_of_every_metric():
    (row,) = compare(*few([0.4, 0.5, 0.3]))
    shown = format_comparison([row])
    assert f"±{(row.difference.high - row.difference.low) / 2:.2f}" in shown
    assert "resolves: half of the interval of A - B" in shown


@pytest.mark.parametrize("pair", [(many(), many()), (rows([1, 0], "aa"), rows([0, 0], "aa"))])
def test_where_no_video_differs_or_only_one_is_there_nothing_is_resolved(pair):
    (row,) = compare(*pair)
    shown = format_comparison([row])
    assert row.resolution is None
    assert "±" not in shown
    assert "resolves:" not in shown
    assert " none" in shown


@pytest.mark.parametrize("spread", [0.0, 3e-5])
def test_videos_that_differ_alike_but_for_rounding_resolve_nothing(spread):
    values = [0.1, 0.37, 0.83, 0.59]
    a = [{"qid": n, "vid": f"v{n}", "video": f"v{n}", "m": value} for n, value in enumerate(values)]
    b = [row | {"m": row["m"] - 0.3 + spread * row["qid"] / 3} for row in a]
    (row,) = compare(a, b)
    assert row.resolution is None
    assert "±" not in format_comparison([row])


@pytest.mark.parametrize(("share", "concentration"), [(0.5, 2.0), (0.1, 1.0), (0.9, 1.0), (0.8, 12.0)])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
def test_with_few_videos_the_interval_of_a_share_covers_it_and_stays_a_share(n, share, concentration):
    """Videos of 1 to 6 queries that are hits or not and share their video's chance; the true mean is known."""
    random = np.random.default_rng([n, round(10 * share)])
    covered, trials = 0, 500
    for _ in range(trials):
        counts = random.integers(1, 7, n)
        chance = random.beta(concentration * share, concentration * (1 - share), n)
        low, high = share_interval(random.binomial(counts, chance), counts)
        assert 0 <= low < high <= 1
        covered += low <= share <= high
    assert covered / trials >= 0.92


def test_the_interval_of_a_share_is_students_t_on_its_log_odds():
    values = np.array([0.2, 0.4, 0.6, 0.7])
    mean, error = values.mean(), values.std(ddof=1) / 2
    odds, reach = math.log(mean / (1 - mean)), 3.182446305 * error / (mean * (1 - mean))
    expected = [1 / (1 + math.exp(-x)) for x in (odds - reach, odds + reach)]
    assert share_interval(values, np.ones(4)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_two_equal_videos_say_little_about_a_share(value):
    low, high = share_interval(np.full(2, value), np.ones(2))
    assert low <= value <= high
    assert high - low > 0.9
