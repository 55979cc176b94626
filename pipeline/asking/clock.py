"""Times of a video as people and editing programs read them."""

from __future__ import annotations

from fractions import Fraction


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds with one decimal, and with hours if there are any: `2:05.5`."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


def timecode(seconds: float | Fraction, rate: int) -> str:
    """Return seconds as hours, minutes, seconds and frames at a whole rate, without drop frames: `00:02:05:12`."""
    frames = round(seconds * rate)
    whole, frame = divmod(frames, rate)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}:{frame:02d}"
