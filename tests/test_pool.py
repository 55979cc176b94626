"""The processes that train the runs of a job: the error when one of them dies."""

from __future__ import annotations

import os
import signal

import pytest

pytest.importorskip("torch")

from pipeline.errors import PipelineError
from pipeline.training import pool


def killed(run, tell):
    """Work that the kernel ends, as it does where memory is full."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_job_in_one_line_with_advice():
    with pytest.raises(PipelineError, match=r"ended from outside.*finished epochs stay.*mem_mb.*run again") as caught:
        pool.run_all(killed, ["all-s0", "all-s1"], processes=2, threads=1, title="train seen", total=2)
    assert "\n" not in str(caught.value)
