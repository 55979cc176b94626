"""The facts in README and docs/ are true: families, figures, and every command."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from contextlib import redirect_stderr
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from documented import ROOT, commands, in_page
from made_configs import shipped

from pipeline import config, methods
from pipeline.acquire import sources
from pipeline.commands.arguments import build_parser
from pipeline.cost.estimate import estimate
from pipeline.families import FAMILIES
from pipeline.methods.settings import MethodSettings

FEATURES = (ROOT / "docs/features.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = "workflow/profiles/small"
TESTS = [path for path in sorted(Path(__file__).parent.glob("test_*.py")) if path.name != "test_docs.py"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_stands_in_the_features_page_with_its_width(family):
    rows = [line for line in FEATURES.splitlines() if line.startswith("|") and f"`{family}`" in line]
    widths = {
        int(width)
        for row in rows
        for width in row.rsplit("|", 2)[1].replace("+", ";").split(";")
        if width.strip().isdigit()
    }
    assert FAMILIES[family].dim in widths | {sum(widths)}


def test_every_weight_file_stands_in_the_features_page():
    names = {name for kind in FAMILIES.values() for name in kind.weights}
    assert {name for name in names if f"`{name}`" not in FEATURES} == set()


# ---- commands: every one that a page tells people to type


@pytest.mark.parametrize("command", commands(), ids=str)
def test_every_command_of_the_pages_is_understood_and_one_of_its_name_stands_in_a_test(command):
    KINDS[command.program](command)


def _make(command):
    done = subprocess.run(["make", "-n", *command.words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _python(command):
    if command.words[1:3] == ("-m", "pipeline"):
        _pipeline(command.words[3:])
    elif command.words[1:3] == ("-m", "zipfile"):
        assert command.words[3] == "-c"  # run below
    elif command.words[1] == "-m":
        package, _, module = command.words[2].rpartition(".")
        assert [path.name for path in TESTS if f"from {package} import {module}" in path.read_text(encoding="utf-8")]
    else:
        text = (ROOT / command.words[1]).read_text(encoding="utf-8")
        assert [word for word in command.words[2:] if word.startswith("--") and f'"{word}"' not in text] == []


def _pipeline(words):
    """Let the program read the words, and look for a test in which the command's name stands. Nothing is run."""
    known = ["tr_detr" if before == "--method" else word for before, word in pairwise(("", *words))]
    options = build_parser().parse_args(known)
    names = {options.command, getattr(options, "features_command", options.command)}
    tests = "".join(path.read_text(encoding="utf-8") for path in TESTS)
    assert {name for name in names if f'"{name}"' not in tests} == set()


def _snakemake(command):
    arguments = _parsed(command)
    if arguments.targets and not (command.in_block and _apart(arguments) in DRY_RUNS):
        assert ELSEWHERE.get(_apart(arguments)) or set(arguments.targets) <= TARGETS, "no test plans it"


def _parsed(command):
    """Return what Snakemake itself reads in the words, in the repository's root."""
    snakemake_cli = pytest.importorskip("snakemake.cli")
    there = Path.cwd()
    os.chdir(ROOT)
    try:
        with redirect_stderr(StringIO()):
            return snakemake_cli.parse_args(list(command.words[1:]))[1]
    finally:
        os.chdir(there)


def _apart(arguments):
    """Return the parts of a command for which it needs its own plan: the profile and the config file."""
    names = (arguments.workflow_profile, *map(str, arguments.configfile or ()))
    return " ".join(str(name) for name in names if name)


DRY_RUNS = ("", "docs/peers/study.yaml", "docs/table3/study.yaml", f"{SMALL} {SMALL}/small.yaml")
"""Profiles and config files. Each is planned once below, with all targets that pages name for it."""
ELSEWHERE = {
    "workflow/profiles/slurm": "test_workflow.py, test_slurm.py",
    "mine.yaml": "test_own_config.py, where it is made first",
}
TARGETS = {"experiment_NAME", "all_tables", "table1", "report", "leaderboards", "figures", "peers"}
"""Targets that a sentence names. All are planned below except the first, which stands for any experiment."""


