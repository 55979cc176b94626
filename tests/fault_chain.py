"""The jobs of the small workflow, one after the other in forked processes, so that a fault costs a second.

A job is the very command that Snakemake starts, with the same folder, arguments and code. It is forked from a process
that has imported everything already, because the imports take ten times as long as the work. `again` starts every job
in the order of the data flow, and each decides by its manifest whether it has work, as under Snakemake.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from equal_results import contents, differences
from small_workflow import Workflow

from pipeline import cli, files, locks, work_record

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # Threads that spin while they wait take the cores from others.

COMMAND = re.compile(r"python -P -s -m pipeline (?P<rest>--results results .*?)(?: 2> \S+)?$", re.MULTILINE)
TARGETS = ("table1", "results/figures/seen.json")
THREADS = 2
"""The number of threads that Snakemake gives a job of `train` on the two cores of the small workflow. Sums depend on
it."""
LONGEST_S = 120.0
"""A job that takes longer hangs."""


def nothing() -> None:
    """Do nothing. This is the fault of a job without a fault."""


@dataclass(frozen=True)
class Ended:
    """The end of a job. code: exit code, negative for a signal. said: the text that it wrote to its terminal or log."""

    code: int
    said: str

    @property
    def line(self) -> str:
        """The last line that the job printed."""
        return (self.said.strip().splitlines() or [""])[-1]

    @property
    def is_refusal(self) -> bool:
        """True if the job ended with a line that says what to do."""
        return self.code == 1 and "Traceback" not in self.said and "→" in self.line


@dataclass(frozen=True)
class Job:
    """One command of the small workflow. name: its stage and what tells it from others, such as `train seen`."""

    name: str
    arguments: tuple[str, ...]
    manifest: str

    @property
    def command(self) -> str:
        """The first word of the command. Its errors begin with it."""
        return self.arguments[self.arguments.index("--results") + 2]


class Chain:
    """A copy of the finished small workflow, and its jobs in the order of the data flow."""

    def __init__(self, folder: Path, jobs: Iterable[Job], whole: dict[str, str], snakefile: Path) -> None:
        self.folder, self.jobs, self.whole, self.snakefile = folder, tuple(jobs), whole, snakefile

    @classmethod
    def of(cls, finished: Workflow) -> Chain:
        """Return the chain of a copy of a finished workflow, with learning curves. Snakemake itself prints its
        commands.

        The first process that asks for it makes the copy, and the others share it.
        """
        folder = finished.folder.with_name("chain")
        commands = folder.with_name("chain.commands")
        with locks.lock(folder, wait=True):
            if not commands.exists():
                workflow = finished.copy(folder)
                workflow.run(*TARGETS)
                process = workflow.start("-n", "--forceall", "--printshellcmds", *TARGETS)
                said, _ = process.communicate()
                assert process.returncode == 0, said
                commands.write_text(said)
        jobs = map(_job, COMMAND.findall(commands.read_text()))
        return cls(folder, jobs, contents(folder / "results"), finished.code / "workflow/Snakefile")

    def copy(self, folder: Path) -> Chain:
        """Return an equal chain in another folder. All times are copied, too."""
        shutil.copytree(self.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("checkout"))
        return Chain(folder, self.jobs, self.whole, self.snakefile)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def job(self, name: str) -> Job:
        """Return the job whose name begins with this."""
        return next(job for job in self.jobs if job.name.startswith(name))

    def start(self, job: Job, before: Callable[[], None] = nothing, **env: str) -> int:
        """Fork a job; returns its process number. before: the fault, which happens in its process before it begins."""

        def run() -> None:
            before()
            cli.main(list(job.arguments))

        return self._fork(run, env)

    def snakemake(self, *arguments: str, **env: str) -> int:
        """Fork a Snakemake with two cores; returns its process number. Its jobs are processes of their own."""

        def run() -> None:
            from snakemake.cli import main

            sys.argv = ["snakemake", "--snakefile", str(self.snakefile), "--cores", str(THREADS), *arguments]
            main()

        return self._fork(run, {work_record.VARIABLE: str(self.folder / "work.jsonl")} | env)

    def _fork(self, run: Callable[[], None], env: dict[str, str]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            os.setsid()
            os.chdir(self.folder)
            log = os.open(self._log(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
            os.environ.update(env)
            code = _exit_code(run)
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def wait(self, child: int, seconds: float = LONGEST_S, kill: bool = False) -> Ended:
        """Wait for a job. kill: whether to kill it, with all that it started, when the time is over."""
        end = time.monotonic() + seconds
        while not (found := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                assert kill, f"a job hangs:\n{self._log(child).read_text()}"
            time.sleep(0.002)
        with suppress(ProcessLookupError):  # what a killed job left behind
            os.killpg(child, signal.SIGKILL)
        log = self._log(child)
        return Ended(os.waitstatus_to_exitcode(found[1]), log.read_text() if log.exists() else "")

    def run(self, job: Job, before: Callable[[], None] = nothing, **env: str) -> Ended:
        """Start a job and wait for it."""
        return self.wait(self.start(job, before, **env))

    def again(self, first: str = "", *, all_jobs: bool = False) -> Ended | None:
        """Start every job in order, from the one whose name begins with `first`, until nothing differs any more.

        The later jobs have no work then, because their inputs are equal. all_jobs: start them nevertheless.
        Returns how the first job ended that failed, or None.
        """
        for job in self.jobs[self.jobs.index(self.job(first)) :]:
            if (ended := self.run(job)).code:
                return ended
            if not all_jobs and not self.differences():
                break
        return None

    def differences(self) -> list[str]:
        """Return the differences from the undisturbed results."""
        return differences(self.whole, contents(self.results))

    def forget(self, *names: str) -> None:
        """Delete the manifests of these jobs, so that each has its work to do again."""
        for name in names:
            (self.folder / self.job(name).manifest).unlink()

    def _log(self, child: int) -> Path:
        """Return the path of a job's log. It is outside the folder, because a fault may fill or close the folder."""
        return self.folder.with_name(f"{self.folder.name}.{child}.log")


