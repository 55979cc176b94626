"""Shards: a fixed part of a dataset's videos, known before any annotation is here.

Membership is a hash of the vid, so a video stays in its shard whatever else is added or taken away, and a dry run can
plan every job of a dataset that has not been downloaded yet. A query lives in its video's shard.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from pipeline.errors import PipelineError

PARTS = 1_000_000
"""Into how many parts videos are divided for a sample."""


def shard_of(vid: str, n: int) -> int:
    """Number of the shard, 0 to n - 1, that a video belongs to among `n`."""
    return int.from_bytes(sha256(vid.encode()).digest()[:8], "big") % n


def is_in_sample(video: str, share: float) -> bool:
    """Whether a video is among a share of all videos, from 0 to 1. A larger share holds all of a smaller one."""
    return shard_of(video, PARTS) < share * PARTS


def shard_name(number: int) -> str:
    """A shard's name in every path: five digits."""
    return f"{number:05d}"


def shard_names(n: int) -> list[str]:
    """Names of all `n` shards, in order."""
    return [shard_name(number) for number in range(n)]


def vids_of_shard(vids: Iterable[str], shard: str, n: int) -> list[str]:
    """Those of `vids` that live in the shard of that name among `n`, each once, sorted.

    Raises PipelineError for a name that no shard of `n` has.
    """
    if shard not in shard_names(n):
        raise PipelineError(f"no shard {shard!r}", remedy=f"name one of 00000 to {shard_name(n - 1)}")
    return sorted({vid for vid in vids if shard_name(shard_of(vid, n)) == shard})
