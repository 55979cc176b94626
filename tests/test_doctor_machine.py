"""Tests of the doctor's findings about installations, decoders, GPUs, disks and locks, each of them whole and
broken."""

from __future__ import annotations

import errno
import fcntl
import re
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_machine import Machine

from pipeline import gpus, methods, programs
from pipeline.doctor import case, decoders, drawn, file_system, gpu, installation, isolated, memory, space
from pipeline.errors import PipelineError

ROOT = Path(__file__).resolve().parents[1]
PAPER = case.Invocation(configfile=ROOT / "config.yaml")
FULL = installation.pins_of(ROOT / "requirements/full.lock")
LIGHT = installation.pins_of(ROOT / "requirements/light.lock")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def paper():
    return case.read(PAPER)


@pytest.fixture(scope="module")
def evidence():
    return case.read(replace(PAPER, target="evidence"))


def levels(findings):
    return [(finding.check, finding.level) for finding in findings]


def one_of(findings, check):
    """Return the one finding of that name."""
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def test_all_packages_of_the_lock_are_all_there_is_to_say(paper):
    (found,) = installation.packages(paper, FULL)
    assert (found.level, found.what) == ("ok", f"all {len(FULL)} of requirements/full.lock, at its versions")


def test_another_version_is_named_and_the_run_can_start(paper):
    (found,) = installation.packages(paper, FULL | {"h5py": "3.15.0"})
    assert found.level == "note"
    assert found.what.startswith(f"h5py 3.15.0 instead of {FULL['h5py']}")
    assert "make install" in found.remedy


def test_who_built_a_package_is_no_other_version(paper):
    assert levels(installation.packages(paper, FULL | {"torch": FULL["torch"] + "+cu130"})) == [("packages", "ok")]


def test_a_missing_package_is_a_problem_where_a_stage_needs_it(paper, evidence):
    without = {name: version for name, version in FULL.items() if name != "scipy"}
    (found,) = installation.packages(paper, without)
    assert found.level == "problem"
    assert found.what.startswith("scipy not installed, and the stages of the run need them (extra: extract, train)")
    assert "make install" in found.remedy
    assert levels(installation.packages(evidence, without)) == [("packages", "note")]


def test_the_light_installation_scores_released_predictions_and_trains_nothing(paper, evidence):
    assert levels(installation.packages(evidence, LIGHT)) == [("packages", "ok")]
    assert evidence.needs.extras == ()
    (found,) = [one for one in installation.packages(paper, LIGHT) if one.level == "problem"]
    assert "not installed" in found.what
    said = installation.stages_that_run(LIGHT).what
    assert "runs fetch, unpack, annotate, import, score, tabulate, leaderboard; not" in said
    assert "train (extra train)" in said


def test_the_extra_of_a_stage_is_the_environment_of_its_rule():
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    found = {}
    for rule, body in re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", text, re.MULTILINE | re.DOTALL):
        if env := re.search(r"envs/(\w+)\.yaml", body):
            found[rule.replace("import_archive", "import")] = env[1]
    found["annotate"] = "light"  # only a dataset of one's own needs more, and `Needs.extras` says so
    assert {rule: env for rule, env in found.items() if env != "light"} == installation.EXTRA_OF