@pytest.mark.parametrize("apart", DRY_RUNS)
def test_the_snakemake_commands_of_the_pages_can_be_planned_on_a_machine_that_has_nothing(apart, tmp_path):
    pytest.importorskip("snakemake")
    found = [(c, _parsed(c)) for c in commands() if c.program == "snakemake" and c.in_block]
    targets = sorted({t for _, arguments in found if _apart(arguments) == apart for t in arguments.targets})
    targets = sorted({*targets, *TARGETS} - {"experiment_NAME"}) if not apart else targets
    chosen = apart.split()
    options = ["--workflow-profile", chosen[0]] if len(chosen) == 2 else ["--configfile", *chosen] if chosen else []
    plan = [sys.executable, "-m", "snakemake", *targets, "--cores", "8", "-n", *options]
    config = ["--config", f"results={tmp_path}", f"acquire={{local: [{tmp_path}]}}"]
    done = subprocess.run([*plan, *config], cwd=ROOT, capture_output=True, text=True, check=False)
    assert targets and done.returncode == 0, done.stdout + done.stderr


BENCHMARKS = sorted(
    f"benchmarks/{path.name}"
    for path in (ROOT / "benchmarks").glob("*.py")
    if ".parse_args(" in path.read_text("utf-8")
)


def run_here(monkeypatch, script, *words):
    """Run a script in this process, in which torch is imported only once."""
    monkeypatch.setattr(sys, "argv", [script, *words])
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    monkeypatch.setattr(os, "environ", os.environ.copy())
    runpy.run_path(str(ROOT / script), run_name="__main__")


@pytest.mark.parametrize("script", BENCHMARKS)
def test_every_benchmark_with_options_can_be_imported_and_says_what_they_are(script, monkeypatch, capsys):
    pytest.importorskip("torch")
    with pytest.raises(SystemExit) as ended:
        run_here(monkeypatch, script, "--help")
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out


def test_the_benchmarks_of_the_pages_are_among_those():
    named = {c.words[1] for c in commands() if len(c.words) > 1 and c.words[1].startswith("benchmarks/")}
    assert named <= set(BENCHMARKS)


def test_a_cheap_benchmark_of_the_pages_runs_on_a_tiny_input(monkeypatch, capsys):
    tiny = ("--trials", "2", "--resamples", "10", "--videos", "3", "--kinds", "hits")
    run_here(monkeypatch, "benchmarks/few_videos.py", *tiny)
    assert "| 3 | " in capsys.readouterr().out


def test_the_one_command_of_the_page_on_table_3_trains_twenty_runs_from_released_features():
    page = (ROOT / "docs/table3.md").read_text(encoding="utf-8")
    command = page.partition("## One command\n\n")[2].splitlines()[0].split()
    names = [word.removeprefix("experiment_") for word in command if word.startswith("experiment_")]
    experiments = [config.load(shipped() | {"seeds": [2017]}).experiments[name] for name in names]
    assert "'seeds=[2017]'" in command
    assert {experiment.source for experiment in experiments} == {"features"}
    assert [len(experiment.runs) for experiment in experiments] == [10, 10]


