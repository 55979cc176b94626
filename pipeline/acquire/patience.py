"""The waiting times of a download: for its turn at a host, after a failure, and when a server asks it to wait.

The turns at a host are shared by all processes of one user on one machine, because the jobs of many shards ask the same
host. They are kept in a small file per host. Jobs on other machines of a cluster do not see this file, so a limit there
counts per machine.
"""

from __future__ import annotations

import os
import random
import re
import stat
import tempfile
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests

from pipeline import locks
from pipeline.config import Acquire

BACKOFF_S = 1.0
"""Largest number of seconds to wait after the first try without progress. Each further such try doubles this number."""
LONGEST_BACKOFF_S = 60.0
ANY_HOST = "*"
"""The key of `acquire.requests_per_minute` that stands for all hosts that are not named there."""


def backoff_s(useless: int) -> float:
    """Return the seconds to wait, 0 or more. useless: the number of tries without progress.

    The wait is drawn at random from the upper half of its range. Jobs that a server turned away together then do not
    come back together.
    """
    longest = min(LONGEST_BACKOFF_S, BACKOFF_S * 2.0 ** max(useless - 1, 0))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret depends on it


def asked_to_wait_s(response: requests.Response) -> float:
    """Return the seconds that an answer's `Retry-After` asks to wait; 0 without one, or for one that cannot be read.

    The header holds seconds or a date (RFC 9110, section 10.2.3). A date is compared with the server's own clock, if
    the answer gives it, because the clock of this machine may be wrong.
    """
    asked = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,18}", asked):
        return float(asked)
    until, now = _seconds_of(asked), _seconds_of(response.headers.get("Date", ""))
    return 0.0 if until is None else max(0.0, until - (time.time() if now is None else now))


def _seconds_of(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def wait_for_turn(url: str, acquire: Acquire) -> None:
    """Wait until the limit of the address's host allows one more request. Hosts without a limit are asked at once."""
    host = urlsplit(url).hostname or ""
    limit = acquire.requests_per_minute.get(host, acquire.requests_per_minute.get(ANY_HOST))
    if limit is not None:
        time.sleep(_reserve(host, 60.0 / limit))


def _reserve(host: str, every_s: float) -> float:
    """Take the next free turn at a host, and return the seconds until then. every_s: seconds between two turns."""
    place = _folder() / re.sub(r"[^A-Za-z0-9.-]", "_", host)
    with locks.lock(place, wait=True, quiet=True):
        now = time.time()
        written, free = _read(place)
        # A record from the future means that the clock was set back, and then its times say nothing.
        turn = max(now, free) if written <= now else now
        place.write_text(f"{now} {turn + every_s}", encoding="ascii")
    return turn - now


def _read(place: Path) -> tuple[float, float]:
    """Return when a record was written, and when the next turn is free. A damaged record counts as none."""
    try:
        written, free = map(float, place.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return 0.0, 0.0
    return written, free


def _folder() -> Path:
    """Return the folder of the records: a folder of the user's own below the temporary folder of the machine.

    A folder of that name that is somebody else's is not used, and a new one takes its place for this process.
    """
    folder = Path(tempfile.gettempdir(), f"tr-detr-hosts-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    is_own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()
    return folder if is_own else Path(tempfile.mkdtemp(prefix="tr-detr-hosts-"))
