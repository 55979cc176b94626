"""After a kill, a full disk or a second start the same command finishes, and what was finished is not done again."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil
import pytest
from small_workflow import Workflow, make_videos, wait_for

from pipeline import files, seal

pytestmark = pytest.mark.workflow

SEEN = "results/features/qvhighlights/frames224/00001.json"
"""Four videos of four clips, in batches of four: a batch is a video."""
FAMILIES = ("clip-vit-b32", "slowfast-r50-caffe2")


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """Return a workflow that has done everything before extraction."""
    folder = tmp_path_factory.mktemp("restart")
    workflow = Workflow(folder / "segmented", make_videos(folder / "videos")).prepare()
    workflow.run("results/segments/qvhighlights/00001.json", "results/annotations/qvhighlights/val.json")
    return workflow


@pytest.fixture
def workflow(segmented, tmp_path):
    return segmented.copy(tmp_path / "case")


def staging(workflow, family):
    return workflow.results / f"features/qvhighlights/2s/{family}/.00001.h5.staging"


def finished_in(workflow):
    """Return the videos whose rows are on disk, by family."""
    return {family: len(list(staging(workflow, family).glob("[!.]*.npz"))) for family in FAMILIES}


def extracting(workflow):
    """Return Snakemake, held in the middle of the shard. In each family at least one video is finished, and others are
    not."""
    workflow.forget()
    process = workflow.start(SEEN, HOLD="5")
    wait_for(lambda: workflow.is_held() and all(finished_in(workflow).values()))
    return process


def let_go(workflow):
    (workflow.folder / "go").touch()


def job_of(process):
    """Return the stage that a Snakemake is running."""
    below = psutil.Process(process.pid).children(recursive=True)
    return next(job for job in below if "python" in job.cmdline()[0] and "pipeline" in job.cmdline()[1:5])


def failed(process):
    """Return the output of a Snakemake that ended with an error."""
    said, _ = process.communicate()
    assert process.returncode == 1, said
    assert "Traceback" not in said
    return said


def must_finish(workflow, finished):
    """Start the same command. It must end well and encode the other videos only."""
    # Families run side by side, so one may have had all of its four videos when the other was killed.
    assert 0 < min(finished.values()) < 4
    left = {f"rows of {family}": 16 - 4 * n for family, n in finished.items() if n < 4}
    assert workflow.run(SEEN) == {"extract": 1, **left}
    assert not any(staging(workflow, family).exists() for family in FAMILIES)


def test_after_kill_9_of_everything_the_lock_is_named_and_extraction_goes_on(workflow):
    process = extracting(workflow)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finished = finished_in(workflow)
    said = failed(workflow.start(SEEN))
    assert "no other Snakemake process" in said
    assert "--unlock" in said
    assert workflow.run("--unlock") == {}
    must_finish(workflow, finished)


def test_after_kill_9_of_a_job_extraction_goes_on(workflow):
    process = extracting(workflow)
    job_of(process).kill()
    failed(process)
    must_finish(workflow, finished_in(workflow))


def test_a_job_that_a_killed_snakemake_left_behind_is_not_disturbed(workflow):
    process = extracting(workflow)
    orphan = job_of(process)
    process.kill()
    process.wait()
    workflow.run("--unlock")
    said = failed(workflow.start(SEEN))
    assert "another process is at work here" in said
    assert "fuser" in said
    assert workflow.done() == {}
    let_go(workflow)
    orphan.wait(60)
    assert (workflow.folder / SEEN).exists()
    assert workflow.run(SEEN) == {}


def test_two_starts_at_once_the_second_stops_and_the_first_is_not_disturbed(workflow):
    first = extracting(workflow)
    assert "Directory cannot be locked" in failed(workflow.start(SEEN))
    let_go(workflow)
    said, _ = first.communicate()
    assert first.returncode == 0, said
    assert workflow.done() == {"extract": 1, "rows of clip-vit-b32": 16, "rows of slowfast-r50-caffe2": 16}


@pytest.mark.parametrize("raised", ["segment", "clip-vit-b32"])
def test_plans_beside_a_running_workflow_change_nothing_and_it_ends_well(workflow, raised):
    account = workflow.results / "videos/qvhighlights/00001.json"
    content = files.read_json(account)
    asks_again = content | {"counts": content["counts"] | {"failed": 1}}  # a video nobody has
    files.write_json(account, seal.sealed(asks_again))
    running = extracting(workflow)
    before = state_of(workflow)
    for arguments in (["-n", SEEN], ["-n", "table1"], ["--summary", SEEN]):
        said, _ = workflow.start(*arguments, RAISED=raised).communicate()
        assert "videos" in said or "extract" in said, said
    assert state_of(workflow) == before
    let_go(workflow)
    said, _ = running.communicate()
    assert running.returncode == 0, said


def state_of(workflow):
    """Return every file of the results that no running job writes, with its time."""
    found = [path for path in workflow.results.rglob("*") if path.is_file() and "staging" not in str(path)]
    return {path: path.stat().st_mtime_ns for path in found}


def test_after_kill_9_of_a_training_only_the_epoch_at_hand_is_trained_again(finished, tmp_path):
    target = "results/runs/seen.1of1.json"
    workflow = finished[0].copy(tmp_path / "case")
    workflow.change_config(lambda config: config["training"]["qvhighlights"].update(epochs=8))
    workflow.forget()
    process = workflow.start(target, HOLD="3")
    wait_for(workflow.is_held)
    job_of(process).kill()
    failed(process)
    assert workflow.done()["epochs of seen"] == 3
    assert workflow.run(target) == {"train": 1, "epochs of seen": 8 - 3}


@pytest.fixture
def small_disk(workflow):
    """Yield `leave` and a file. The results are on a small disk, and `leave` fills it with this file up to so many free
    bytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    kept = workflow.results.rename(workflow.folder / "kept")
    workflow.results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(workflow.results)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    subprocess.run(["cp", "-a", f"{kept}/.", str(workflow.results)], check=True)
    filler = workflow.results / "filler"

    def leave(n_bytes):
        disk = os.statvfs(workflow.results)
        filler.write_bytes(bytes(disk.f_bavail * disk.f_frsize - n_bytes))

    try:
        yield leave, filler
    finally:
        subprocess.run(["umount", str(workflow.results)], check=True)


def test_after_a_full_disk_extraction_goes_on(workflow, small_disk):
    leave, filler = small_disk
    leave(60_000)
    said = failed(workflow.start(SEEN))
    assert "cannot be written (No space left on device)" in said
    finished = finished_in(workflow)
    filler.unlink()
    must_finish(workflow, finished)
