"""Training runs: they learn, repeat to the bit, survive kill -9, and say what stopped them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_benchmark import DATASET, MODEL, PEERS, Benchmark, experiment, log_of, train_with_states

from pipeline import config, files, stage_requests
from pipeline.errors import PipelineError
from pipeline.methods.contract import Method
from pipeline.models import matching
from pipeline.stage_settings import Train
from pipeline.stages import StageJob
from pipeline.training import checkpoint, curves, loop, pool, shared

pytestmark = pytest.mark.usefixtures("torch_one_thread")
WEIGHTS = ("selected.safetensors", "last.safetensors", "log.csv", "card.json")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory) -> Benchmark:
    return Benchmark(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def trained(benchmark) -> Path:
    """Return the folder of one finished run of four epochs."""
    return benchmark.train(experiment()) / "all-s2017"


def bytes_of(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in WEIGHTS}


def curves_of(run: Path) -> list[tuple[str, int, float]]:
    """Return the curves that a reader of a folder's event files sees."""
    return scalars(EventAccumulator(str(run)).Reload())


def scalars(reader: EventAccumulator) -> list[tuple[str, int, float]]:
    """Return tag, step and value of every scalar."""
    return [(tag, event.step, event.value) for tag in reader.Tags()["scalars"] for event in reader.Scalars(tag)]


def test_a_toy_problem_is_learned_on_videos_that_were_held_out(benchmark):
    longer = {"epochs": 30, "evaluate_every": 30, "learning_rate": 3e-3}
    run = benchmark.train(experiment(training=longer), "learned") / "all-s2017"
    untrained = benchmark.train(experiment(training={"epochs": 1}), "one-epoch") / "all-s2017"
    highlights = "HL-min-VeryGood-Hit1"
    assert float(log_of(run)[-1][highlights]) > 80 > 50 > float(log_of(untrained)[-1][highlights])
    assert float(log_of(run)[-1]["total"]) < 0.7 * float(log_of(run)[0]["total"])


def test_the_same_seed_gives_the_same_bytes(benchmark, trained, tmp_path):
    again = benchmark.train(experiment(), results=tmp_path) / "all-s2017"
    assert bytes_of(again) == bytes_of(trained)


def test_a_run_says_its_commit_and_equal_runs_of_two_commits_have_the_same_manifest(
    benchmark, trained, tmp_path, monkeypatch
):
    manifests = []
    for commit in ("0123456789ab", "ba9876543210+", ""):
        monkeypatch.setattr(checkpoint, "commit", lambda commit=commit: commit)
        again = benchmark.train(experiment(training={"epochs": 1}), results=tmp_path) / "all-s2017"
        path = again / "commit.txt"
        assert (path.read_text() if path.exists() else "") == (f"{commit}\n" if commit else "")
        manifests.append((tmp_path / "runs/tiny.1of1.json").read_bytes())
        assert b"commit.txt" not in manifests[-1]
        (again / "card.json").unlink()  # so that it is trained again
    assert len(set(manifests)) == 1


def test_another_seed_gives_other_weights(benchmark, trained):
    other = benchmark.train(experiment(seeds=[1]), "other-seed") / "all-s1"
    assert bytes_of(other)["last.safetensors"] != bytes_of(trained)["last.safetensors"]


def test_runs_side_by_side_give_the_bytes_of_runs_one_after_the_other(benchmark, tmp_path, monkeypatch):
    two_seeds = experiment(seeds=[0, 1])
    alone = benchmark.train(two_seeds, "seeds")
    monkeypatch.setattr(pool, "processes_and_threads", lambda n_runs, device: (2, 1))
    monkeypatch.setattr(shared, "SHARED_FROM", 1)
    together = benchmark.train(two_seeds, "seeds", results=tmp_path)
    for run in ("all-s0", "all-s1"):
        assert bytes_of(together / run) == bytes_of(alone / run)


