"""Faults of a real Snakemake: it is killed, and its own records are damaged."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from equal_results import contents, differences
from fault_chain import Chain, Ended
from fault_files import HOWS, damage, flip
from fault_outcome import AGAIN, EQUAL, JOBS, plain, undo

from pipeline import files

RECORDS = {
    "Snakemake's metadata": HOWS,
    "Snakemake's locks": HOWS,
    "Snakemake's markers of incomplete files": HOWS,
    "Snakemake's folder": ("deleted",),
}
"""Records, all of one kind at once → the ways in which they are damaged."""
TOP = 7
"""The bit of a byte with which a record is no text any more. Snakemake passes over text that is no JSON."""
FOLDERS = {
    "Snakemake's metadata": "metadata",
    "Snakemake's locks": "locks",
    "Snakemake's markers of incomplete files": "incomplete",
    "Snakemake's folder": "",
}
LONGEST_S = 300.0
"""A Snakemake with its jobs that takes longer hangs."""
EPOCHS = 4
"""The number of epochs in the config when the records are damaged. The existing weights were trained for 2 epochs."""


def held(chain: Chain, target: str, **env: str) -> int:
    """Start Snakemake, and wait until its job waits as $BREAK or $HOLD says."""
    child = chain.snakemake(target, **env)
    end = time.monotonic() + 120
    while not (chain.folder / "held").exists():
        if time.monotonic() > end:
            raise AssertionError(f"it did not come to that: {chain.wait(child, 0, kill=True).said}")
        time.sleep(0.02)
    return child


def kill_group(chain: Chain, child: int) -> None:
    """Kill Snakemake and all that it started. Nobody is left who could go on writing."""
    below = psutil.Process(child).children(recursive=True)
    assert below
    ended = chain.wait(child, 0, kill=True)
    assert ended.code == -signal.SIGKILL
    _, alive = psutil.wait_procs(below, timeout=20)
    assert not alive, alive
    (chain.folder / "held").unlink()


def advised(ended: Ended, words: str) -> str:
    """Return the last line with these words in the output of a Snakemake that ended with an error."""
    assert ended.code == 1 and "Traceback" not in ended.said, ended.said
    lines = [line.strip() for line in ended.said.splitlines() if words in line]
    assert lines, ended.said
    return lines[-1]


def run(chain: Chain, *arguments: str) -> Ended:
    """Run Snakemake to its end."""
    return chain.wait(chain.snakemake(*arguments), LONGEST_S)


def must_finish(chain: Chain, target: str) -> None:
    """Start the same command. It must end well, and all bytes of the results must be equal."""
    ended = run(chain, target)
    assert ended.code == 0, ended.said
    assert chain.differences() == [], chain.differences()


def unlock(chain: Chain, target: str) -> str:
    """Do what the same command advises after a kill. Returns the line."""
    line = advised(run(chain, target), "--unlock")
    assert run(chain, "--unlock").code == 0
    return line


def group_killed(stage: str, chain: Chain, dice: random.Random) -> str:
    """Kill Snakemake and its job while the stage works."""
    undo(chain, stage, all_of_run=False)
    target = chain.job(JOBS[stage]).manifest
    kill_group(chain, held(chain, target, BREAK=f"{stage}:hold"))
    line = unlock(chain, target)
    must_finish(chain, target)
    return f"refused: `{plain(chain, line)}`"


def driver_killed(stage: str, chain: Chain, dice: random.Random) -> str:
    """Kill Snakemake alone while the stage works. Its job goes on, and keeps others away until it ends."""
    undo(chain, stage, all_of_run=False)
    target = chain.job(JOBS[stage]).manifest
    child = held(chain, target, BREAK=f"{stage}:hold")
    orphans = psutil.Process(child).children(recursive=True)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert run(chain, "--unlock").code == 0
    if stage == "fetch":  # a second one waits for the first
        second = chain.snakemake(target)
        time.sleep(1)
        let_go(chain, orphans)
        assert chain.wait(second).code == 0
        must_finish(chain, target)
        return EQUAL
    line = advised(run(chain, target), "another process is at work here")
    let_go(chain, orphans)
    must_finish(chain, target)
    return f"refused: `{plain(chain, line)}`"


def let_go(chain: Chain, orphans: list[psutil.Process]) -> None:
    """Let the job that waits go on, and wait for its end."""
    (chain.folder / "go").touch()
    _, alive = psutil.wait_procs(orphans, timeout=60)
    assert not alive, alive


@dataclass(frozen=True)
class Interrupted:
    """A workflow that was killed while it trained by new settings. whole: the results that nobody disturbed."""

    chain: Chain
    whole: dict[str, str]


_interrupted: list[Interrupted] = []


def interrupted(chain: Chain, folder: Path) -> Interrupted:
    """Return an interrupted workflow made from this chain. It is made once for all cells of this process."""
    if not _interrupted:
        target = chain.job(JOBS["train"]).manifest
        config = chain.folder / "config.yaml"
        config.write_text(config.read_text().replace("epochs: 2", f"epochs: {EPOCHS}"))
        whole = chain.copy(folder / "whole")
        ended = run(whole, target)
        assert ended.code == 0, ended.said
        assert files.read_json(whole.folder / target)["settings"]["runs"]["all-s2017"]["training"]["epochs"] == EPOCHS
        broken = chain.copy(folder / "broken")
        kill_group(broken, held(broken, target, HOLD="2"))
        _interrupted.append(Interrupted(broken, contents(whole.results)))
    return _interrupted[0]


def records_damaged(how: str, records: str, chain: Chain, dice: random.Random) -> str:
    """Damage every record of a kind after a kill in the middle of a training by new settings.

    The weights that were trained by the old settings lie there, and must not be taken for the new ones.
    """
    found = interrupted(chain, chain.folder.with_name("interrupted"))
    case = found.chain.copy(chain.folder.with_name("damaged"))
    damage_all(how, case.folder / ".snakemake" / FOLDERS[records], dice)
    target = chain.job(JOBS["train"]).manifest
    lines = []
    while (ended := run(case, target)).code:
        lines.append(obeyed(case, ended))
        assert len(lines) < 3, lines
    assert differences(found.whole, contents(case.results)) == []
    return f"refused: `{plain(case, lines[0])}`" if lines else AGAIN


def obeyed(chain: Chain, ended: Ended) -> str:
    """Do what a Snakemake advises that found its records damaged or locked. Returns its line."""
    if folder := re.search(r"delete the folder (\S+),", ended.said):
        shutil.rmtree(chain.folder / folder[1])
        return advised(ended, "delete the folder")
    line = advised(ended, "--unlock")
    assert run(chain, "--unlock").code == 0
    return line


def damage_all(how: str, folder: Path, dice: random.Random) -> None:
    """Do it to every file of a folder, or delete the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert paths
    if how == "deleted":
        shutil.rmtree(folder)
        return
    for path in paths:
        if how == "one bit flipped":
            flip(path, dice, bit=TOP)
        else:
            damage(how, path, dice)
