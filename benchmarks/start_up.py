"""Measures what every command costs before it does any work: its start, and a job whose inputs did not change.

    python benchmarks/start_up.py

A tiny benchmark (tests/small_workflow.py) is finished once. Then the command line of every stage is run again on it,
and the other commands are run on its results. The numbers are CPU seconds, the smallest of three rounds.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from small_workflow import ROOT, Workflow, make_videos

from pipeline.layout import Layout
from pipeline.layout.places import StorePlace

RESULTS = Layout(Path("results"))
PREDICTED = str(RESULTS.predictions("seen", "all-s2017", "val", "last"))
SCORED = ["--dataset", "qvhighlights", "--annotations", "val.jsonl", PREDICTED]
STORE = str(RESULTS.store("qvhighlights", StorePlace("clip-vit-b32", "2s"), "00000"))
TABLE = str(RESULTS.manifest("table", table="table1"))
FIGURE = str(RESULTS.manifest("figure", experiment="seen"))
OTHERS = {
    "--help": ["--help"],
    "schema": ["schema"],
    "show": ["show", TABLE],
    "evaluate": ["evaluate", *SCORED[:-1], "--predictions", SCORED[-1]],
    "validate": ["validate", *SCORED[:-1], "--predictions", SCORED[-1]],
    "compare": ["compare", *SCORED, SCORED[-1], "--resamples", "2"],
    "features inspect": ["features", "inspect", STORE],
    "features compare": ["features", "compare", STORE, STORE],
    "features export": ["features", "export", STORE, "--dataset", "qvhighlights", "--output", "exported"],
    "estimate": ["estimate"],
    "probe (PyAV)": ["probe", str(RESULTS.unpacked("videos") / "AAAAAAAAAAA_0.0_8.0.mp4")],
    "import-checkpoint (torch)": ["import-checkpoint", "none.ckpt", "none.safetensors"],
    "verify-golden (torch)": ["verify-golden", "none.json"],
}
"""The last two find no file, once torch is imported."""


def main() -> None:
    """Print a line per command."""
    with tempfile.TemporaryDirectory() as scratch:
        workflow = Workflow(Path(scratch) / "finished", make_videos(Path(scratch) / "videos")).prepare()
        workflow.run("table1", FIGURE)
        print(f"{'command':<36} {'CPU s':>6}")
        for name, arguments in commands_of_jobs(workflow).items():
            show(f"{name}, no work", arguments, workflow)
        for name, arguments in OTHERS.items():
            show(name, arguments, workflow)


def commands_of_jobs(workflow: Workflow) -> dict[str, list[str]]:
    """Return one command line for each stage and reader, in the form in which the rules write it."""
    planned = workflow.start("-n", "-p", "--forceall", "--", "table1", FIGURE)
    said, _ = planned.communicate()
    found: dict[str, list[str]] = {}
    for command in re.findall(r"python -m pipeline (.*?) 2> ", said):
        arguments = shlex.split(command)
        stage, *rest = arguments[2:]
        named = [stage, rest[0], rest[rest.index("--reader") + 1]] if "--reader" in rest else [stage]
        found.setdefault(" ".join(named), arguments)
    return found


def show(name: str, arguments: Sequence[str], workflow: Workflow) -> None:
    """Run a command three times and print the least it took."""
    runs = [measured(arguments, workflow.folder) for _ in range(3)]
    print(f"{name:<36} {min(runs)[1]:>6.2f}  {'ended with an error' if runs[0][0] else ''}", flush=True)


def measured(arguments: Sequence[str], folder: Path) -> tuple[int, float]:
    """Return the exit status of one run of a command, and its CPU seconds."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipeline", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    return status, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
