"""After a failure, the last lines on a terminal are the error of each failed job, its log, and the command to go on
with."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import files, terminal
from pipeline.manifests import describe

ROOT = Path(__file__).resolve().parents[1]
ERROR = "train: runs/seen: the learning rate is 9 → write a smaller one"


def told(*records, announce=False):
    """Return a Terminal that got these records, and the text that it printed."""
    listener = terminal.Terminal(announce=announce)
    through = []
    for record in records:
        made = logging.makeLogRecord({"msg": "", "name": "test", **record})
        assert listener.filter(made)
        through.append(made.msg)
    return listener, through


def begun(jobid, rule, **wildcards):
    return {"event": "job_info", "jobid": jobid, "rule_name": rule, "wildcards": wildcards}


def failed(jobid, rule, *logs, why=None):
    return {"event": "job_error", "jobid": jobid, "rule_name": rule, "log": list(map(str, logs)), "rule_msg": why}


def finished(jobid):
    return {"event": "job_finished", "job_id": jobid}


@pytest.fixture
def log(tmp_path):
    def write(text, name="job.log"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"seen: 3 of 9 epochs\n{ERROR}\n", ERROR),
        (f"{ERROR}\n  and a second line of it\n", f"{ERROR} and a second line of it"),
        (f"a warning\nvideos: no\n{ERROR}\n", ERROR),
        (
            'Traceback (most recent call last):\n  File "x.py", line 1\nKeyError: 3\n',
            "a fault of this program: KeyError: 3",
        ),
        ("", "it ended without a message: killed, perhaps because of memory or time, or by hand"),
        (
            "seen: 3 of 9 epochs\n",
            "it ended without a message: killed, perhaps because of memory or time, or by hand; "
            "the last line of its log is: seen: 3 of 9 epochs",
        ),
    ],
)
def test_a_log_gives_its_error_in_one_line(log, text, said):
    assert terminal.error_of("trdetr_train", [str(log(text))]) == said


def test_what_a_cluster_says_stands_where_the_job_itself_says_nothing(log):
    logs = [str(log("")), str(log("slurmstepd: error: exceeded memory limit\n", "slurm.log"))]
    said = terminal.error_of("train", logs, "SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'")
    assert "OUT_OF_MEMORY" in said
    assert "exceeded memory limit" in said


def test_the_summary_names_every_failed_job_once_and_the_command_last(log):
    first, second = log(ERROR, "a.log"), log("", "b.log")
    listener, _ = told(
        begun(1, "train", experiment="seen", part="1of1"),
        begun(2, "extract", dataset="tvsum", shard="00000"),
        failed(1, "train", first),
        failed(2, "extract", second),
    )
    lines = listener.summary("snakemake table1").splitlines()
    assert lines[1:5] == ["2 jobs failed:", "  train, experiment seen, part 1of1", f"    {ERROR}", f"    log: {first}"]
    assert lines[5] == "  extract, dataset tvsum, shard 00000"
    assert lines[-1] == "Correct this, then go on with: snakemake table1"


def test_jobs_of_a_group_are_named_too(log):
    group = {"event": "group_error", "job_error_info": [failed(1, "train", log(ERROR)), failed(2, "predict")]}
    assert told(group)[0].summary("").count("\n    ") == 4


def test_a_job_that_was_tried_again_is_no_failure():
    assert told(failed(1, "train"), begun(1, "train", experiment="seen"), finished(1))[0].summary("x") == ""
    assert told(failed(1, "train"), begun(1, "train"), failed(1, "train"))[0].summary("x").count("train") == 1


def test_a_job_ends_with_its_name_and_not_a_number_alone():
    _, through = told(begun(34, "train", experiment="seen"), finished(34))
    assert through[1] == "Finished: train, experiment seen (jobid: 34)"


def test_a_long_list_is_cut():
    listener, _ = told(*(failed(i, "fetch") for i in range(30)))
    assert "… and 10 more" in listener.summary("")


@pytest.fixture
def two_bad_sources(tmp_path):
    """Return a config whose two annotation files are not where its table of sources says."""
    table = ["name,kind,file,url,digest,bytes,licence,note"]
    table += [f"{split},file,{split}.jsonl,{(tmp_path / split).as_uri()},sha256:{'0' * 64},,," for split in ("a", "b")]
    (tmp_path / "sources.csv").write_text("\n".join(table) + "\n")
    config = {
        "results": str(tmp_path / "results"),
        "acquire": {"sources": str(tmp_path / "sources.csv")},
        "encoding": {"weights": {"clip-vit-b32": "random:0"}},
        "datasets": {"charades_sta": {"clip": "1s", "shards": 1, "annotations": {"train": "a", "val": "b"}}},
        "training": {"charades_sta": {}},
        "experiments": {"one": {"dataset": "charades_sta", "features": {"video": ["clip-vit-b32"]}}},
    }
    files.write_json(tmp_path / "config.json", config)
    return tmp_path / "config.json"


PROFILES = {
    "default": [],
    "demo": ["--workflow-profile", "workflow/profiles/demo"],
    "evidence": ["--quiet", "rules", "host", "reason"],
    "slurm": ["--workflow-profile", "workflow/profiles/slurm", "--executor", "local", "--retries", "1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_the_failed_jobs_error_is_the_last_thing_in_every_profile(two_bad_sources, tmp_path, profile):
    command = ["annotations", "--cores", "2", *PROFILES[profile], "--configfile", str(two_bad_sources), "--keep-going"]
    for name in ("workflow", "pipeline"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "jobs failed" in done.stderr, done.stderr
    last = done.stderr.splitlines()[-8:]
    assert last[0] == "2 jobs failed:"
    for at, name in ((1, "a"), (4, "b")) if "name a" in last[1] else ((1, "b"), (4, "a")):
        assert last[at].startswith(f"  fetch, name {name}")
        assert last[at + 1].startswith(f"    fetch: {name}: file://")
        assert "no such file" in last[at + 1]
        assert last[at + 2] == f"    log: {tmp_path}/results/logs/fetch/{name}.log"
    assert last[-1] == f"Correct this, then go on with: snakemake {' '.join(command)}"


def commands():
    from pipeline.cli import build_parser

    def below(parser, words):
        yield [*words, "--help"]
        for action in parser._actions:
            for name, inner in (
                (getattr(action, "choices", None) or {}).items() if action.dest.endswith("command") else ()
            ):
                yield from below(inner, [*words, name])

    return list(below(build_parser(), []))


def run_cli(words, **env):
    code = """
