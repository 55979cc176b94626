"""Fetches a file over one connection: asks for its missing part, recognises refusals, and checks the whole file.

There are four outcomes: the digest of the file, `NoSuchFileError`, `TransientError` (try again), or a PipelineError,
after which another try would not help.
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
from pipeline.acquire.patience import asked_to_wait_s
from pipeline.acquire.sources import ANOTHER_ADDRESS
from pipeline.config import Acquire
from pipeline.errors import PipelineError
from pipeline.progress import Progress

RETRIED = {408, 425, 429, 500, 502, 503, 504}
GONE = {404, 410}
ARCHIVE_SUFFIXES = (".zip", ".gz", ".tgz", ".tar")
ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b")
TAR_MAGIC_AT = 257
GZIP_SUFFIXES = (".gz", ".tgz")
GZIP_CODINGS = ("gzip", "x-gzip")
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "tr-detr-pipeline"}
PIECE_BYTES = 1 << 16
"""Number of bytes that are read at once. It is small, because a broken connection loses the piece being read."""
ANOTHER_FILE = f"it is another file: {ANOTHER_ADDRESS}, or name a folder with the file under acquire.local"


class NoSuchFileError(PipelineError):
    """There is no such file at the address (status 404 or 410), so trying again does not help."""


class TransientError(Exception):
    """A failure that may not occur at the next try. after_s: seconds that the server asks to wait."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


@dataclass(frozen=True)
class Wanted:
    """A file to get from `url` to `target`.

    name: what errors and the progress line call it. digest: the `algorithm:hex` that it must have. n_bytes: the size
    that it must have. remedy: what the user can do when another file is offered.
    """

    url: str
    target: Path
    name: str
    digest: str | None = None
    n_bytes: int | None = None
    remedy: str = ANOTHER_FILE

    @property
    def where(self) -> str:
        """The name and address, as errors show them."""
        return f"{self.name}: {self.url}"

    def check(self, path: Path, sha256: str) -> None:
        """Compare a whole file, whose SHA-256 is known, with what it must be. Raises PipelineError for another file."""
        self.check_size(path.stat().st_size)
        algorithm, _, wanted = (self.digest or f"sha256:{sha256}").partition(":")
        found = sha256 if algorithm == "sha256" else files.digest(path, algorithm)
        if found != wanted:
            raise PipelineError(
                f"the file has the {algorithm} digest {found}, and {wanted} was expected",
                where=self.where,
                remedy=self.remedy,
            )

    def check_size(self, found: int) -> None:
        """Compare a size with the wanted file's. Raises PipelineError for another size, and for an empty file."""
        if not found:
            raise PipelineError("is empty", where=self.where, remedy=ANOTHER_FILE)
        if self.n_bytes is not None and found != self.n_bytes:
            raise PipelineError(f"has {found:,} bytes, not {self.n_bytes:,}", where=self.where, remedy=self.remedy)

    def refuse_beyond(self, n_bytes: int, acquire: Acquire) -> None:
        """Raise PipelineError for more bytes than the file has, or than one of unknown size may have."""
        if self.n_bytes is not None and n_bytes > self.n_bytes:
            what = f"the server sends more than the {self.n_bytes:,} bytes of the file"
            raise PipelineError(what, where=self.where, remedy=self.remedy)
        key = "largest_archive_gb" if self.target.name.endswith(ARCHIVE_SUFFIXES) else "largest_file_gb"
        limit_gb = getattr(acquire, key)
        if self.n_bytes is None and n_bytes > limit_gb * 1e9:
            raise PipelineError(
                f"has more than {limit_gb:g} GB, and the table of sources does not list its size",
                where=self.where,
                remedy=f"if it is the right file, raise acquire.{key}; otherwise {ANOTHER_ADDRESS}",
            )


def receive(wanted: Wanted, partial: Partial, acquire: Acquire) -> str:
    """Get the rest of `wanted` over http or https, put the whole file under its target, and return its SHA-256.

    Raises NoSuchFileError, TransientError, or PipelineError (the server refuses, sends a web page, or sends another
    size or digest or too many bytes, or the file cannot be written).
    """
    version = partial.version(wanted.url)
    headers = HEADERS
    if version:
        headers = headers | {"Range": f"bytes={partial.size}-", "If-Range": version}
    try:
        with requests.get(wanted.url, headers=headers, stream=True, timeout=acquire.timeout_s) as response:
            _refuse_no_file(response, wanted, partial)
            _settle_coding(response, wanted)
            resumed = _is_rest(response, partial, version)
            total = size_of(response)
            if total is not None:
                wanted.check_size(total)
                wanted.refuse_beyond(total, acquire)
            _write(response, wanted, partial, acquire, resumed, total)
    except requests.RequestException as error:
        raise TransientError(reason_of(error, acquire.timeout_s)) from error
    except OSError as error:
        raise files.cannot_write(partial.path, error) from error
    if total is not None and partial.size != total:
        raise TransientError(f"the connection ended after {partial.size:,} of {total:,} bytes")
    try:
        wanted.check(partial.path, partial.sha256)
    except PipelineError as error:
        partial.drop()
        if resumed:  # The old part and the new part do not belong together, so the next try begins from the start.
            raise TransientError(error.what) from error
        raise
    try:
        partial.finish(wanted.target)
    except OSError as error:
        raise files.cannot_write(wanted.target, error) from error
    return partial.sha256


