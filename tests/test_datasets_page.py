"""docs/datasets.md against the released annotation files, the table of sources and the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline import datasets
from pipeline.acquire import sources
from pipeline.acquire.annotations import count
from pipeline.datasets import rows
from pipeline.datasets.qvhighlights import youtube_video

PAGE = (Path(__file__).resolve().parents[1] / "docs/datasets.md").read_text(encoding="utf-8")
FILES = {
    ("qvhighlights", "train"): "qvhighlights_train",
    ("qvhighlights", "val"): "qvhighlights_val",
    ("qvhighlights", "test"): "qvhighlights_test_with_gt",
    ("charades_sta", "train"): "charades_sta_train",
    ("charades_sta", "val"): "charades_sta_test",
    ("tvsum", "train"): "tvsum_train",
    ("tvsum", "val"): "tvsum_val",
}


def table():
    """Return (dataset, split) → queries, videos, windows, hours, as the page has them."""
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in PAGE.splitlines() if line[:1] == "|"]
    counts = [row for row in cells if row[0] in datasets.PAPERS]
    return {(row[0], row[1]): [float(cell.replace(",", "")) for cell in row[3:]] for row in counts}


def test_the_page_counts_every_split_of_every_dataset_of_the_paper():
    assert list(table()) == list(FILES)


@pytest.mark.parametrize("key", FILES, ids="-".join)
def test_the_counts_are_those_of_the_released_file(shared_data, key):
    queries = rows.read(datasets.get(key[0]), shared_data / f"annotations/{FILES[key]}.jsonl")
    found, hours = count(queries), sum({query.vid: query.duration for query in queries}.values()) / 3600
    assert table()[key][:3] == [found["queries"], found["videos"], found["windows"]]
    assert table()[key][3] == pytest.approx(hours, abs=0.05)


@pytest.mark.parametrize("key", FILES, ids="-".join)
def test_the_counts_are_those_that_the_estimate_takes(key):
    known = {known for known in datasets.get(key[0]).released.values() if known.split == key[1]}
    queries, videos, _, hours = table()[key]
    assert {(one.queries, one.videos) for one in known} == {(queries, videos)}
    assert {round(one.hours, 1) for one in known} == {hours}


def test_sources_that_the_page_names_exist_with_the_size_it_tells():
    listed = {source.name: source for source in sources.load()}
    named = set(re.findall(r"`([a-z0-9-]+-(?:features|videos)|youtube)`", PAGE))
    assert named == {n for n in listed if n.endswith(("-features", "-videos")) or n == "youtube"}
    told = re.findall(r"^\| `([a-z0-9-]+)` \| ([\d.]+) GB \|", PAGE, re.MULTILINE)
    assert len(told) == 3
    for name, size in told:
        assert float(size) == pytest.approx((listed[name].n_bytes or listed[name].n_bytes_reported) / 1e9, rel=0.02)


def released(shared_data, dataset):
    """Split → queries of the released files."""
    return {
        split: rows.read(datasets.get(dataset), shared_data / f"annotations/{name}.jsonl")
        for (of, split), name in FILES.items()
        if of == dataset
    }


def test_what_the_page_says_of_qvhighlights_is_so(shared_data):
    splits = released(shared_data, "qvhighlights")
    every = [query for queries in splits.values() for query in queries]
    told = {
        f"{len({youtube_video(query.vid) for query in every}):,} YouTube",
        f"{len({query.vid for query in every if query.duration < 150})} videos are shorter than 150 s",
        f"{sum(query.vid.startswith('-') for query in every)} queries have an id that begins with `-`",
        f"{sum(len(query.relevant_windows) > 10 for query in splits['val'])} queries of val have more than ten windows",
    }
    assert {fact for fact in told if fact not in " ".join(PAGE.split())} == set()


def test_what_the_page_says_of_charades_sta_is_so(shared_data):
    splits = released(shared_data, "charades_sta")
    ends = [sum(q.relevant_windows[0][1] == q.duration for q in splits[split]) for split in ("train", "val")]
    assert f"{ends[0]:,} windows of train and {ends[1]} of test end exactly" in " ".join(PAGE.split())
    assert f"of which {len({q.vid for queries in splits.values() for q in queries}):,} are used" in PAGE