import sys
from pipeline.cli import main
for words in eval(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        assert not end.code, (words, end.code)
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))} | env
    return subprocess.run(
        [sys.executable, "-c", code, repr(words)], cwd=ROOT, capture_output=True, check=False, env=environment
    )


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("env", ENCODINGS, ids=str)
def test_every_command_prints_on_a_terminal_of_any_encoding(tmp_path, env):
    (tmp_path / "table1.txt").write_text("a → b ± 1 é 映\n", encoding="utf-8")
    listed = {"stage": "tabulate", "files": [describe(tmp_path / "table1.txt")]}
    files.write_json(tmp_path / "t.json", listed)
    row = {"qid": 1, "query": "a → b", "vid": "v", "duration": 10}
    truth = row | {"relevant_windows": [[0, 4]], "relevant_clip_ids": [0, 1], "saliency_scores": [[1, 2, 3]] * 2}
    guess = row | {"pred_relevant_windows": [[0, 4, 1.0]], "pred_saliency_scores": [1, 0, 0, 0, 0]}
    (tmp_path / "truth.jsonl").write_text(json.dumps(truth) + "\n")
    (tmp_path / "guess.jsonl").write_text(json.dumps(guess) + "\n")
    scored = ["--dataset", "qvhighlights", "--predictions", str(tmp_path / "guess.jsonl")]
    evaluate = ["evaluate", *scored, "--annotations", str(tmp_path / "truth.jsonl")]
    done = run_cli([*commands(), ["show", str(tmp_path / "t.json")], evaluate], **env)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert ("a -> b ± 1 é \\u6620" if env.get("PYTHONIOENCODING") == "latin-1" else "a -> b +- 1 \\xe9 \\u6620").encode(
        "latin-1"
    ) in done.stdout
    assert len(commands()) > 25


@pytest.mark.slow
def test_estimate_prints_on_a_terminal_without_unicode():
    done = run_cli([["estimate"]], PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr.decode()
