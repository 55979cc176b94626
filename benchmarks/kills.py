"""Kills the demo at random moments, starts it again, and compares its files with those of an undisturbed demo.

    python benchmarks/kills.py --kills 20 [--seed 0]

Two clones of this commit run `python -m pipeline demo`. One is not disturbed. The other gets SIGKILL at random moments.
The signal goes in turn to its whole process group, and to the driver only, so that Snakemake and its jobs live on. At
the end all files under results/demo are compared, except logs, locks, states and seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "tests")]

from equal_results import contents, differences  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "pipeline", "demo", "--cores", "2"]
SHORTEST_S, LONGEST_S = 3.0, 30.0
LONGEST_RUN_S = 3600.0


def main() -> None:
    """Run both, kill one, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        quiet, disturbed = clone(Path(scratch) / "quiet"), clone(Path(scratch) / "disturbed")
        seconds = undisturbed(quiet)
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        n_kills = killed(disturbed, options.kills, random.Random(options.seed))
        compare(contents(quiet / "results/demo"), contents(disturbed / "results/demo"), n_kills)


def clone(folder: Path) -> Path:
    """Return a fresh clone of this commit."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def undisturbed(folder: Path) -> float:
    """Run the demo to its end. Returns seconds."""
    begun = time.monotonic()
    with open(folder / "demo.log", "w") as log:
        subprocess.run(COMMAND, cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=True, timeout=LONGEST_RUN_S)
    return time.monotonic() - begun


def killed(folder: Path, n_kills: int, chance: random.Random) -> int:
    """Run the demo, kill it so often, and start it again until it ends by itself. Returns the kills that hit."""
    hits = 0
    while True:
        with open(folder / "demo.log", "a") as log:
            demo = subprocess.Popen(COMMAND, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        wait = chance.uniform(SHORTEST_S, LONGEST_S) if hits < n_kills else LONGEST_RUN_S
        try:
            code = demo.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            whole = hits % 2 == 0
            (os.killpg if whole else os.kill)(demo.pid, signal.SIGKILL)
            demo.wait()
            hits += 1
            print(f"kill {hits}: {'whole group' if whole else 'driver alone'} after {wait:.1f} s", flush=True)
            continue
        if code:
            sys.exit(f"the demo ended with code {code} after {hits} kills: see its last lines\n{tail(folder)}")
        return hits


def tail(folder: Path) -> str:
    """Return the last lines that the demo printed."""
    return "\n".join((folder / "demo.log").read_text(errors="replace").splitlines()[-30:])


def compare(quiet: dict[str, str], disturbed: dict[str, str], n_kills: int) -> None:
    """Print what differs; exit code 1 where something does."""
    differ = differences(quiet, disturbed)
    for line in differ[:40]:
        print(f"differs: {line}")
    print(f"{n_kills} kills; {len(quiet) - len(differ)} of {len(quiet)} files equal, {len(differ)} differ")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