@pytest.mark.parametrize(
    ("model", "patiences_s"),
    [
        (MODEL, (0.0, 0.01, 0.03)),  # from just after a state was written to somewhere in an epoch
        *((model, (0.01,)) for model in PEERS.values()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_run_killed_at_several_moments_ends_with_the_same_bytes(benchmark, tmp_path, model, patiences_s):
    train_with_states(benchmark, tmp_path / "whole", model)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(pool.SHARED_IMPORTS)
    run = tmp_path / "killed/runs/tiny/all-s2017"
    seen = []
    for patience_s in patiences_s:
        epochs_before = len(log_of(run)) if (run / "log.csv").exists() else 0
        process = context.Process(target=train_with_states, args=(benchmark, tmp_path / "killed", model))
        process.start()
        deadline = time.monotonic() + 120
        while not (run / "log.csv").exists() or len(log_of(run)) <= epochs_before:
            assert time.monotonic() < deadline and process.is_alive()
            time.sleep(0.002)
        time.sleep(patience_s)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (run / "card.json").exists()
        seen.append(len(log_of(run)))
    assert seen == sorted(seen)
    train_with_states(benchmark, tmp_path / "killed", model)
    assert bytes_of(run) == bytes_of(tmp_path / "whole/runs/tiny/all-s2017")
    assert curves_of(run) == curves_of(tmp_path / "whole/runs/tiny/all-s2017")
    assert not (run / "state.pt").exists()


def test_curves_hold_every_value_of_the_log_once(trained):
    wanted = {
        (name, int(row["epoch"])): float(value)
        for row in log_of(trained)
        for name, value in row.items()
        if name != "epoch" and value
    }
    found = curves_of(trained)
    assert len(found) == len(wanted)
    assert {(tag.split("/")[-1], step): value for tag, step, value in found} == pytest.approx(wanted, rel=1e-6)
    assert {tag.split("/")[0] for tag, _, _ in found} == {"loss", "val", "learning_rate"}


def test_curves_of_a_run_that_goes_on_hold_no_step_twice_and_miss_none(tmp_path, monkeypatch):
    log = [{"epoch": 1, "total": 3.0}, {"epoch": 2, "total": 2.0}]
    reader = EventAccumulator(str(tmp_path))
    monkeypatch.setattr(time, "time", lambda: 2e9)
    with curves.drawn(tmp_path, []) as draw:
        for row in (*log, {"epoch": 3, "total": 9.0}, {"epoch": 4, "total": 9.0}):  # of 3 and 4 no state was kept
            draw(row)
    reader.Reload()
    monkeypatch.setattr(time, "time", lambda: 2e9 + 1)  # readers go by the second in a file's name
    with curves.drawn(tmp_path, log) as draw:
        draw({"epoch": 3, "total": 1.0})
    wanted = [("loss/total", 1, 3.0), ("loss/total", 2, 2.0), ("loss/total", 3, 1.0)]
    assert curves_of(tmp_path) == scalars(reader.Reload()) == wanted


def flip_a_bit_of(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "last.safetensors").unlink(),
        lambda run: flip_a_bit_of(run / "last.safetensors"),
        lambda run: (run / "card.json").write_text(
            (run / "card.json").read_text().replace('"n_train": ', '"n_train": 1')
        ),
    ],
    ids=["a file is gone", "weights are damaged", "the card is damaged"],
)
def test_a_job_started_again_does_only_the_runs_that_are_missing(benchmark, tmp_path, damage):
    runs = benchmark.train(experiment(seeds=[0, 1]), results=tmp_path)
    before = {run: (runs / run / "card.json").stat().st_mtime_ns for run in ("all-s0", "all-s1")}
    damage(runs / "all-s1")
    (tmp_path / "runs/tiny.1of1.json").unlink()  # as if the job had been killed before its end
    benchmark.train(experiment(seeds=[0, 1]), results=tmp_path)
    after = {run: (runs / run / "card.json").stat().st_mtime_ns for run in before}
    assert after["all-s0"] == before["all-s0"]
    assert after["all-s1"] > before["all-s1"]


def test_runs_of_other_settings_are_trained_again(benchmark, tmp_path):
    first = bytes_of(benchmark.train(experiment(), results=tmp_path) / "all-s2017")
    faster = experiment(training={"learning_rate": 1e-2})
    second = bytes_of(benchmark.train(faster, results=tmp_path) / "all-s2017")
    assert first["last.safetensors"] != second["last.safetensors"]


def test_a_job_whose_inputs_did_not_change_does_nothing(benchmark, trained):
    before = (trained / "card.json").stat().st_mtime_ns
    benchmark.train(experiment())
    assert (trained / "card.json").stat().st_mtime_ns == before


def test_products_in_bfloat16_learn_other_weights_and_repeat_to_the_bit(benchmark, trained, tmp_path):
    half = experiment(training={"precision": "bfloat16"})
    first, second = (
        bytes_of(benchmark.train(half, "half", results=tmp_path / name) / "all-s2017") for name in ("a", "b")
    )
    assert first == second
    assert first["last.safetensors"] != bytes_of(trained)["last.safetensors"]


@pytest.mark.parametrize(
    ("has", "precision", "warns"), [(False, "bfloat16", True), (True, "bfloat16", False), (False, "float32", False)]
)
def test_bfloat16_on_a_cpu_without_it_is_called_slow(benchmark, tmp_path, monkeypatch, capsys, has, precision, warns):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": has})
    benchmark.train(experiment(training={"precision": precision, "epochs": 1}), "short", results=tmp_path)
    assert ("no instructions for bfloat16" in capsys.readouterr().err) == warns


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_waits_for_a_gpu_only_to_match(benchmark, tmp_path, monkeypatch):
    """Set-up and evaluation may wait for the GPU. So may the tests in loop.py whether losses are finite."""

    def watched(*args, epoch=loop.one_epoch):
        torch.cuda.set_sync_debug_mode("warn")
        try:
            return epoch(*args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop, "one_epoch", watched)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        benchmark.train(experiment(training={"epochs": 2}), "gpu", results=tmp_path)
    waits = {Path(w.filename) for w in caught if "called a synchronizing" in str(w.message)}
    assert waits - {Path(loop.__file__)} == {Path(matching.__file__)}


def test_one_run_that_fails_leaves_the_others_complete(benchmark, tmp_path):
    point = {"model": MODEL.model_dump(), "training": {"epochs": 2, "batch_size": 8}}
    wild = point | {"training": point["training"] | {"learning_rate": 1e30, "gradient_clip": 1e30}}
    with pytest.raises(PipelineError, match=r"1 of 2 runs failed.*wild-all-s2017"):
        benchmark.train(experiment(sweep={"wild": wild, "tame": point}), "mixed", results=tmp_path)
    assert (tmp_path / "runs/mixed/tame-all-s2017/card.json").exists()


def test_an_epoch_is_selected_only_when_it_is_strictly_better():
    progress, model = checkpoint.Progress(), Weightless()
    for progress.epoch, value in enumerate((3.0, 5.0, 5.0, 4.0), start=1):
        progress.judge(value, model)
    assert (progress.best, progress.best_epoch, progress.without_gain) == (5.0, 2, 2)


def test_training_stops_after_so_many_evaluations_without_gain(benchmark, tmp_path):
    frozen = {"epochs": 50, "evaluate_every": 1, "learning_rate": 1e-12, "stop_after_evaluations_without_gain": 2}
    run = benchmark.train(experiment(training=frozen), "frozen", results=tmp_path) / "all-s2017"
    assert len(log_of(run)) == 3
    assert files.read_json(run / "card.json")["selected"]["epoch"] == 1


def test_no_epochs_leave_the_untrained_network(benchmark, tmp_path):
    run = benchmark.train(experiment(training={"epochs": 0}), "untrained", results=tmp_path) / "all-s2017"
    assert (run / "selected.safetensors").read_bytes() == (run / "last.safetensors").read_bytes()
    assert files.read_json(run / "card.json")["selected"] == {"epoch": 0, "value": None}


def test_a_card_says_what_the_weights_stand_on(trained):
    card = files.read_json(trained / "card.json")
    assert card["features"]["clip-vit-b32"]["weights"] == "random:0"
    assert (card["experiment"], card["seed"], card["n_train"], card["n_watched"]) == ("tiny", 2017, 24, 8)
    assert card["metric"] == "MR-full-mAP" and card["selected_on"] == "val"


@pytest.mark.parametrize("damage", [lambda whole: whole[:-9], lambda whole: whole[:999] + b"?" + whole[1000:]])
def test_a_state_that_does_not_fit_its_digest_is_refused(tmp_path, damage):
    network = torch.nn.Linear(100, 10)
    checkpoint.save_state(tmp_path, "digest", {"model": network}, checkpoint.Progress(epoch=3), "cpu")
    assert checkpoint.load_state(tmp_path, "digest", {"model": network}, "cpu").epoch == 3
    (tmp_path / "state.pt").write_bytes(damage((tmp_path / "state.pt").read_bytes()))
    with pytest.raises(PipelineError, match=r"state.pt: .* was damaged after it was written → delete it and run again"):
        checkpoint.load_state(tmp_path, "digest", {"model": network}, "cpu")


def test_a_damaged_state_is_named_with_its_remedy(benchmark, tmp_path):
    state = tmp_path / "runs/tiny/all-s2017/state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"no state")
    with pytest.raises(PipelineError, match=r"state.pt: is no training state.*delete it"):
        benchmark.train(experiment(), results=tmp_path)


@pytest.mark.parametrize(("left_by", "begun_anew"), [("cpu", False), (None, False), ("cuda", True)])
def test_a_state_left_by_another_kind_of_device_is_passed_over_and_that_is_said(tmp_path, capsys, left_by, begun_anew):
    checkpoint.save_state(tmp_path, "digest", {}, checkpoint.Progress(epoch=3), left_by)
    if left_by is None:  # a state from before devices were recorded, when only CPUs had trained
        torch.save({"made_from": "digest", "progress": {"epoch": 3}}, tmp_path / "state.pt")
    assert checkpoint.load_state(tmp_path, "digest", {}, "cpu").epoch == (0 if begun_anew else 3)
    said = capsys.readouterr().err
    assert said.endswith("written on a cuda, this is a cpu: the run starts anew\n") if begun_anew else not said


def test_a_learning_rate_that_lies_in_a_tensor_is_logged_as_configured():
    rate = torch.tensor(1e-3)
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=rate, fused=True)
    schedule = Method(None, None).schedule(optimizer, config.Training(drop_learning_rate_after=1))
    assert (float(rate), loop.learning_rate(schedule)) == (0.0010000000474974513, 1e-3)
    schedule.optimizer.step()
    schedule.step()
    assert loop.learning_rate(schedule) == 1e-4


