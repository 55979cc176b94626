"""Asks servers whether a file is still there. Only headers are requested, or the first byte if a server does not answer
such a request.

Each host gets one request at a time, and several hosts are asked at the same time.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from pipeline.acquire.transfer import HEADERS, RETRIED, innermost, size_of

NO_HEAD = (400, 401, 403, 404, 405, 501)
"""Statuses with which some servers answer to HEAD, although they send the file: the first byte is then asked for."""
HOSTS_AT_ONCE = 8
SLOW_S = 3.0
"""An answer that takes at least this number of seconds counts as slow."""


@dataclass(frozen=True)
class Answer:
    """The answer of a server. alive: whether the file is there. n_bytes: its size, or None if the server does not give
    it.

    why: the reason if it is not alive. has_said: whether the server answered at all, perhaps with a refusal. is_page:
    whether the answer is a web page. is_busy: whether a later try may succeed.
    """

    alive: bool
    why: str = ""
    n_bytes: int | None = None
    seconds: float = 0.0
    has_said: bool = True
    is_page: bool = False
    is_busy: bool = False


def ask(url: str, timeout_s: float) -> Answer:
    """Ask for the headers of an address, and for its first byte if HEAD is refused. This function raises nothing."""
    began = time.monotonic()
    try:
        answer = _asked("HEAD", url, timeout_s)
        if not answer.alive and answer.status in NO_HEAD:
            answer = _asked("GET", url, timeout_s)
    except requests.Timeout:
        return Answer(False, f"no answer for {timeout_s:g} s", seconds=time.monotonic() - began, has_said=False)
    except (requests.RequestException, UnicodeError, ValueError) as error:
        return Answer(False, _reason(error), seconds=time.monotonic() - began, has_said=False)
    return Answer(
        answer.alive,
        answer.why,
        answer.n_bytes,
        time.monotonic() - began,
        True,
        answer.is_page,
        answer.status in RETRIED,
    )


@dataclass(frozen=True)
class _Said:
    status: int
    alive: bool
    why: str
    n_bytes: int | None
    is_page: bool


def _asked(method: str, url: str, timeout_s: float) -> _Said:
    headers = HEADERS | ({"Range": "bytes=0-0"} if method == "GET" else {})
    with requests.request(
        method, url, headers=headers, timeout=timeout_s, stream=True, allow_redirects=True
    ) as response:
        status, alive = response.status_code, response.status_code in (200, 206)
        why = "" if alive else f"{status} {response.reason}"
        if status in RETRIED and (after := response.headers.get("Retry-After")):
            why += f", asks to wait {after}" + (" s" if after.isdigit() else "")
        is_page = "html" in response.headers.get("Content-Type", "")
        return _Said(status, alive, why, size_of(response), is_page)


def _reason(error: Exception) -> str:
    """Return the innermost cause of a failed request, in a few words."""
    said = innermost(error)
    if "resolve" in said:
        return "its name cannot be resolved"
    said = said.rpartition(": ")[2]
    return f"no connection ({said[:100]})"


def ask_all(urls: Iterable[str], timeout_s: float, ask_one: Callable[[str, float], Answer] = ask) -> dict[str, Answer]:
    """Ask all addresses. Each host is asked one of its addresses at a time, and HOSTS_AT_ONCE hosts are asked at the
    same time.

    A host that did not answer twice is not asked again.
    """
    by_host: Mapping[str, list[str]] = defaultdict(list)
    for url in dict.fromkeys(urls):
        by_host[urlsplit(url).netloc].append(url)
    found: dict[str, Answer] = {}

    def ask_host(of_host: list[str]) -> None:
        silent = 0
        for url in of_host:
            if silent >= 2:
                found[url] = Answer(False, "not asked: this host did not answer twice", has_said=False)
                continue
            found[url] = ask_one(url, timeout_s)
            silent += not found[url].has_said

    with ThreadPoolExecutor(HOSTS_AT_ONCE) as pool:
        list(pool.map(ask_host, by_host.values()))
    return found
