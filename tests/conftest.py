"""Fixtures and settings for all tests. Only this file looks for real data. Numerical libraries use one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from recorded_work import read_work

from pipeline import work_record

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")


LONGEST_FIRST = (
    "test_reruns.py",
    "test_reruns_more.py",
    "test_restart.py",
    "test_workflow.py",
    "test_other_lengths.py",
    "test_training.py",
    "test_datasets.py",
    "test_own_workflow.py",
    "test_moment_query_methods.py",
    "test_slowfast.py",
    "test_extract.py",
    "test_i3d.py",
    "test_originals.py",
)
"""The test files that take longest. They begin first, in this order. A long one that began last would run alone."""


def pytest_collection_modifyitems(items):
    """Begin with the longest files. Without `--no-loadscope-reorder`, xdist begins with those of most tests."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real annotations, features, videos and golden tensors. Tests that need it are skipped
    without it."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def torch_one_thread():
    """Return torch with one thread, so that sums have one order."""
    import torch

    torch.set_num_threads(1)
    return torch


def pytest_terminal_summary(terminalreporter):
    """Say on the last lines whether real data took part. Write docs/faults.md where that is asked for."""
    if os.environ.get("WRITE"):
        _write_faults(terminalreporter)
    used = "was used" if SHARED.is_dir() else "not present beside this checkout; tests that need it were skipped"
    terminalreporter.write_line(f"real data (../shared/data) {used}")


def _write_faults(terminalreporter):
    import fault_page
    from fault_cells import CELLS

    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    found = {tuple(value[:2]): value[2] for one in reports for key, value in one.user_properties if key == "fault"}
    fault_page.write(found, [(cell.fault, cell.place) for cell in CELLS])


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """Return a finished small workflow and its work. Tests copy it. All processes of the tests share it."""
    from small_workflow import finished_once

    mine = tmp_path_factory.getbasetemp()
    return finished_once((mine if worker_id == "master" else mine.parent) / "small_workflow")


@pytest.fixture
def work_done(tmp_path_factory, monkeypatch):
    """Call it with a kind of line, to have the lines that were recorded since it was called last."""
    path = tmp_path_factory.mktemp("record") / "work.jsonl"
    monkeypatch.setenv(work_record.VARIABLE, str(path))

    def since_last(what=None):
        lines = read_work(path, what)
        path.unlink(missing_ok=True)
        return lines

    return since_last


@pytest.fixture
def told_often(monkeypatch):
    """Let progress lines in a log come at once, and not every half a minute."""
    monkeypatch.setattr("pipeline.progress.EVERY_S", 0.0005)


@pytest.fixture(scope="module")
def driver():
    """Yield a real Chromium. Where it cannot run, tests are skipped with the reason, and fail under CI=true."""
    from browser.chromium import browser, install

    pytest.importorskip("selenium")
    if why := install():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    with browser() as found:
        yield found