def test_a_part_is_one_of_as_many_as_the_experiment_has_jobs():
    settings = Train(experiment=experiment(seeds=[0, 1, 2, 3], jobs=3), dataset=DATASET)

    def runs_of(part):
        return stage_requests.runs_of_part(
            StageJob(Path("r"), Path("m"), settings, {"experiment": "x", "part": part}, {})
        )

    assert runs_of("1of3") == ["all-s0", "all-s3"]
    assert [runs_of(part) for part in ("2of3", "3of3")] == [["all-s1"], ["all-s2"]]
    for text in ("0of3", "4of3", "1of2", "x", "1"):
        with pytest.raises(PipelineError, match=f"`{text}` is no part .* with `jobs: 3`.*from 1of3 to 3of3"):
            runs_of(text)


def test_features_of_families_that_are_not_read_do_not_concern_a_training(benchmark, trained):
    manifest = benchmark.results / "runs/tiny.1of1.json"
    inputs = files.read_json(manifest)["inputs"]
    assert sorted(Path(path).parent.name for path in inputs) == ["clip-text", "clip-vit-b32"] + ["qvhighlights"] * 2


def test_workers_die_with_the_job_that_started_them(tmp_path):
    context = multiprocessing.get_context("forkserver")
    job = context.Process(target=start_two_sleepers, args=(tmp_path,))
    job.start()
    deadline = time.monotonic() + 120
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(workers) == 2 and not any(map(is_alive, workers))


def start_two_sleepers(folder: Path) -> None:
    pool.SHARED_IMPORTS[:] = ["torch"]
    pool.run_all(partial(sleep_after_signing, folder), ["a", "b"], processes=2, threads=1, title="t", total=2)


def sleep_after_signing(folder: Path, run: str, tell: pool.Tell) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(60)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class Weightless:
    """A network without weights."""

    def state_dict(self) -> dict:
        return {}
