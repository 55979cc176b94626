"""A local server that breaks off, sends wrong data or sends slowly, as a test asks for. Tests of downloads and a
benchmark use it."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STALL_S = 30.0
"""Seconds for which a stalling server sends nothing, unless the client hangs up earlier."""
GATHER_S = 30.0
"""Seconds after which a server that waits for more requests sends the bodies without them."""
GATHERED_BYTES = 4096
"""A smaller body is sent at once. A client asks for such ones to learn what the server can do."""

FAULTS = (
    "500",
    "503 later",
    "429 date",
    "reset",
    "reset half-way",
    "truncated",
    "stall",
    "says more bytes",
    "says fewer bytes",
)
"""The faults that may happen to a request. `later` and `date` send a `Retry-After` of seconds and of a date."""
LIES = ("always from the start", "another range", "other bytes", "no ranges", "another tag each time")
"""The wrong ways in which a server may treat ranges. If no range is asked for, the files are sent completely."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.server.body_of(self.path)
        if body is None:
            return self.send_error(404)
        fault = self.server.fault_of(self.path)
        self.server.count(self.path, fault)
        if fault in ("500", "503 later", "429 date"):
            return self._refuse(fault)
        if fault == "reset":
            return self._reset()
        first, last = self._range(body)
        return self._send(body, first, last, fault)

    def _refuse(self, fault):
        self.send_response(int(fault[:3]))
        if fault == "503 later":
            self.send_header("Retry-After", str(self.server.later_s))
        if fault == "429 date":
            self.send_header("Retry-After", formatdate(time.time() + self.server.later_s, usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _reset(self):
        # Without lingering the kernel sends RST in place of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.wfile = self.rfile = _Nowhere()

    def _range(self, body):
        """Return the range to send, or (None, None) for the whole file."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range") in (None, self._tag(body))
        if not asked or not is_same or self.server.lie == "no ranges":
            return None, None
        return int(asked[1]), min(int(asked[2] or len(body) - 1), len(body) - 1)

    def _tag(self, body):
        if self.server.lie == "another tag each time":
            return f'"{time.monotonic_ns()}"'
        return f'"{hashlib.sha256(body).hexdigest()[:16]}"'

    def _send(self, body, first, last, fault):
        whole = first is None
        part = body if whole else body[first : last + 1]
        if not whole and self.server.lie == "always from the start":
            part = body[: len(part)]
        if not whole and first and self.server.lie == "other bytes":
            part = bytes(byte ^ 1 for byte in part)
        if not whole and self.server.lie == "another range":
            first, last = first + 1, last + 1
        said = len(part) + {"says more bytes": 1000, "says fewer bytes": -(len(part) // 2)}.get(fault, 0)
        self.send_response(200 if whole else 206)
        self.send_header("Content-Type", "application/octet-stream")
        if self.server.says_size:
            self.send_header("Content-Length", str(said))
        else:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.send_header("ETag", self._tag(body))
        if not whole:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        self.end_headers()
        half = part[: len(part) // 2]
        if fault is None:
            if len(part) >= GATHERED_BYTES:
                self.server.gather()
            self.wfile.write(part)
            return
        self.close_connection = True
        if fault == "says more bytes":
            self.wfile.write(part)
        elif fault != "stall" or half:
            self.wfile.write(half)
        if fault == "reset half-way":
            self.wfile.flush()
            self._reset()
        if fault == "stall":
            self.server.over.wait(STALL_S)

    def log_message(self, *_):
        pass


class _Nowhere:
    """Takes the place of the files of a connection that was reset."""

    closed = False

    def write(self, data):
        return len(data)

    def flush(self):
        pass

    def close(self):
        pass

    def readline(self, *_):
        return b""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Do nothing, because a client may close the connection."""


@contextmanager
def breaking(
    bodies: dict[str, bytes] | Path, fault_of: Callable[[str], str | None] = lambda _path: None
) -> Iterator[_Server]:
    """Yield a running server. bodies: path → content, or the folder with the files.

    fault_of: what happens to the next request for a path; None answers it well. The server has `url`, `seen` (fault →
    number of requests), `asked` (path → number), and the settings `lie` (of LIES), `at_once` (no large body is sent
    before so many requests wait for theirs; then `gathered` is set), `later_s` (what it asks to wait) and `says_size`
    (of what it sends).
    """
    with _Server(("127.0.0.1", 0), _Handler) as server:
        guard = threading.Lock()
        server.seen, server.asked = Counter(), Counter()
        server.lie, server.over, server.later_s = None, threading.Event(), 1
        server.at_once, server.gathered, waiting = 0, threading.Event(), []
        server.says_size = True
        server.url = f"http://127.0.0.1:{server.server_port}"

        def body_of(path):
            if isinstance(bodies, dict):
                return bodies.get(path)
            file = bodies / path.lstrip("/")
            return file.read_bytes() if file.is_file() else None

        def guarded(path):
            with guard:
                return fault_of(path)

        def count(path, fault):
            with guard:
                server.seen[fault or "none"] += 1
                server.asked[path] += 1

        def gather():
            with guard:
                waiting.append(1)
                if len(waiting) >= server.at_once:
                    server.gathered.set()
            server.gathered.wait(GATHER_S)
            with guard:
                waiting.pop()

        server.body_of, server.fault_of, server.count, server.gather = body_of, guarded, count, gather
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
