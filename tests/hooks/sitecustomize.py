"""Python reads this at its start when this folder is on PYTHONPATH: jobs of small_workflow.py get their faults here.

Networks are replaced by fakes, so that a job takes little longer than its imports. Faults happen at moments that the
jobs record (`pipeline.work_record`), just before the line is written.

$BREAK: `STAGE:HOW`. The jobs of that stage do not finish: `error` raises one when the work begins, `kill` kills the
process then (as a machine out of memory does), `hold` lets it wait then for a file `go` and leaves a file `held`,
`start` ends it before it knows what it is to do (no module, no environment). $RAISED: a stage or family whose revision
is one higher. $HOLD: a job waits when so many batches or epochs are recorded (each with a state on disk) and goes on
when it finds a file `go`; it leaves a file `held`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from importlib import import_module
from itertools import count
from pathlib import Path

from pipeline import provenance, work_record
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES

BREAK = os.environ.get("BREAK", "")
if BREAK.endswith(":start") and BREAK.removesuffix(":start") in sys.orig_argv[3:9] and "pipeline" in sys.orig_argv:
    sys.exit("broken by the test")

NOTED = count()
"""Number of batches and epochs that this job has recorded."""


def note(what, **fields):
    """Do what `work_record.note` does, and cause the faults that are asked for."""
    if what == "began":
        begin(fields["stage"])
    if what in ("encoded", "epoch") and next(NOTED) == int(os.environ.get("HOLD", "-1")):
        hold()
    record(what, **fields)


def hold():
    """Wait until a file `go` is there. A test that failed leaves no job behind for longer than ten minutes."""
    Path("held").touch()
    end = time.monotonic() + 600
    while not Path("go").exists():
        if time.monotonic() > end:
            os._exit(1)
        time.sleep(0.05)


def begin(stage):
    """Break or hold a job as $BREAK says, when its stage has work and begins. `extract` gets fake encoders."""
    if f"{stage}:error" == BREAK:
        raise PipelineError("broken by the test")
    if f"{stage}:kill" == BREAK:
        os.kill(os.getpid(), signal.SIGKILL)
    if f"{stage}:hold" == BREAK:
        hold()
    if stage == "extract":
        fakes = import_module("fake_encoders")
        fakes.take_the_place(fakes.FAKES)
    if stage == "train" and "HOLD" in os.environ:
        import_module("pipeline.training.loop").SAVE_EVERY_S = 0.0


record, work_record.note = work_record.note, note
if raised := os.environ.get("RAISED"):
    if raised in provenance.STAGES:
        provenance.STAGES[raised] += 1
    else:
        FAMILIES[raised] = replace(FAMILIES[raised], revision=FAMILIES[raised].revision + 1)