def test_the_benchmark_of_plans_makes_a_config_that_can_be_planned(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    benchmark = runpy.run_path(str(ROOT / "benchmarks/workflow.py"))
    settings = benchmark["made_up"](tmp_path, 1_000)
    assert {experiment.dataset for experiment in settings.experiments.values()} == {"qvhighlights"}
    assert settings == config.load_file(tmp_path / "config.yaml")
    benchmark["make_everything_up_to_features"](tmp_path, settings, 1_000)
    assert all((tmp_path / manifest).exists() for manifest in benchmark["features"](settings))


def test_the_archive_of_features_that_a_page_makes_by_hand_is_one(tmp_path):
    (command,) = (c for c in commands() if c.words[1:3] == ("-m", "zipfile"))
    (tmp_path / "UNPACKED/tvsum").mkdir(parents=True)
    (tmp_path / "UNPACKED/tvsum/a.npy").touch()
    (tmp_path / "DIR").mkdir()
    subprocess.run([sys.executable, *command.words[1:]], cwd=tmp_path, check=True)
    with zipfile.ZipFile(tmp_path / command.words[4]) as made:
        assert "tvsum/a.npy" in made.namelist()


def test_the_example_of_evaluate_in_the_report_page_prints_a_number(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/report.md").read_text(encoding="utf-8")
    example = textwrap.dedent("    import json\n" + page.partition("    import json\n")[2].partition("\n`result")[0])
    assert "from pipeline import evaluate" in example
    rated = {"relevant_windows": [[0, 4]], "relevant_clip_ids": [0, 1], "saliency_scores": [[4, 4, 4], [3, 3, 3]]}
    shared = {"qid": 7, "query": "a dog", "vid": "a_b_c_0.0_20.0"}
    found = {"pred_relevant_windows": [[0, 4, 0.9]], "pred_saliency_scores": [0.5] * 10}
    (tmp_path / "A.jsonl").write_text(json.dumps(shared | found))
    (tmp_path / "val.jsonl").write_text(json.dumps(shared | rated | {"duration": 20}))
    monkeypatch.chdir(tmp_path)
    exec(example, {})  # noqa: S102 - this is the code of our own page
    assert capsys.readouterr().out == "100.0 7\n"


def test_a_command_that_nobody_tests_is_found():
    text = "Do this:\n\n    make no-such-target\n    python -m pipeline estimate --no-such-option\n    curl x\n"
    for command in in_page("x.md", text):
        with pytest.raises((AssertionError, SystemExit, KeyError)):
            KINDS[command.program](command)
    assert len(list(in_page("x.md", text))) == 3
    assert [c.words for c in in_page("x.md", "`curl x`, `make demo`\n\n```yaml\nmake: 1\n```\n")] == [("make", "demo")]


def _tensorboard(command):
    pytest.importorskip("tensorboard")
    assert command.words[1:] == ("--logdir", "results/runs")


def _pip(command):
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert command.words[1:] in [("install", f".[{extra}]") for extra in extras]


def _activate(command):
    assert command.words[1] == ".venv/bin/activate"


KINDS = {
    "make": _make,
    "python": _python,
    "snakemake": _snakemake,
    "tensorboard": _tensorboard,
    "pip": _pip,
    ".": _activate,
}
"""Program → what is asked of its commands. A program that is not here fails, so that it gets a test."""


def test_the_features_page_names_the_methods_that_normalise_otherwise():
    page = (ROOT / "docs/features.md").read_text(encoding="utf-8")
    section = page.partition("## Normalised when they are loaded")[2].partition("\n## ")[0]
    released = ("qvhighlights", "charades_sta", "tvsum")
    settings = [methods.settings_class(name)() for name in methods.METHODS]
    own = {s.name for s in settings for d in released if s.normalisation(d) != MethodSettings.normalisation(s, d)}
    assert own == {"umt", "univtg"}
    assert "UMT divides" in section
    assert "UniVTG divides" in section


# ---- figures of README


def test_readme_has_fewer_than_120_lines():
    assert len(README.splitlines()) < 120


ENTRANCES = {
    "released predictions": ["released_test_predictions", "released_val_predictions"],
    "released features, TVSum": ["tvsum_v", "tvsum_va"],
    "released features, QVHighlights": ["qvhighlights_v_released", "qvhighlights_va_released"],
    "raw videos, all tables": None,
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_the_costs_of_an_entrance_are_those_of_the_estimate(entrance):
    raw = shipped()
    names = ENTRANCES[entrance] or [name for name in raw["experiments"] if name not in raw["peers"]]
    costs = {seeds: _costs(raw, names, seeds) for seeds in ((2017, 0, 1), (2017,))}
    cells = [cell.strip() for cell in next(row for row in README.splitlines() if f"| {entrance} |" in row).split("|")]
    every, one = costs[2017, 0, 1], costs[2017,]
    shown = [every["to fetch, GB"], every["on disk in the end, GB"], _hours(every)]
    assert [cell.partition(";")[0] for cell in cells[2:5]] == [
        f"{value:.1f}" if value > 0.05 or not value else f"{value:.2f}" for value in shown
    ]
    trained = [name for name in names if raw["experiments"][name].get("source") != "predictions"]
    alone = {name: _costs(raw, [name], (2017,))["training on a GPU, hours"] for name in trained}
    longest = max((hours / _points(raw, name) for name, hours in alone.items()), default=0)
    assert cells[5:7] == ([f"{_hours(one):.1f}", f"{longest:.1f}"] if trained else ["–", "–"])


def _costs(raw, names, seeds):
    kept = {"experiments": {name: raw["experiments"][name] for name in names}, "peers": [], "seeds": list(seeds)}
    return {line.label: line.total for line in estimate(config.load(raw | kept), sources.load()).costs}


def _hours(costs):
    return costs["encoding on a GPU, hours"] + costs["training on a GPU, hours"]


def _points(raw, name):
    """Return the number of jobs of one seed: one for each point of a sweep."""
    return max(1, len(raw["experiments"][name].get("sweep", {})))
