"""The workers of one training job share the features in memory, without copies."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_benchmark import passport, write_store

from pipeline import files
from pipeline.features.store import Store
from pipeline.training import pool, shared
from pipeline.training.packed import Packed, pack, released

N_VIDEOS, CLIPS, DIM = 40, 75, 4096
SIZE = N_VIDEOS * CLIPS * DIM * 2


@pytest.fixture
def samples(tmp_path) -> tuple[Packed, Packed]:
    """Return 24 MB of float16 rows, read as a job with several workers reads them, and a few rows that are not
    shared."""
    rows = np.random.default_rng(0).normal(size=(CLIPS, DIM)).astype(np.float16)
    videos = {f"v{n}": np.roll(rows, n, axis=0) for n in range(N_VIDEOS)}
    path = write_store(tmp_path / "0.h5", passport("clip-vit-b32", DIM, dtype="float16"), videos)
    with Store([path]) as store:
        large = pack(list(videos), [CLIPS] * N_VIDEOS, [store], (DIM,), norm=released, shared=True)
        return large, pack(["v1"], [CLIPS], [store], (DIM,), norm=released, shared=True)


def look(samples: tuple[Packed, Packed], folder: Path, run: str, _: pool.Tell) -> None:
    """Read every row in a worker; write down their sums, and how the worker holds the memory they lie in."""
    files.write_json(folder / f"{run}.json", {"sums": sums(samples), "process": os.getpid(), **held_by_this()})


def sums(samples: tuple[Packed, Packed]) -> list[float]:
    return [float(tensor.double().sum()) for packed in samples for tensor in (packed.rows, packed.norms, packed.starts)]


def held_by_this() -> dict[str, int]:
    """Return the bytes of the shared rows that this process maps, found by the kernel's names for them."""
    blocks = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    (ours,) = (block for block in blocks if "memfd:features" in block.partition("\n")[0])
    return {name: 1024 * int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB$", ours, re.MULTILINE)}


def test_workers_read_the_rows_and_copy_none(samples, tmp_path):
    assert samples[0].shared is not None and samples[1].shared is None
    pool.run_all(partial(look, samples, tmp_path), ["a", "b"], processes=2, threads=1, title="look", total=2)
    for found in (files.read_json(tmp_path / f"{run}.json") for run in "ab"):
        assert found["process"] != os.getpid()
        assert found["sums"] == sums(samples)
        assert found["Rss"] >= SIZE and found["Private_Clean"] == found["Private_Dirty"] == 0


@pytest.mark.parametrize(
    ("shape", "is_shared"), [((5, 120, 2048), False), ((1600 * 75, 2816), True)], ids=["a domain of TVSum", "a split"]
)
def test_only_large_arrays_take_a_file_descriptor(shape, is_shared):
    assert shared.is_worth_sharing(shape, np.float16) == is_shared
