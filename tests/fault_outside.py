"""Faults that come from outside: a video whose decoder hangs, and a server that dies half-way."""

from __future__ import annotations

import csv
import json
import multiprocessing
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from breaking_server import breaking
from fault_chain import Chain, Job
from fault_outcome import AGAIN, JOBS, must_be_equal, refused, undo
from hanging import hang
from small_workflow import VIDS

from pipeline import files

IN_SHARD = [VIDS[k] for k in (1, 3, 4, 5)]
"""The videos of the shard that gets the faults."""
HANGS = IN_SHARD[0]
WITHIN_S = 60.0
"""A job beside such a fault ends within this time, on a slow machine too."""


def with_settings(job: Job, section: str, **changes: object) -> Job:
    """Return the same job with other values in a section of its settings."""
    arguments = list(job.arguments)
    place = arguments.index("--settings") + 1
    settings = json.loads(arguments[place])
    arguments[place] = json.dumps(settings | {section: settings[section] | changes})
    return replace(job, arguments=tuple(arguments))


def hang_in_account() -> None:
    """Let the reading of the facts of one video never end."""
    from pipeline.video import looking

    facts_of = looking.facts_of

    def never(source):
        if source.stem == HANGS:
            hang()
        return facts_of(source)

    looking.facts_of = never
    looking.START = multiprocessing.get_context("fork")  # so that the process sees it


def hang_in_extract() -> None:
    """Let the decoding of one video's pictures never end."""
    from pipeline.video import ahead, frame_grid

    samplings = dict(frame_grid.SAMPLINGS)

    def never(name):
        def sampling(facts, clip_s):
            if facts.path.stem == HANGS:
                hang()
            return samplings[name](facts, clip_s)

        return sampling

    frame_grid.SAMPLINGS.update({name: never(name) for name in samplings})
    ahead.START = multiprocessing.get_context("fork")


def hanging_decoder(stage: str, chain: Chain, dice: random.Random) -> str:
    """Let one of the shard's videos hang. The others are finished, and it is tried again at the next start."""
    undo(chain, stage)
    job = chain.job(JOBS[stage])
    before = {"videos": hang_in_account, "extract": hang_in_extract}[stage]
    ended = chain.wait(chain.start(job, before), WITHIN_S)
    assert ended.code == 0, ended
    skipped = files.read_json(chain.folder / job.manifest)["skipped"]
    assert [row["vid"] for row in skipped] == [HANGS]
    assert "took longer than 900 s" in skipped[0]["why"]
    must_be_equal(chain, JOBS[stage])
    return AGAIN


@contextmanager
def served(chain: Chain) -> Iterator:
    """Yield a server with the sources of a chain. While `dead` is set, it cuts its first answer in half, and resets
    every later connection."""
    folder = chain.folder / "served"
    folder.mkdir()
    with open(chain.folder / "sources.csv", newline="") as file:
        columns, *rows = csv.reader(file)
    for row in rows:
        original = row[3].removeprefix("file://")
        if row[1] == "file":
            shutil.copy(original, folder)
        else:
            for path in (chain.results / "resources/videos/files").iterdir():
                shutil.copy(path, folder)
    answers = iter(("reset half-way",))

    def fault_of(_: str) -> str | None:
        return next(answers, "reset") if server.dead else None

    with breaking(folder, fault_of) as server:
        server.dead = True
        with files.atomic(chain.folder / "sources.csv") as file:
            for row in rows:
                row[3] = f"{server.url}/{row[3].rpartition('/')[2]}"
            csv.writer(file, lineterminator="\n").writerows([columns, *rows])
        yield server


def no_patience() -> None:
    """Do not wait between two tries."""
    from pipeline.acquire import patience

    patience.BACKOFF_S = 0.0


def dying_server(stage: str, chain: Chain, dice: random.Random) -> str:
    """Let the server die in the middle of its first answer. It works again when the same command is started again."""
    undo(chain, stage)
    with served(chain) as server:
        if stage == "videos":
            for vid in IN_SHARD:
                (chain.results / f"resources/videos/files/{vid}.mp4").unlink()
        job = with_settings(chain.job(JOBS[stage]), "acquire", attempts=2, timeout_s=5)
        ended = chain.wait(chain.start(job, no_patience), WITHIN_S)

        def be_there_again() -> None:
            server.dead = False

        if ended.code:
            return refused(chain, ended, be_there_again, JOBS[stage])
        assert "are not usable" in ended.said
        be_there_again()
        must_be_equal(chain, JOBS[stage])
        return AGAIN
