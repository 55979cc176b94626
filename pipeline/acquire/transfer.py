"""One connection: ask for what is missing of a file, tell a file from a refusal, check the whole.

What comes back is one of four: the file's digest, `NoSuchFileError`, `TransientError` (try again), or a
PipelineError that no second try would cure.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import requests

from pipeline import files
from pipeline.acquire.partial import Partial
from pipeline.errors import PipelineError
from pipeline.progress import Progress

RETRIED = {408, 425, 429, 500, 502, 503, 504}
GONE = {404, 410}
ARCHIVE_SUFFIXES = (".zip", ".gz", ".tgz", ".tar")
ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b")
TAR_MAGIC_AT = 257
GZIP_SUFFIXES = (".gz", ".tgz")
GZIP_CODINGS = ("gzip", "x-gzip")
PIECE_BYTES = 1 << 16
"""What is read at once: a connection that breaks loses the piece at hand, so small."""
ANOTHER_FILE = (
    "it is another file: name a mirror in the table of sources, or a folder with the file under acquire.local"
)


class NoSuchFileError(PipelineError):
    """There is no such file at the address (404, 410): trying again is of no use."""


class TransientError(Exception):
    """Something that may work next time. after_s: seconds the server asks to wait."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


@dataclass(frozen=True)
class Wanted:
    """A file to get: from `url` to `target`. digest: `algorithm:hex` it must have; n_bytes: size it must have.

    name: what errors and the progress line call it. remedy: what to do when another file is offered.
    """

    url: str
    target: Path
    name: str
    digest: str | None = None
    n_bytes: int | None = None
    remedy: str = ANOTHER_FILE

    @property
    def where(self) -> str:
        """The place, as errors name it."""
        return f"{self.name}: {self.url}"

    def check(self, path: Path, sha256: str) -> None:
        """Compare a whole file, whose SHA-256 is known, with what it must be. Raises PipelineError for another file."""
        self.check_size(path.stat().st_size)
        algorithm, _, wanted = (self.digest or f"sha256:{sha256}").partition(":")
        found = sha256 if algorithm == "sha256" else files.digest(path, algorithm)
        if found != wanted:
            raise PipelineError(f"has {algorithm} {found}, not {wanted}", where=self.where, remedy=self.remedy)

    def check_size(self, found: int) -> None:
        """Raises PipelineError for a size that the wanted file has not; none is empty."""
        if not found:
            raise PipelineError("is empty", where=self.where, remedy=ANOTHER_FILE)
        if self.n_bytes is not None and found != self.n_bytes:
            raise PipelineError(f"has {found:,} bytes, not {self.n_bytes:,}", where=self.where, remedy=self.remedy)


def receive(wanted: Wanted, partial: Partial, timeout_s: float) -> str:
    """Get the rest of `wanted` over http or https and put the whole under its target; return its SHA-256.

    Raises NoSuchFileError, TransientError, or PipelineError: refused, a web page, another size or digest, no place.
    """
    version = partial.version(wanted.url)
    headers = {"Accept-Encoding": "identity", "User-Agent": "tr-detr-pipeline"}
    if version:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": version}
    try:
        with requests.get(wanted.url, headers=headers, stream=True, timeout=timeout_s) as response:
            _refuse_no_file(response, wanted, partial)
            _settle_coding(response, wanted)
            resumed = _is_rest(response, partial, version)
            total = _total(response)
            if total is not None:
                wanted.check_size(total)
            _write(response, wanted, partial, resumed, total)
    except requests.RequestException as error:
        raise TransientError(_reason(error, timeout_s)) from error
    except OSError as error:
        raise files.cannot_write(partial.path, error) from error
    if total is not None and partial.size != total:
        raise TransientError(f"the connection ended after {partial.size:,} of {total:,} bytes")
    try:
        wanted.check(partial.path, partial.sha256)
    except PipelineError as error:
        partial.drop()
        if resumed:  # two halves that do not belong together: once more, from the beginning
            raise TransientError(error.what) from error
        raise
    try:
        partial.finish(wanted.target)
    except OSError as error:
        raise files.cannot_write(wanted.target, error) from error
    return partial.sha256


def _refuse_no_file(response: requests.Response, wanted: Wanted, partial: Partial) -> None:
    """Raise for every answer that brings neither a file nor its rest."""
    status = response.status_code
    answer = f"{status} {response.reason}"
    if status in (200, 206):
        return
    if status == 416:
        if response.headers.get("Content-Range") == f"bytes */{partial.size}":
            return  # everything was here already
        partial.drop()
        raise TransientError("the server has a shorter file than the one begun")
    if status in GONE:
        raise NoSuchFileError(
            f"no such file ({answer})", where=wanted.where, remedy="correct the address or name a mirror"
        )
    if status in RETRIED:
        after = response.headers.get("Retry-After", "")
        raise TransientError(f"the server answers {answer}", float(after) if after.isdigit() else 0.0)
    raise PipelineError(
        f"refused ({answer})", where=wanted.where, remedy="name a mirror, or a local copy under acquire.local"
    )


