"""After a killed demo the next one works: it ends or waits for the old processes, removes the lock, and goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import demo, locks, snakemake_records
from pipeline.errors import PipelineError

RESULTS = Path("results/demo")
POLITE = """
import signal, sys, time
def end(*_):
    time.sleep(0.5)
    open('ended', 'a').write('workflow ')
    sys.exit()
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
time.sleep(60)
"""
BUSY = "import time; print('ready', flush=True); time.sleep(1); open('ended', 'a').write('job ')"


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / demo.PROFILE).mkdir(parents=True)
    demo_locks = tmp_path / snakemake_records.LOCKS
    demo_locks.mkdir(parents=True)
    (demo_locks / "0.input.lock").write_text("results/demo/resources/a/fetch.json\n")
    (demo_locks / "0.output.lock").write_text("results/demo/tables/table1.json\n")
    (demo_locks / "1.output.lock").write_text("results/tables/table1.json\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(place):
    """Start a process with these words on its command line, and wait until it is ready."""
    begun = []

    def begin(code, *words, cwd=place):
        begun.append(subprocess.Popen([sys.executable, "-c", code, *words], cwd=cwd, stdout=subprocess.PIPE, text=True))
        assert begun[-1].stdout.readline() == "ready\n"
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def test_a_lock_that_a_killed_demo_left_is_undone_and_another_runs_is_not(place):
    demo.end_what_was_left(RESULTS)
    assert [path.name for path in snakemake_records.LOCKS.iterdir()] == ["1.output.lock"]


def test_a_workflow_left_behind_is_told_to_end_and_its_jobs_are_waited_for(place, start, capsys):
    workflow = start(POLITE, "-m", "snakemake", "--workflow-profile", demo.PROFILE)
    job = start(BUSY, "-m", "pipeline", "--results", str(RESULTS), "train", "ablation")
    demo.end_what_was_left(RESULTS)
    assert sorted((place / "ended").read_text().split()) == ["job", "workflow"]
    assert {process.wait(60) for process in (workflow, job)} == {0}
    assert "waiting for the end of 2 processes of it" in capsys.readouterr().out


def test_processes_of_other_folders_and_other_results_are_let_alone(place, start, tmp_path_factory, capsys):
    start(POLITE, "-m", "snakemake", "--workflow-profile", demo.PROFILE, cwd=tmp_path_factory.mktemp("other"))
    start(POLITE, "-m", "snakemake", "all_tables")
    start(POLITE, "-m", "pipeline", "--results", "results", "train", "ablation")
    demo.end_what_was_left(RESULTS)
    assert capsys.readouterr().out == ""
    assert not (place / "ended").exists()


def test_a_second_demo_beside_a_running_one_says_so_and_ends(place, monkeypatch):
    monkeypatch.setenv("GO_ON_WITH", "make demo")
    with locks.lock(RESULTS / "demo"), pytest.raises(PipelineError, match=r"another demo is at work.*make demo$"):
        demo.run(1)
    assert len(list(snakemake_records.LOCKS.iterdir())) == 3


def test_the_workflow_is_started_by_this_python_whatever_path_says_and_a_failure_names_what_goes_on(place, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(demo, "make_benchmark", lambda layout: None)
    monkeypatch.setattr(demo, "write_sources", lambda layout, address: None)
    (place / "results/demo/benchmark").mkdir(parents=True)
    with pytest.raises(PipelineError, match=r"ended with code \d.*python -m pipeline demo --cores 1$"):
        demo.run(1)
