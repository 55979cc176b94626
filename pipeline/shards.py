"""A shard is a fixed part of the videos of a dataset. It is known before any annotation is downloaded.

A hash of the vid decides its shard. So a video stays in its shard when other videos are added or removed, and a dry run
can plan every job of a dataset that has not been downloaded yet. A query belongs to the shard of its video.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from pipeline.errors import PipelineError

MOST_SHARDS = 100_000
"""The largest number of shards: every path names a shard by five digits."""

PARTS = 1_000_000
"""Number of parts into which videos are divided for a sample."""


def shard_of(vid: str, n: int) -> int:
    """Return the number of the shard of a video, from 0 to n - 1. n: the number of shards."""
    return int.from_bytes(sha256(vid.encode()).digest()[:8], "big") % n


def is_in_sample(video: str, share: float) -> bool:
    """Tell whether a video belongs to a sample of all videos. share: from 0 to 1. A larger sample contains all videos
    of a smaller one."""
    return shard_of(video, PARTS) < share * PARTS


def shard_name(number: int) -> str:
    """Return the name of a shard in every path: five digits."""
    return f"{number:05d}"


def shard_names(n: int) -> list[str]:
    """Return the names of all `n` shards, in order."""
    return [shard_name(number) for number in range(n)]


def vids_of_shard(vids: Iterable[str], shard: str, n: int) -> list[str]:
    """Return those of `vids` that belong to this shard, each once, sorted. n: the number of shards.

    Raises PipelineError for a name that none of the `n` shards has.
    """
    if shard not in shard_names(n):
        raise PipelineError(f"no shard {shard!r}", remedy=f"name one of 00000 to {shard_name(n - 1)}")
    return sorted({vid for vid in vids if shard_name(shard_of(vid, n)) == shard})
