"""The yardsticks of Table 3: the scores of orders that no model made."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import provenance, records
from pipeline.datasets.tvsum import DOMAINS
from pipeline.evaluation import yardsticks as module
from pipeline.evaluation.top5 import top5_average_precision
from pipeline.evaluation.yardsticks import expected_best, yardsticks
from pipeline.reporting import render, tables


@pytest.fixture
def few_orders(monkeypatch):
    monkeypatch.setattr(module, "ORDERS", 1 << 12)


def rows(*labels: np.ndarray) -> list[dict]:
    return [{"domain": f"D{n}", "label": label.tolist()} for n, label in enumerate(labels)]


def by_brute_force(label: np.ndarray) -> list[float]:
    """Return the score of every order of the clips, computed by the scorer itself."""
    orders = permutations(range(len(label)))
    return [float(top5_average_precision(-np.argsort(order), label.tolist()).mean()) for order in orders]


def test_random_best_and_largest_agree_with_all_orders_of_a_small_video(few_orders):
    label = np.random.default_rng(3).integers(1, 6, (6, 4)).astype(float)
    everything = by_brute_force(label)
    found = {name: values["average"] for name, values in yardsticks(rows(label)).items()}
    assert found["random order"] == pytest.approx(100 * np.mean(everything), abs=1.5)
    assert found["best order found"] == pytest.approx(100 * max(everything), abs=1e-4)
    assert found["best of 51,200 random orders"] == pytest.approx(100 * max(everything), abs=1e-4)


def test_a_single_draw_is_expected_at_the_mean_and_many_at_the_largest():
    values = np.array([0.2, 0.9, 0.4])
    assert expected_best(values, 1) == pytest.approx(0.5)
    assert expected_best(values, 10_000) == pytest.approx(0.9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 50))
def test_more_draws_never_expect_less(values, n):
    assert expected_best(np.array(values), n + 1) >= expected_best(np.array(values), n) - 1e-9


def test_a_video_of_fewer_than_five_clips_and_one_where_all_agree_have_yardsticks(few_orders):
    found = yardsticks(rows(np.array([[1.0], [5.0], [1.0]]), np.full((9, 2), 3.0)))
    assert found["best order found"] == {"D0": pytest.approx(100), "D1": 0.0, "average": pytest.approx(50)}


def test_they_stand_beneath_table_3_with_an_average_only_over_all_domains(few_orders, tmp_path):
    path = tmp_path / "val.jsonl"
    labelled = np.random.default_rng(0).integers(1, 6, (10, 8, 4)).astype(float)
    averages = []
    for domains in (DOMAINS, DOMAINS[:9]):
        made = [{"domain": d, "label": label.tolist()} for d, label in zip(domains, labelled, strict=False)]
        records.write_jsonl(path, made)
        manifest = tmp_path / f"{len(made)}.json"
        provenance.run_stage("annotate", manifest, lambda: provenance.Outcome([path]), settings={})
        table = tables.build("table3", "T", {}, [], [], [manifest])
        line = next(line for line in table.lines if line.label == "best of 400 random orders")
        assert (line.kind, line.remark) == ("yardstick", f"no model; {len(made)} videos")
        averages.append(line.cells.get("Avg."))
        assert "| best of 400 random orders |" in render.to_markdown(table)
    assert averages[0] is not None and averages[1] is None


def test_real_videos_have_the_known_yardsticks(shared_data):
    found = yardsticks(row for _, row in records.read_jsonl(shared_data / "annotations" / "tvsum_val.jsonl"))
    average = {name: round(values["average"], 1) for name, values in found.items()}
    assert average["annotators' own mean"] == 84.3
    assert average["best order found"] == 94.0
    assert average["random order"] == pytest.approx(42.6, abs=0.2)
    assert average["best of 60 random orders"] == pytest.approx(78.8, abs=0.2)
    assert average["best of 400 random orders"] == pytest.approx(84.4, abs=0.2)
    assert average["best of 51,200 random orders"] == pytest.approx(90.4, abs=0.4)
