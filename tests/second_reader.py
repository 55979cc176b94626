"""decord, the second reader of the tests: it seeks, so it is fast where few frames are wanted, and sometimes wrong."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from pipeline.video.views import cropped, size_224

needs_decord = pytest.mark.skipif(find_spec("decord") is None, reason="no decord wheel for this platform")


class RefusedError(Exception):
    """decord cannot read this file, or its times are not those of the packets."""


def by_decord(facts, indices):
    """The 224-frames at source indices, uint8 RGB [n, 224, 224, 3]."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    size = size_224(facts.width, facts.height)
    try:
        reader = decord.VideoReader(str(facts.path.absolute()), width=size.width, height=size.height, num_threads=1)
        _check_times(reader, facts)
        return cropped(reader.get_batch(indices).asnumpy(), size.y, size.x)
    except (decord.DECORDError, RuntimeError) as error:
        raise RefusedError from error


def _check_times(reader, facts):
    """decord counts from the first frame, and gives frames that an edit list hides negative times."""
    times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    times = times[times >= 0]
    exact = np.array(facts.pts) * float(facts.time_base)
    if len(times) != len(exact) or np.abs(times - times[0] - exact + exact[0]).max() > 1 / (2 * facts.rate):
        raise RefusedError
