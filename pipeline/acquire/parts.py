"""Fetches a large file over several connections at once, for servers that send slowly on each connection.

The file is divided into segments of 4 MiB. A segment counts when all its bytes are on disk, so a killed download loses
at most one segment per connection. The single connection of `transfer.py` is used if a server cannot send ranges, or
sends other ranges than it was asked for. It is also used if the digest of the joined file is wrong.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import requests

from pipeline import files
from pipeline.acquire import patience
from pipeline.acquire.transfer import HEADERS, PIECE_BYTES, RETRIED, TransientError, Wanted, reason_of, version_of
from pipeline.config import Acquire
from pipeline.errors import PipelineError
from pipeline.progress import Progress

SEGMENT = 4 << 20
FEWEST = 4
"""Smallest number of segments of a file. A smaller file is fetched over one connection."""
OVERLAP = 512
"""Number of bytes that the first two requests have in common. A server that ignores ranges sends different bytes for
this part."""


class _NoRangesError(Exception):
    """The server does not send the range that it was asked for."""


class Parts:
    """The segments of one unfinished file, which lie beside its target and survive a killed job.

    version: the entity tag or date of the file that the segments belong to, None before the server was asked.
    """

    def __init__(self, wanted: Wanted, acquire: Acquire) -> None:
        self.wanted, self.acquire = wanted, acquire
        target = wanted.target
        self.path, self.done, self.note = (
            target.with_name(f".{target.name}.{end}") for end in ("parts", "parts.done", "parts.json")
        )
        self.version: str | None = None
        self.total = 0

    @property
    def held(self) -> int:
        """Number of bytes in complete segments."""
        return sum(self._marks()) * SEGMENT

    def receive(self) -> str | None:
        """Fetch what is missing, put the whole file under its target, and return its SHA-256.

        Returns None, and leaves no files, if this server or this file needs a single connection. Raises TransientError
        for a failure that may not occur at the next try, and PipelineError if the file cannot be written.
        """
        try:
            if not self._is_offered():
                self.drop()
                return None
            self._begin()
            self._fetch_segments()
            sha256 = files.sha256(self.path)
            try:
                self.wanted.check(self.path, sha256)
            except PipelineError:
                self.drop()
                return None  # The single connection finds out whether the ranges or the file are wrong.
            files.put_in_place(self.path, self.wanted.target)
        except _NoRangesError:
            self.drop()
            return None
        except OSError as error:
            raise files.cannot_write(self.path, error) from error
        self.drop()
        return sha256

    def drop(self) -> None:
        """Delete all segments."""
        for path in (self.note, self.done, self.path):
            path.unlink(missing_ok=True)

    def _is_offered(self) -> bool:
        """Ask for two ranges that overlap. Returns whether the server sends ranges of a file that is large enough."""
        ends = []
        for first in (0, OVERLAP):
            try:
                with self._asked(first, first + 2 * OVERLAP - 1) as response:
                    self.total = int(response.headers["Content-Range"].rpartition("/")[2])
                    self.version = version_of(response)
                    ends.append(b"".join(response.iter_content(PIECE_BYTES)))
            except (KeyError, ValueError):
                return False
        self.wanted.check_size(self.total)
        self.wanted.refuse_beyond(self.total, self.acquire)
        return self.version is not None and self.total >= FEWEST * SEGMENT and ends[0][OVERLAP:] == ends[1][:OVERLAP]

    def _begin(self) -> None:
        """Keep the segments that are here if they belong to this version of the file. Otherwise start again."""
        known = {"url": self.wanted.url, "version": self.version, "total": self.total, "segment": SEGMENT}
        n = -(-self.total // SEGMENT)
        with suppress(PipelineError):
            if self.path.is_file() and len(self._marks()) == n and files.read_json(self.note) == known:
                return
        self.drop()
        files.write_json(self.note, known)
        with open(self.path, "wb") as file:
            file.truncate(self.total)
        self.done.write_bytes(bytes(n))

    def _marks(self) -> bytes:
        """Return a byte per segment, 1 where it is complete."""
        return self.done.read_bytes() if self.done.is_file() else b""

    def _fetch_segments(self) -> None:
        waiting = deque(k for k, mark in enumerate(self._marks()) if not mark)
        troubles: list[Exception] = []
        adding = threading.Lock()

        def work() -> None:
            while waiting and not troubles:
                with suppress(IndexError):
                    k = waiting.popleft()
                    try:
                        n = self._fetch_segment(k, data, marks)
                    except Exception as error:
                        troubles.append(error)
                        return
                    with adding:
                        shown.add(n)

        data, marks = os.open(self.path, os.O_RDWR), os.open(self.done, os.O_RDWR)
        try:
            with (
                Progress(self.total, "B", self.wanted.name, done=min(self.held, self.total)) as shown,
                ThreadPoolExecutor(self.acquire.connections) as connections,
            ):
                for _ in range(self.acquire.connections):
                    connections.submit(work)
        finally:
            os.close(data)
            os.close(marks)
        if troubles:
            raise next((error for error in troubles if isinstance(error, _NoRangesError)), troubles[0])

    def _fetch_segment(self, k: int, data: int, marks: int) -> int:
        """Write one segment to the file and mark it. Returns its number of bytes."""
        first, end = k * SEGMENT, min((k + 1) * SEGMENT, self.total)
        at = first
        with self._asked(first, end - 1) as response:
            for piece in response.iter_content(PIECE_BYTES):
                if at + len(piece) > end:
                    raise _NoRangesError
                os.pwrite(data, piece, at)
                at += len(piece)
        if at != end:
            raise TransientError(f"the connection ended after {at - first:,} of {end - first:,} bytes")
        os.fdatasync(data)
        os.pwrite(marks, b"\1", k)
        return end - first

    @contextmanager
    def _asked(self, first: int, last: int) -> Iterator[requests.Response]:
        """Ask for a range. Raises _NoRangesError for any answer that is not exactly that range of this version."""
        headers = HEADERS | {"Range": f"bytes={first}-{last}"}
        if self.version is not None:
            headers["If-Range"] = self.version
        url, timeout_s = self.wanted.url, self.acquire.timeout_s
        patience.wait_for_turn(url, self.acquire)
        try:
            with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
                if response.status_code in RETRIED:
                    answer = f"{response.status_code} {response.reason}"
                    raise TransientError(f"the server answers {answer}", patience.asked_to_wait_s(response))
                is_range = response.headers.get("Content-Range", "").startswith(f"bytes {first}-{last}/")
                is_same = self.version in (None, version_of(response))
                if response.status_code != 206 or not is_range or not is_same or "Content-Encoding" in response.headers:
                    raise _NoRangesError
                yield response
        except requests.RequestException as error:
            raise TransientError(reason_of(error, timeout_s)) from error