def _refuse_no_file(response: requests.Response, wanted: Wanted, partial: Partial) -> None:
    """Raise the fitting error for every answer that brings neither a file nor the rest of one."""
    status = response.status_code
    answer = f"{status} {response.reason}"
    if status in (200, 206):
        return
    if status == 416:
        if response.headers.get("Content-Range") == f"bytes */{partial.size}":
            return  # The server says that no byte is missing.
        partial.drop()
        raise TransientError("the file on the server is shorter than the part that was fetched before")
    if status in GONE:
        raise NoSuchFileError(
            f"no such file ({answer})", where=wanted.where, remedy=f"correct the address, {ANOTHER_ADDRESS}"
        )
    if status in RETRIED:
        raise TransientError(f"the server answers {answer}", asked_to_wait_s(response))
    raise PipelineError(
        f"the request was refused ({answer})",
        where=wanted.where,
        remedy=f"{ANOTHER_ADDRESS}, or name a folder with the file under acquire.local",
    )


def _settle_coding(response: requests.Response, wanted: Wanted) -> None:
    """Decide whether the packed bytes of an answer are the file, or only packed for the transfer.

    No packing was requested, but some servers pack anyway. A server often announces a stored `.gz` file as packed for
    the transfer. Then the packed bytes are the file. Raises PipelineError for a packing that cannot be undone.
    """
    coding = response.headers.get("Content-Encoding", "identity").lower()
    is_page = "html" in response.headers.get("Content-Type", "")
    is_the_file = coding in GZIP_CODINGS and wanted.target.name.endswith(GZIP_SUFFIXES) and not is_page
    if coding == "identity" or is_the_file:
        response.headers.pop("Content-Encoding", None)
        response.raw.headers.pop("Content-Encoding", None)  # urllib3 reads this header to decide whether to unpack.
    elif coding not in GZIP_CODINGS:
        raise PipelineError(
            f"the server sends it packed as {coding!r}, which cannot be unpacked here",
            where=wanted.where,
            remedy=ANOTHER_ADDRESS,
        )


def _is_rest(response: requests.Response, partial: Partial, version: str | None) -> bool:
    """Tell whether the answer continues the file where it broke off (True) or begins it anew (False).

    Raises TransientError when it does neither.
    """
    if response.status_code == 200:
        return False
    begins = response.headers.get("Content-Range", "").startswith((f"bytes {partial.size}-", "bytes */"))
    # The range of a packed answer counts packed bytes, so it says nothing about the file.
    packed = "Content-Encoding" in response.headers
    if not begins or packed or version_of(response) not in (version, None):
        partial.drop()
        raise TransientError("the server continued with other bytes than were asked for")
    return True


def size_of(response: requests.Response) -> int | None:
    """Return the size of the whole file in bytes, or None when the server does not say it."""
    if response.status_code != 200:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        size = "" if "Content-Encoding" in response.headers else response.headers.get("Content-Length", "")
    return int(size) if size.isdigit() else None


def version_of(response: requests.Response) -> str | None:
    """Return the value that names this version of the file in a later `If-Range` header, or None. Weak entity tags
    cannot be used."""
    if "Content-Encoding" in response.headers:
        return None
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _write(
    response: requests.Response, wanted: Wanted, partial: Partial, acquire: Acquire, resumed: bool, total: int | None
) -> None:
    pieces = response.iter_content(PIECE_BYTES)
    if not resumed:  # The beginning is looked at before `start` deletes what an earlier try brought.
        beginning = _beginning(pieces)
        if not beginning:
            wanted.check_size(0)
        _refuse_web_page(beginning, response.headers.get("Content-Type", ""), wanted)
        pieces = chain([beginning], pieces)
    held = partial.size if resumed else 0
    with (
        # The progress line opens first, because `go_on` reads all bytes that are here, which may take a while.
        Progress(total, "B", wanted.name, done=held) as shown,
        partial.go_on() if resumed else partial.start(wanted.url, version_of(response)) as file,
    ):
        if response.status_code == 416:
            return
        for piece in pieces:
            held += len(piece)
            try:
                wanted.refuse_beyond(held, acquire)
            except PipelineError:
                partial.drop()
                raise
            partial.write(file, piece)
            shown.add(len(piece))


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """Return the first PIECE_BYTES of a file or a little more, or the whole file if it is shorter.

    A server may send very small pieces. One of them would not show what kind of file it is.
    """
    found = b""
    while len(found) < PIECE_BYTES and (piece := next(pieces, b"")):
        found += piece
    return found


def _refuse_web_page(first: bytes, content_type: str, wanted: Wanted) -> None:
    """Raise PipelineError for a web page in place of a file: large hosts refuse with a page and status 200."""
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
        raise PipelineError(
            f"the server sent a web page{said} instead of the file", where=wanted.where, remedy=ANOTHER_ADDRESS
        )
    is_archive = first.startswith(ARCHIVE_STARTS) or first[TAR_MAGIC_AT:].startswith(b"ustar")
    if wanted.target.name.endswith(ARCHIVE_SUFFIXES) and not is_archive:
        raise PipelineError(
            "the server sent something that is not an archive", where=wanted.where, remedy=ANOTHER_ADDRESS
        )


def reason_of(error: requests.RequestException, timeout_s: float) -> str:
    """Return the innermost cause of a failed request, in one line."""
    if isinstance(error, requests.Timeout):
        return f"no answer for {timeout_s:g} s"
    return f"the connection failed ({innermost(error).rpartition(': ')[2]})"


def innermost(error: Exception) -> str:
    """Return the text of the error that caused the other ones around it."""
    cause: BaseException = error
    while isinstance(inner := getattr(cause, "reason", None) or next(iter(cause.args), None), BaseException):
        cause = inner
    return str(cause.args[-1] if cause.args else cause)