def test_another_python_is_a_problem(monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.10.1")
    (found,) = installation.python()
    assert (found.level, "PYTHON=python3.12" in found.remedy) == ("problem", True)


def test_ffmpeg_is_needed_for_youtube_alone(paper, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installation.ffmpeg(paper).level == "ok"
    entry = "datasets={qvhighlights: {videos: [qvhighlights-videos, youtube]}}"
    found = installation.ffmpeg(case.read(replace(PAPER, entries=(entry,))))
    assert (found.level, "install ffmpeg" in found.remedy) == ("problem", True)


def test_every_decoder_gives_what_was_drawn(paper):
    pytest.importorskip("av")
    (found,) = decoders.check(paper)
    assert found.level == "ok", found.what
    assert {"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "aac", "mp3", "opus", "vorbis"} <= set(
        found.what.partition(":")[0].split(", ")
    )


def test_the_samples_are_small_and_near_to_what_was_drawn():
    pytest.importorskip("av")
    paths = [*drawn.pictures(), *drawn.sounds()]
    assert len(paths) == len(list(drawn.SAMPLES.iterdir())) == 12
    assert sum(path.stat().st_size for path in paths) < 300_000
    assert [decoders.compare(path).text for path in paths if not decoders.compare(path).is_near] == []


def test_a_decoder_that_fails_or_gives_other_pictures_is_named(paper, tmp_path, monkeypatch):
    pytest.importorskip("av")
    for path in [drawn.SAMPLES / "h264.mp4", drawn.SAMPLES / "aac.m4a"]:
        shutil.copy(path, tmp_path)
    (tmp_path / "vp9.webm").write_bytes(b"no video at all")
    monkeypatch.setattr(drawn, "SAMPLES", tmp_path)
    (found,) = decoders.check(paper)
    assert (found.level, found.remedy) == ("problem", decoders.TO_REPAIR)
    assert found.what.startswith("vp9 (cannot be read as video")
    assert "h264" not in found.what


@pytest.mark.parametrize("wrong", ["grey", "late", "silent", "lower"])
def test_a_decoder_that_gives_something_else_is_told_from_a_sound_one(monkeypatch, wrong):
    pytest.importorskip("av")
    picture, loudness = drawn.picture, drawn.LOUDNESS
    if wrong == "grey":  # what a decoder without its reference pictures often gives
        monkeypatch.setattr(drawn, "picture", lambda k: picture(k) // 2 + 64)
    if wrong == "late":
        monkeypatch.setattr(drawn, "picture", lambda k: picture((k + 1) % drawn.N_PICTURES))
    if wrong == "silent":
        monkeypatch.setattr(drawn, "LOUDNESS", 100 * loudness)
    if wrong == "lower":
        monkeypatch.setattr(drawn, "TONE_HZ", 220.0)
    sample = drawn.SAMPLES / ("h264.mp4" if wrong in ("grey", "late") else "mp3.mp3")
    assert not decoders.compare(sample).is_near


def test_a_decoder_that_hangs_is_a_line(paper, monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr(decoders, "SECONDS_EACH", 0.01)
    monkeypatch.setattr(drawn, "pictures", lambda: [drawn.SAMPLES / "h264.mp4"])
    monkeypatch.setattr(drawn, "sounds", list)
    (found,) = decoders.check(paper)
    assert "h264 (decoding it took longer than 0.01 s)" in found.what


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch, path="/usr/bin:/bin")


ONE_GPU = "echo 'GPU 0: H (UUID: GPU-1)'"
FACTS = {"torch": "2.12", "cuda": "13.0", "available": True,
         "gpus": [{"name": "H", "uuid": "1", "free": 10e9, "bytes": 20e9}]}  # fmt: skip


def told_by(monkeypatch, facts=FACTS, wrong=None):
    answers = {"facts": facts, "problems_by_method": wrong or dict.fromkeys(methods.METHODS, "")}
    monkeypatch.setattr(isolated, "run", lambda function, *_: answers[function.rpartition(":")[2]])


def test_without_a_gpu_the_cost_of_the_cpu_is_named(machine, paper, monkeypatch):
    told_by(monkeypatch, FACTS | {"available": False, "gpus": []})
    found = list(gpu.check(paper))
    assert levels(found) == [("gpu", "note"), ("torch", "ok")]
    assert re.search(r"about [\d,]{4,} core hours in place of \d+ hours of a GPU", found[0].what)


def test_a_run_without_a_network_of_its_own_asks_for_no_gpu(machine, evidence):
    assert levels(gpu.check(evidence)) == [("gpu", "ok")]


def test_a_gpu_that_was_promised_and_is_not_there_is_a_problem(machine, paper, monkeypatch):
    told_by(monkeypatch)
    monkeypatch.setenv(gpus.SWITCH, "required")
    found = next(iter(gpu.check(paper)))
    assert (found.level, "TR_DETR_GPU=optional" in found.remedy) == ("problem", True)


def test_a_gpu_is_named_with_its_driver_and_each_method_takes_a_step(machine, paper, monkeypatch):
    machine.nvidia_smi("case $1 in -L)", ONE_GPU, ";; *) echo 595.1;; esac")
    told_by(monkeypatch)
    found = list(gpu.check(paper))
    assert levels(found) == [("gpu", "ok"), ("training step", "ok")]
    assert found[0].what == "1 GPU: H (1, 10 of 20 GB free); torch 2.12, built for CUDA 13.0, driver 595.1"


def test_a_method_whose_step_goes_wrong_on_the_gpu_is_named(machine, paper, monkeypatch):
    machine.nvidia_smi(ONE_GPU)
    told_by(monkeypatch, wrong={"umt": "its loss is not finite", "eatr": ""})
    found = list(gpu.check(paper))[-1]
    assert (found.level, found.what) == ("problem", "umt (its loss is not finite)")


def test_a_gpu_that_torch_cannot_use_is_a_problem(machine, paper, monkeypatch):
    machine.nvidia_smi(ONE_GPU)
    told_by(monkeypatch, FACTS | {"available": False, "gpus": []})
    (found,) = gpu.check(paper)
    assert (found.level, "update the NVIDIA driver" in found.remedy) == ("problem", True)


def test_a_driver_that_hangs_is_an_error_with_what_to_do(machine, paper, monkeypatch):
    machine.nvidia_smi("sleep 60")
    monkeypatch.setattr(gpu, "NVIDIA_SMI_S", 0.2)
    with pytest.raises(PipelineError, match=r"nvidia-smi: does not answer for 0\.2 s → check the NVIDIA driver"):
        list(gpu.check(paper))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import time; time.sleep(60)", "does not end within"),
        ("import os; os.abort()", "ended with code -6"),
        ("raise ImportError('libcudart.so.13: no such file')", "libcudart.so.13: no such file"),
    ],
)
def test_a_torch_that_hangs_crashes_or_cannot_be_imported_is_an_error(machine, tmp_path, monkeypatch, body, said):
    (tmp_path / "torch.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    limit_s = 3 if "sleep" in body else 120
    with pytest.raises(isolated.IsolatedError, match=re.escape(said)) as error:
        isolated.run("pipeline.doctor.steps:facts", None, limit_s, "the import of torch", gpu.TO_REPAIR)
    assert error.value.remedy == gpu.TO_REPAIR


@pytest.mark.slow
def test_a_step_of_each_method_is_taken(torch_one_thread):
    from pipeline.doctor import steps

    assert steps.problems_by_method("cpu") == dict.fromkeys(methods.METHODS, "")
    assert steps.facts()["torch"] == torch_one_thread.__version__
    assert steps.loss_of("moment_detr", "cpu") == steps.loss_of("moment_detr", "cpu")


def test_a_method_that_breaks_is_named_and_the_others_are_tried(torch_one_thread, monkeypatch):
    from pipeline.doctor import steps

    monkeypatch.setattr(methods, "METHODS", dict(list(methods.METHODS.items())[:2]))
    first, second = methods.METHODS
    real = methods.build

    def breaks(settings, inputs):
        if settings.name == first:
            raise RuntimeError("no kernel image is available")
        return real(settings, inputs)

    monkeypatch.setattr(methods, "build", breaks)
    assert steps.problems_by_method("cpu") == {first: "RuntimeError: no kernel image is available", second: ""}


def test_a_disk_that_is_too_small_is_a_problem(paper, evidence, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**11))
    found = one_of(space.check(paper), space.DISK)
    assert (found.level, "set `results` in config.yaml" in found.remedy) == ("problem", True)
    assert re.search(
        r"100\.0 GB free at .*; the run writes about 49\d\.\d GB more.*, and 1 GB should be free beside", found.what
    )
    assert one_of(space.check(evidence), space.DISK).level == "ok"


def test_what_is_there_already_needs_no_room_again(paper, monkeypatch):
    before = one_of(space.check(paper), space.DISK).what
    monkeypatch.setattr(space, "bytes_below", lambda _: 400 * 10**9)
    after = one_of(space.check(paper), space.DISK).what
    needed = [float(re.search(r"about ([\d.]+) GB", text)[1]) for text in (before, after)]
    assert needed[0] - needed[1] == pytest.approx(400, abs=1)


def test_no_room_for_temporary_files_is_a_problem(evidence, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 0, 10**6))
    found = one_of(space.check(evidence), space.TEMPORARY)
    assert (found.level, "TMPDIR" in found.remedy) == ("problem", True)


