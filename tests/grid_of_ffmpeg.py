"""Returns the frames that FFmpeg's own fps filter shows, as the reference for the frame grid."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import av
from made_videos import decoded, filtered, start_of

from pipeline.video.probe import VideoFacts


def luma(frame):
    return hash(bytes(frame.planes[0]))


def shown_by_ffmpeg(path, rate):
    """Return (first n, for each grid frame the source indices that look like it), found by their pixels."""
    source = defaultdict(list)
    for k, frame in enumerate(decoded(path)):
        source[luma(frame)].append(k)
    out = filtered(path, ("fps", str(rate)))
    return out[0].pts if out else 0, [source[luma(frame)] for frame in out]


def last_packet_end(path):
    """Return the time at which today's FFmpeg ends its grid. The grid here ends at the stored duration."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        ends = [(p.pts + p.duration) * p.time_base for p in file.demux(stream) if p.size]
        return max(ends) - start_of(file, stream) * stream.time_base


def facts_of(duration, stored=True, fps=30):
    pts = tuple(range(int(Fraction(duration) * fps)))
    return VideoFacts(None, "h264", 64, 48, Fraction(fps), Fraction(duration), stored, Fraction(1, fps), pts)
