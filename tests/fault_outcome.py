"""The possible outcomes of a fault at a place, and how a test finds out which one it is."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from fault_chain import Chain, Ended, listed

EQUAL, AGAIN = "finished with equal bytes", "made again"

JOBS = {
    "fetch": "fetch train",
    "annotate": "annotate train",
    "videos": "videos 00001",
    "segment": "segment 00001",
    "extract": "extract 00001 frames224",
    "train": "train seen",
    "predict": "predict seen",
    "score": "score seen",
    "tabulate": "tabulate",
    "draw": "draw seen",
}
"""Stage → the job of it that gets the fault."""


@dataclass(frozen=True)
class Cell:
    """A fault at a place. happens: does it to a chain of its own and returns the outcome."""

    fault: str
    place: str
    happens: Callable[[Chain, random.Random], str]

    @property
    def name(self) -> str:
        return f"{self.fault}: {self.place}"

    def outcome(self, chain: Chain) -> str:
        """Let it happen. The moments are drawn by chance, equal in every run."""
        return self.happens(chain, random.Random(self.name))


def undo(chain: Chain, stage: str, *, all_of_run: bool = True) -> None:
    """Delete what the job of a stage made, so that it has all its work to do.

    all_of_run: of a training, delete the whole folder of the run, the predictions too.
    """
    manifest = chain.folder / chain.job(JOBS[stage]).manifest
    for path in listed(manifest):
        (chain.folder / path).unlink()
    if stage == "train" and all_of_run:
        shutil.rmtree(chain.results / "runs/seen")
    manifest.unlink()


def must_be_equal(chain: Chain, first: str = "", *, all_jobs: bool = False) -> None:
    """Start the same commands again from this job on. They must end well, and all bytes of the results must be equal.

    all_jobs: start those too that come after the results are as they shall be.
    """
    ended = chain.again(first, all_jobs=all_jobs)
    assert ended is None, ended
    assert chain.differences() == [], chain.differences()


def refused(chain: Chain, ended: Ended, cure: Callable[[], object], first: str = "") -> str:
    """Return the outcome of a job that was refused, which is its line. cure: does what the line advises."""
    assert ended.is_refusal, ended
    cure()
    must_be_equal(chain, first)
    return f"refused: `{plain(chain, ended.line)}`"


def plain(chain: Chain, line: str) -> str:
    """Return a line without the parts that differ between runs: folder, digests, process numbers, Snakemake's
    records."""
    line = line.replace(f"{chain.folder}/", "").replace(str(chain.folder), "")
    line = re.sub(r"\b[0-9a-f]{40,64}\b", "DIGEST", line)
    line = re.sub(r"(\.snakemake/\w+)/[^\s:]+:", r"\1/RECORD:", line)
    line = re.sub(r"127\.0\.0\.1:\d+", "SERVER", line)
    return re.sub(r"\.\d+\.partial", ".N.partial", line).replace("|", "/")
