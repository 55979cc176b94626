"""A local server that offers files as told: cut, in chunks, packed, under changing tags, or refused at first."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(BODY).hexdigest()


@dataclass
class Offer:
    """The answers of the server for one path. statuses: of the first answers. cut: the byte at which each answer breaks
    off.

    chunks: lengths in which the file is sent instead, its size unsaid. tags: of the first answers; the last one stays.
    """

    body: bytes = BODY
    cut: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    chunks: list[int] | None = None
    tags: list[str] = field(default_factory=list)
    coding: str | None = None
    tag: str | None = '"v1"'
    content_type: str = "application/octet-stream"
    seen: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # chunks are of this version

    def do_GET(self):
        offer = self.server.offers.get(self.path)
        if offer is None:
            return self.send_error(404)
        asked = self.headers.get("Range")
        offer.seen.append(asked)
        if offer.tags:
            offer.tag = offer.tags.pop(0)
        if offer.statuses and (status := offer.statuses.pop(0)) != 200:
            return self.send_error(status)
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        resumes = bool(asked) and offer.ranges and self.headers.get("If-Range") == offer.tag
        if resumes and start >= len(offer.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(offer.body)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self.send_file(offer, start if resumes else None)

    def send_file(self, offer, start):
        resumes = start is not None
        rest = offer.body[start:] if resumes else offer.body
        self.send_response(206 if resumes else 200)
        self.send_header("Connection", "close")
        if offer.chunks is None:
            self.send_header("Content-Length", str(len(rest)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Content-Type", offer.content_type)
        if offer.coding:
            self.send_header("Content-Encoding", offer.coding)
        if offer.tag:
            self.send_header("ETag", offer.tag)
        if resumes:
            self.send_header("Content-Range", f"bytes {start}-{len(offer.body) - 1}/{len(offer.body)}")
        self.end_headers()
        if offer.chunks is None:
            self.wfile.write(rest[: offer.cut.pop(0)] if offer.cut else rest)
        else:
            self.send_chunks(rest, offer.chunks)

    def send_chunks(self, rest, lengths):
        for length in [*lengths, len(rest)]:
            if chunk := rest[:length]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            rest = rest[length:]
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


@contextmanager
def offering() -> Iterator[ThreadingHTTPServer]:
    """Yield a running server with `url`, and with `offers`: path → Offer. Other paths are 404."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.offers = {}
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()