def _settle_coding(response: requests.Response, wanted: Wanted) -> None:
    """Tell the file from what it is packed in for the way. None was asked for, but some servers pack all the same.

    A `.gz` that lies on a server is often announced as something packed: there the packed bytes are the file.
    Raises PipelineError for a packing that cannot be undone.
    """
    coding = response.headers.get("Content-Encoding", "identity").lower()
    is_page = "html" in response.headers.get("Content-Type", "")
    is_the_file = coding in GZIP_CODINGS and wanted.target.name.endswith(GZIP_SUFFIXES) and not is_page
    if coding == "identity" or is_the_file:
        response.headers.pop("Content-Encoding", None)
        response.raw.headers.pop("Content-Encoding", None)  # where urllib3 sees whether to unpack
    elif coding not in GZIP_CODINGS:
        raise PipelineError(f"comes packed as {coding!r}", where=wanted.where, remedy="name a mirror")


def _is_rest(response: requests.Response, partial: Partial, version: str | None) -> bool:
    """Whether the answer goes on where the file broke off, else it starts anew. Raises TransientError if neither."""
    if response.status_code == 200:
        return False
    begins = response.headers.get("Content-Range", "").startswith((f"bytes {partial.size}-", "bytes */"))
    packed = "Content-Encoding" in response.headers  # then the range counts packed bytes
    if not begins or packed or _version(response) not in (version, None):
        partial.drop()
        raise TransientError("the server went on with other bytes than asked for")
    return True


def _total(response: requests.Response) -> int | None:
    """Size of the whole file in bytes, where the server says."""
    if response.status_code != 200:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        size = "" if "Content-Encoding" in response.headers else response.headers.get("Content-Length", "")
    return int(size) if size.isdigit() else None


def _version(response: requests.Response) -> str | None:
    """What names this version of the file in a later `If-Range`, where weak tags may not stand."""
    if "Content-Encoding" in response.headers:
        return None
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _write(response: requests.Response, wanted: Wanted, partial: Partial, resumed: bool, total: int | None) -> None:
    pieces = response.iter_content(PIECE_BYTES)
    if not resumed:  # looked at before `start` drops what an earlier try brought
        beginning = _beginning(pieces)
        if not beginning:
            wanted.check_size(0)
        _refuse_web_page(beginning, response.headers.get("Content-Type", ""), wanted)
        pieces = chain([beginning], pieces)
    held = partial.size if resumed else 0
    with (
        Progress(total, "B", wanted.name, done=held) as shown,  # first: to go on, all that is here is read
        partial.go_on() if resumed else partial.start(wanted.url, _version(response)) as file,
    ):
        if response.status_code == 416:
            return
        for piece in pieces:
            partial.write(file, piece)
            shown.add(len(piece))


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """PIECE_BYTES of a file and little more, or all of it: a server may send crumbs that look like nothing."""
    found = b""
    while len(found) < PIECE_BYTES and (piece := next(pieces, b"")):
        found += piece
    return found


def _refuse_web_page(first: bytes, content_type: str, wanted: Wanted) -> None:
    """Raise PipelineError for a page where a file should be: big hosts refuse with one, and with status 200."""
    start = first.removeprefix(codecs.BOM_UTF8).lstrip()[:64].lower()
    is_page = start.startswith((b"<!doctype html", b"<html")) or (start.startswith(b"<") and "html" in content_type)
    if is_page and b"quota" in first.lower():
        raise PipelineError(
            "the host's download quota for this file is used up",
            where=wanted.where,
            remedy="run again tomorrow, or put the file into a folder named under acquire.local",
        )
    if is_page:
        title = re.search(rb"<title>(.*?)</title>", first, re.DOTALL | re.IGNORECASE)
        said = f" ({' '.join(title[1].decode(errors='replace').split())[:80]})" if title else ""
        raise PipelineError(f"a web page{said} came instead of the file", where=wanted.where, remedy="name a mirror")
    is_archive = first.startswith(ARCHIVE_STARTS) or first[TAR_MAGIC_AT:].startswith(b"ustar")
    if wanted.target.name.endswith(ARCHIVE_SUFFIXES) and not is_archive:
        raise PipelineError("something came that is no archive", where=wanted.where, remedy="name a mirror")


def _reason(error: requests.RequestException, timeout_s: float) -> str:
    """The innermost cause, in one line."""
    if isinstance(error, requests.Timeout):
        return f"no answer for {timeout_s:g} s"
    cause: BaseException = error
    while isinstance(inner := getattr(cause, "reason", None) or next(iter(cause.args), None), BaseException):
        cause = inner
    return f"the connection failed ({str(cause.args[-1] if cause.args else cause).rpartition(': ')[2]})"
