"""The doctor on an empty machine, on a ready one, and with results that were broken one by one."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("torch")

from small_workflow import VIDS

from pipeline import cli, files, gpus
from pipeline.doctor import case, drawn, examine, file_system, integrity, isolated, plan, present, results, table
from pipeline.doctor.findings import Finding, can_start
from pipeline.manifests import begun, is_whole

FACTS = {"torch": "2", "cuda": "13", "available": False, "gpus": []}


@pytest.fixture
def quick(monkeypatch):
    """Leave out the import of torch, and use one sample of each kind. test_doctor_machine.py tries all."""
    monkeypatch.setattr(isolated, "run", lambda *_: FACTS)
    monkeypatch.setattr(drawn, "pictures", lambda: [drawn.SAMPLES / "h264.mp4"])
    monkeypatch.setattr(drawn, "sounds", lambda: [drawn.SAMPLES / "aac.m4a"])
    monkeypatch.setattr("pipeline.doctor.gpu.foreseen", lambda limit_s: 0)
    monkeypatch.delenv(gpus.SWITCH, raising=False)


@pytest.fixture
def ready(finished, tmp_path, monkeypatch):
    """Return a finished small workflow in its folder. The originals of its videos are kept."""
    original, _ = finished
    copied = original.copy(tmp_path / "copied")
    monkeypatch.chdir(copied.folder)
    for name, value in copied.env.items():
        monkeypatch.setenv(name, value)
    return copied


def doctor(capsys, *arguments):
    """Return the exit code of the command and the text that it printed."""
    code = 0
    try:
        cli.main(["doctor", *arguments])
    except SystemExit as error:
        code = error.code
    return code, capsys.readouterr().out


def faults(**asked):
    return list(results.check(case.read(case.Invocation(target="table1", **asked))))


def bad(findings):
    return [finding for finding in findings if finding.level != "ok"]


def bytes_below(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_finished_run_needs_nothing_and_nothing_of_it_is_changed(ready, quick, capsys):
    before = bytes_below(ready.results)
    code, said = doctor(capsys, "--target", "table1", "--json")
    told = json.loads(said)
    assert (code, told["can_start"]) == (0, True)
    found = {finding["check"]: finding["what"] for finding in told["findings"]}
    assert found["plan"] == "table1 is finished: nothing has to be done"
    assert found["qvhighlights"].endswith("extract 6 of 6, train 2 of 2, predict 2 of 2, score 2 of 2; 6 videos usable")
    assert found["sources"] == "3 of 3 are here"
    assert bytes_below(ready.results) == before


def test_an_empty_machine_without_a_network_is_told_what_is_missing(ready, quick, capsys, monkeypatch):
    shutil.rmtree(ready.results)
    ready.write("sources.csv", (ready.folder / "sources.csv").read_text().replace("file:///", "http://127.0.0.1:9/"))
    monkeypatch.setattr(plan, "check", lambda case: iter(()))
    monkeypatch.setitem(examine.CHECKS, "plan", plan.check)
    code, said = doctor(capsys, "--target", "table1")
    assert code == 1
    assert "no host answers for 3 sources still to fetch, train, val, videos: 127.0.0.1:9" in " ".join(said.split())
    assert "cannot start before each problem is solved" in said
    assert not ready.results.exists()


def test_a_broken_machine_names_every_problem_with_what_to_do(ready, quick, capsys, monkeypatch):
    monkeypatch.setattr(plan, "planned_steps", lambda *_: iter(()))  # other tests plan, and a plan takes seconds
    flip(next(ready.results.glob("features/**/slowfast*/00000.h5")))
    video = videos_of(ready)[0]
    video.write_bytes(video.read_bytes()[:1000])
    Path(".snakemake/locks").mkdir(parents=True, exist_ok=True)
    Path(".snakemake/locks/0.output.lock").write_text("results/x\n")
    ready.change_config(lambda raw: raw.update(acquire={"sources": "sources.csv", "local": ["nowhere"]}))
    code, said = doctor(capsys, "--target", "table1", "--config", "results=results", "--json")
    problems = [finding for finding in json.loads(said)["findings"] if finding["level"] == "problem"]
    assert code == 1
    assert {finding["check"] for finding in problems} >= {"snakemake", "files", "sources"}
    assert len(problems) >= 3
    assert all(finding["remedy"] for finding in problems)


def test_what_the_run_does_first_is_named(ready):
    next(ready.results.glob("metrics/seen/*/val-selected.json")).unlink()
    found = {finding.check: finding for finding in plan.check(case.read(case.Invocation(target="table1")))}
    assert found["plan"].what == "2 jobs; first: score (experiment=seen split=val); then tabulate 1"
    assert found["memory"].what.endswith("the largest job (score) asks for 2.0 GB")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def videos_of(workflow):
    return sorted(workflow.results.glob("resources/videos/files/*.mp4"))


def test_whole_files_are_compared_by_digest(ready):
    assert bad(faults()) == []
    assert faults()[-1].what.endswith("files with the digest that was written down")


def test_large_files_are_compared_by_size_unless_all_digests_are_asked_for(ready, monkeypatch):
    monkeypatch.setattr(integrity, "READ_BYTES", 0)
    flip(next(ready.results.glob("features/**/slowfast*/00000.h5")))
    found = faults()
    assert bad(found) == []
    assert "by size alone: --digests reads all" in found[-1].what
    assert [finding.level for finding in bad(faults(digests=True))] == ["problem"]


@pytest.mark.parametrize("kind", ["features/**/clip-vit*/00001.h5", "runs/seen/**/selected.safetensors",
                                  "resources/train/train.jsonl", "annotations/*/val.jsonl",
                                  "metrics/seen/*/val-selected.json", "runs/**/predictions/*.jsonl"])  # fmt: skip
def test_a_flipped_bit_is_a_problem_and_the_file_is_named(ready, kind):
    paths = sorted(ready.results.glob(kind))
    flip(paths[0])
    (found,) = bad(faults())
    path = paths[0].relative_to(ready.folder)
    assert (found.check, found.level) == ("files", "problem")
    assert found.what.startswith(f"{path} has other bytes than ")
    assert found.remedy == f"delete {path}, and run again"


def test_after_its_remedy_the_run_finds_a_damaged_file_by_itself(ready):
    store = next(ready.results.glob("features/**/slowfast*/00000.h5"))
    flip(store)
    store.unlink()
    (found,) = bad(faults())
    assert (found.level, found.remedy) == ("note", integrity.AGAIN)
    manifest = ready.results / "features/qvhighlights/frames224/00000.json"
    assert not is_whole(files.read_json(manifest))


def test_a_truncated_store_is_made_again_by_the_run(ready):
    store = next(ready.results.glob("features/**/slowfast*/00000.h5"))
    store.write_bytes(store.read_bytes()[:-1])
    (found,) = bad(faults())
    assert (found.level, found.remedy) == ("note", integrity.AGAIN)
    assert f"has {store.stat().st_size:,} bytes" in found.what


@pytest.mark.parametrize("fault", ["truncated", "flipped", "gone"])
def test_a_video_that_changed_after_its_account_is_a_problem(ready, fault):
    video = videos_of(ready)[0]
    {"truncated": lambda: video.write_bytes(video.read_bytes()[:1000]), "flipped": lambda: flip(video),
     "gone": video.unlink}[fault]()  # fmt: skip
    (found,) = bad(faults())
    assert (found.level, found.remedy.startswith("go on: its features are here")) == ("note", True)
    for manifest in ready.results.glob("features/qvhighlights/*/*.json"):
        manifest.unlink()
    (found,) = bad(faults())
    assert found.level == "problem"
    assert str(video.relative_to(ready.folder)) in found.what
    assert "results/videos/qvhighlights/0000" in found.remedy


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": 1}', '{\n"files": [1]}'])
def test_a_torn_manifest_is_said_and_nothing_is_raised(ready, content):
    manifest = ready.results / "runs/seen.1of1.json"
    manifest.write_text(content)
    (found,) = bad(faults())
    assert found.what.startswith("results/runs/seen.1of1.json ")


def test_work_that_did_not_end_is_said(ready):
    begun(ready.results / "runs/seen.1of1.json").touch()
    (found,) = bad(faults())
    assert (found.level, "did not end" in found.what) == ("note", True)


def test_many_damaged_files_take_few_lines(ready):
    for path in ready.results.glob("features/**/*.h5"):
        flip(path)
    found = bad(faults())
    assert len(found) == results.SHOWN or "more are missing or damaged" in found[-1].what
    assert {finding.level for finding in found} == {"problem"}


def test_videos_that_came_one_by_one_are_here_while_no_account_misses_one(ready):
    def names():
        return [source.name for source in present.sources_at_hand(case.read(case.Invocation(target="table1"))).here]

    assert names() == ["train", "val", "videos"]
    manifest = ready.results / "videos/qvhighlights/00001.json"
    told = files.read_json(manifest)
    files.write_json(manifest, told | {"counts": told["counts"] | {"missing": 1}})
    assert names() == ["train", "val"]
    manifest.unlink()
    assert names() == ["train", "val"]


@pytest.mark.parametrize(
    ("text", "said", "advice"),
    [
        ("x", "has the sha256 digest", "correct `digest` and `bytes` of train in sources.csv"),
        (None, "does not exist", "correct `url` in sources.csv"),
    ],
)
def test_an_original_that_is_not_what_the_table_says_is_a_problem(ready, text, said, advice):
    shutil.rmtree(ready.results / "resources/train")
    ready.annotate([VIDS[0]])
    path = ready.folder / "train.jsonl"
    path.unlink() if text is None else path.write_text(text)
    (found,) = bad(present.check(case.read(case.Invocation(target="table1"))))
    assert (found.check, found.level) == ("sources", "problem")
    assert said in found.what
    assert advice in found.remedy


def test_another_pin_than_the_manifests_is_a_problem(ready):
    digest = files.sha256(ready.results / "resources/train/train.jsonl")
    ready.write("sources.csv", (ready.folder / "sources.csv").read_text().replace(f"sha256:{digest}", ""))
    files.write_json(ready.results / "resources/train/pin.json", {"sha256": "0" * 64, "bytes": 1})
    (found,) = bad(present.check(case.read(case.Invocation(target="table1"))))
    assert "its pin says another digest" in found.what
    assert found.remedy == "remove results/resources/train to fetch the file again"


def test_a_lock_that_a_killed_snakemake_left_is_told_from_one_at_work(ready, monkeypatch):
    Path(".snakemake/locks").mkdir(parents=True, exist_ok=True)
    Path(".snakemake/locks/0.output.lock").write_text("results/x\n")
    (left,) = plan.at_work()
    assert left.remedy.startswith("`snakemake --unlock`")
    another = SimpleNamespace(pid=77, cmdline=lambda: ["python", "snakemake", "table1"], cwd=os.getcwd)
    monkeypatch.setattr("psutil.process_iter", lambda: [another])
    (at_work,) = plan.at_work()
    assert ("process 77" in at_work.what, at_work.remedy) == (True, "wait until it ends")


def test_a_clock_that_was_set_back_is_found_by_our_own_files(ready):
    def clock():
        (found,) = [finding for finding in file_system.check(asked) if finding.check == file_system.CLOCK]
        return found

    manifest, asked = ready.results / "runs/seen.1of1.json", case.read(case.Invocation())
    assert clock().level == "ok"
    for ahead_s, level in ((100, "note"), (3 * 86_400, "problem")):
        os.utime(manifest, (time.time() + ahead_s,) * 2)
        found = clock()
        assert (found.level, "seen.1of1.json" in found.what) == (level, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.update(modle={}), "`modle` is an unknown key"),
        (lambda raw: raw["experiments"]["seen"].update(row="TR-DETR X"), "TR-DETR X"),
        (lambda raw: raw["datasets"]["qvhighlights"].update(videos=["vidoes"]), "no source 'vidoes'"),
    ],
)
def test_a_config_that_cannot_work_is_a_problem_and_the_rest_is_examined(tmp_path, monkeypatch, change, said):
    from small_workflow import CONFIG

    raw = yaml.safe_load(CONFIG)
    raw["acquire"] = {}
    raw["datasets"]["qvhighlights"] |= {"annotations": {"train": "qvhighlights-train", "val": "qvhighlights-val"},
                                        "videos": ["qvhighlights-videos"]}  # fmt: skip
    monkeypatch.chdir(tmp_path)
    change(raw)
    Path("config.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.setattr(examine, "CHECKS", {"config": examine.config, "files": results.check})
    found = examine.examine(case.Invocation())
    assert [(finding.check, finding.level) for finding in found] == [("config", "problem"), ("files", "ok")]
    assert said in found[0].what
    assert found[0].remedy


def test_a_target_that_does_not_exist_is_refused(ready):
    found = case.read(case.Invocation(target="table5")).refused
    assert "is no target" in str(found)
    assert case.read(case.Invocation(target="experiment_heard")).needs.cfg.experiments.keys() == {"heard"}


def test_a_check_that_raises_or_hangs_is_a_line(tmp_path, monkeypatch):
    def breaks(_):
        yield Finding("a", "ok", "first")
        raise RuntimeError("something")

    def hangs(_):
        time.sleep(30)
        yield Finding("b", "ok", "late")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(examine, "CHECKS", {"a": breaks, "b": hangs})
    monkeypatch.setattr(examine, "LIMIT_S", 3.0)
    found = examine.examine(case.Invocation())
    assert [(finding.check, finding.level) for finding in found] == [("a", "ok"), ("a", "problem"), ("b", "problem")]
    assert "RuntimeError: something" in found[1].what
    assert "did not end within 3 s" in found[2].what


def test_the_table_has_a_line_for_each_finding_and_its_remedy_beneath():
    found = [Finding("a", "ok", "fine"), Finding("bcd", "problem", "word " * 40, "do this")]
    lines = table.text(found, case.Invocation()).splitlines()
    assert lines[2] == "ok       a    fine"
    assert max(map(len, lines)) <= table.WIDTH
    assert lines[5].strip() == "→ do this" or lines[4].strip() == "→ do this"
    assert "1 ok, 0 notes, 1 problem. The run cannot start" in lines[-1]
    assert not can_start(found)
    assert can_start(found[:1])


def test_the_vids_of_the_small_workflow_are_those_that_are_counted(ready):
    assert len(videos_of(ready)) == len(VIDS)
