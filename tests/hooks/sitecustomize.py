"""Python reads this at its start when this folder is on PYTHONPATH: the jobs of small_workflow.py count their work.

Every piece of work is a line in the file $WORK_LOG: stages that did some, videos looked at, rows encoded, epochs
trained. Networks are replaced by fakes, so that a job takes little longer than its imports.

$BREAK: `STAGE:HOW`. The jobs of that stage come to no end: `error` raises one when the work begins, `kill` kills the
process then (as a machine out of memory does), `start` ends it before it knows what it is to do (no module, no
environment). $RAISED: a stage or family whose revision is one higher. $HOLD: a job stops after so many batches or
epochs (each with a state on disk), says `held`, and goes on when it finds a file `go`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from importlib import import_module
from itertools import count

from pipeline import provenance
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES

BREAK = os.environ.get("BREAK", "")
if BREAK.endswith(":start") and BREAK.removesuffix(":start") in sys.orig_argv[3:9] and "pipeline" in sys.orig_argv:
    sys.exit("broken by the test")

FAKES = {
    "clip-vit-b32": "fake_encoders:MeanColour",
    "slowfast-r50-caffe2": "quick_encoders:WideMeanColour",
    "clip-text": "fake_encoders:Letters",
    "pann-cnn14": "quick_encoders:Loudness",
}


CALLS = count()
"""Of whatever $HOLD counts."""


def note(*words):
    """Append one line, whole, however many processes write."""
    with open(os.environ["WORK_LOG"], "a") as log:
        log.write(" ".join(map(str, words)) + "\n")


def noting(function, words):
    """`function`, which says what it did."""

    def watched(*arguments, **rest):
        done = function(*arguments, **rest)
        note(*words(*arguments))
        return done

    return watched


def holding(function):
    """`function`, which waits before it is called once more than $HOLD says."""

    def held(*arguments, **rest):
        if next(CALLS) == int(os.environ.get("HOLD", "-1")):
            note("held", "here")
            while not os.path.exists("go"):
                time.sleep(0.05)
        return function(*arguments, **rest)

    return held


def watch_videos():
    video = import_module("pipeline.video.probe")
    video.probe = noting(video.probe, lambda path: ("looked", path.stem))


def watch_extract():
    import_module("fake_encoders").take_the_place(FAKES)
    for family in FAKES:
        network = import_module("pipeline.encoders.base").encoder_of(family).func
        encode = network.__dict__["encode"]
        network.encode = holding(noting(encode, lambda _, rows, family=family: ("rows", family, len(rows))))


def watch_train():
    loop = import_module("pipeline.training.loop")
    loop._epoch = holding(noting(loop._epoch, lambda run, *_: ("epoch", run.folder.parent.name)))
    if "HOLD" in os.environ:
        loop.SAVE_EVERY_S = 0.0


WATCHED = {"videos": watch_videos, "extract": watch_extract, "train": watch_train}


def run_stage(stage, manifest, work, **rest):
    """`provenance.run_stage`, noting the stages that had work, and what those without had imported."""

    def watched():
        if f"{stage}:error" == BREAK:
            raise PipelineError("broken by the test")
        if f"{stage}:kill" == BREAK:
            os.kill(os.getpid(), signal.SIGKILL)
        WATCHED.get(stage, lambda: None)()
        note("stage", stage, manifest)
        return work()

    had_work = plain(stage, manifest, watched, **rest)
    if not had_work:
        note("idle", stage, *(name for name in sys.modules if "." not in name))
    return had_work


plain, provenance.run_stage = provenance.run_stage, run_stage
if raised := os.environ.get("RAISED"):
    if raised in provenance.STAGES:
        provenance.STAGES[raised] += 1
    else:
        FAMILIES[raised] = replace(FAMILIES[raised], revision=FAMILIES[raised].revision + 1)