@pytest.mark.parametrize(("gigabytes", "level"), [(8, "note"), (64, "ok")])
def test_memory_is_compared_with_the_largest_job(monkeypatch, gigabytes, level):
    monkeypatch.setattr(memory, "memory_bytes", lambda: gigabytes * 10**9)
    assert memory.compared(16_000, "train").level == level


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    (tmp_path / "max").write_text("4000000000\n")
    monkeypatch.setattr(memory, "LIMITS", (tmp_path / "max", tmp_path / "none"))
    assert memory.memory_bytes() == 4_000_000_000


def at(folder, **changes):
    return case.read(replace(PAPER, entries=(f"results={folder}",), **changes))


def test_a_file_system_that_works_is_left_as_it_was(tmp_path):
    found = list(file_system.check(at(tmp_path / "results")))
    assert levels(found) == [(name, "ok") for name in ("results folder", "locks", "file names", "clock")]
    assert list(tmp_path.iterdir()) == []


def test_results_that_cannot_be_written_are_a_problem(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (found,) = file_system.check(at(tmp_path / "file/results"))
    assert (found.level, "is no folder" in found.what) == ("problem", True)

    def refuses(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuses)
    (found,) = file_system.check(at(tmp_path / "results"))
    assert (found.level, "cannot be written (Read-only file system)" in found.what) == ("problem", True)
    assert "allow this user to write there" in found.remedy


def test_locks_that_guard_nothing_are_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "answer", lambda *_: SimpleNamespace(stdout="taken\n"))
    found = one_of(file_system.check(at(tmp_path)), file_system.LOCKS)
    assert (found.level, "mount option `flock`" in found.remedy) == ("problem", True)


def test_a_file_system_without_locks_is_a_problem(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuses)
    found = one_of(file_system.check(at(tmp_path)), file_system.LOCKS)
    assert (found.level, "cannot be locked (No locks available)" in found.what) == ("problem", True)


def test_a_shared_file_system_is_told_what_was_not_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(file_system, "type_of", lambda _: "nfs4")
    found = one_of(file_system.check(at(tmp_path)), file_system.LOCKS)
    assert (found.level, "between machines was not tried" in found.what) == ("note", True)


def test_a_clock_of_the_file_system_that_is_ahead_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    found = next(finding for finding in file_system.check(at(tmp_path)) if finding.check == file_system.CLOCK)
    assert (found.level, "ahead of this machine's clock" in found.what) == ("note", True)


def test_names_that_differ_by_case_alone_are_tried(tmp_path, monkeypatch):
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name == "case" or real(path))
    assert one_of(file_system.check(at(tmp_path)), file_system.NAMES).level == "note"