def _job(rest: str) -> Job:
    arguments = shlex.split(rest)
    words = arguments[arguments.index("--results") + 2 :]
    about = [words[k + 1] for k, word in enumerate(words) if word in ("--split", "--reader", "--shard")]
    name = " ".join([*(word for word in words[:2] if not word.startswith("-") and word != "features"), *about])
    return Job(name, tuple(arguments), words[words.index("--manifest") + 1])


def _exit_code(run: Callable[[], None]) -> int:
    """Run a command as Python would and return its exit code."""
    try:
        run()
    except SystemExit as stop:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        traceback.print_exc()
        return 1
    return 0


def import_all() -> None:
    """Import what the jobs use and put the fakes of the small workflow in place, once for all forked jobs."""
    import fake_encoders
    import matplotlib.backends.backend_svg
    import matplotlib.pyplot  # noqa: F401
    import scipy.optimize
    import scipy.stats  # noqa: F401
    import snakemake.cli  # noqa: F401
    import torch

    from pipeline.reporting import tables  # noqa: F401
    from pipeline.training import loop, predict, runs  # noqa: F401
    from pipeline.video import probe  # noqa: F401

    torch.set_num_threads(THREADS)
    fake_encoders.take_the_place(fake_encoders.FAKES)


def when_work_begins(fault: Callable[[], None]) -> Callable[[], None]:
    """Return a fault that happens when the stage has found that it has work."""

    def before() -> None:
        note = work_record.note

        def and_fault(what: str, **fields: object) -> None:
            note(what, **fields)
            if what == "began":
                fault()

        work_record.note = and_fault

    return before


def killed_at(number: int) -> Callable[[], None]:
    """Kill the process before its n-th operation on files since its work began."""

    def fault() -> None:
        left = number

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "shutil.rmtree"):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)

    return when_work_begins(fault)


def killed_in_the_second_epoch() -> None:
    """Kill a training when it has trained two epochs, and has kept its state after the first."""
    from pipeline.training import loop

    loop.SAVE_EVERY_S = 0.0
    note, epochs = work_record.note, count(1)

    def and_kill(what: str, **fields: object) -> None:
        note(what, **fields)
        if what == "epoch" and next(epochs) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    work_record.note = and_kill


def no_memory_left(spare_bytes: int) -> Callable[[], None]:
    """Let the process have this many bytes more than it has when its work begins."""

    def fault() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + spare_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    return when_work_begins(fault)


def listed(manifest: Path) -> list[Path]:
    """Return the files that a manifest lists."""
    return [Path(entry["path"]) for entry in files.read_json(manifest)["files"]]
