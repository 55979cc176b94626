"""Checks the servers of the run: by default one address of each host, and with `--links` every address of every source.

Only headers are requested. `--links` also writes when each address last answered into a small file under
results/resources/. The doctor writes no other file that stays.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pipeline import files
from pipeline.acquire.sources import Source
from pipeline.acquire.transfer import ARCHIVE_SUFFIXES
from pipeline.doctor import present
from pipeline.doctor.answers import SLOW_S, Answer, ask_all
from pipeline.doctor.case import Case
from pipeline.doctor.findings import Finding, named, note, ok, problem
from pipeline.errors import PipelineError
from pipeline.layout import Layout
from pipeline.nouns import counted

NAME, LINKS, PROXY = "network", "links", "proxy"
PATIENCE_S, LINKS_PATIENCE_S = 5.0, 15.0
"""Largest number of seconds that the doctor waits for an answer. The config may set a smaller number, and a download
waits longer."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
TO_BRING = (
    "put it into a folder named under acquire.local, add another address in a table of your own (acquire.sources),"
    " or set acquire.mirror"
)
TO_MIRROR = (
    "put it there (a mirror has the layout of results/resources/), correct `acquire.mirror`, or leave that key out, so"
    " that the addresses of sources.csv are asked"
)


def check(case: Case) -> Iterator[Finding]:
    """Yield findings about the servers. A source that can be had from no address and no folder is a problem."""
    yield from proxies()
    if case.needs is None:
        return
    lacking = present.sources_at_hand(case).to_fetch
    wanted = list(case.needs.sources.values()) if case.invocation.links else lacking
    addresses = {source.name: [url for url in source.addresses if url.startswith("http")] for source in wanted}
    if not any(addresses.values()):
        yield ok(NAME, "not needed: every source is on this machine" if case.needs.sources else "not needed")
        return
    if case.invocation.links:
        yield from _links(case, wanted, {source.name for source in lacking})
    else:
        yield from _hosts(lacking, min(PATIENCE_S, case.timeout_s))


def proxies() -> Iterator[Finding]:
    """Name the proxies of the environment, without the passwords in them."""
    found = {name: os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES}
    named_ones = [f"{name}={re.sub('//[^/@]*@', '//…@', value)}" for name, value in found.items() if value]
    if named_ones:
        yield ok(PROXY, ", ".join(named_ones))


def _hosts(lacking: list[Source], timeout_s: float) -> Iterator[Finding]:
    """Ask one address of each host."""
    first: dict[str, str] = {}
    for source in lacking:
        for url in source.addresses:
            if url.startswith("http"):
                first.setdefault(urlsplit(url).netloc, askable(url))
    found = ask_all(first.values(), timeout_s)
    silent = {host: found[url] for host, url in first.items() if not found[url].has_said}
    lost = [source for source in lacking if all(urlsplit(url).netloc in silent for url in source.addresses)]
    if lost:
        yield _unreachable(lost, silent)
    elif silent:
        yield note(
            NAME, f"{named(silent)}: no answer; each source has another address", "go on: mirrors are tried in turn"
        )
    else:
        yield ok(NAME, f"{counted(len(first), 'host')} of the sources still to fetch: all answer")


def _unreachable(lost: list[Source], silent: Mapping[str, Answer]) -> Finding:
    """Return the finding of sources none of whose hosts answers. silent: host → its answer."""
    reasons = named((f"{host} ({answer.why})" for host, answer in silent.items()), 2)
    what = (
        f"no host answers for {counted(len(lost), 'source')} still to fetch, {named(s.name for s in lost)}: {reasons}"
    )
    connect = "connect this machine (a proxy: set https_proxy)"
    if all(source.is_mirrored for source in lost):
        return problem(NAME, what, f"{connect}, correct `acquire.mirror`, or leave that key out")
    remedy = (
        f"{connect}, put these files into a folder named under acquire.local,"
        " or set acquire.mirror to a folder that has them"
    )
    return problem(NAME, what, remedy)


def _links(case: Case, wanted: list[Source], lacking: set[str]) -> Iterator[Finding]:
    """Ask every address, write down which of them answer, and yield findings about the sources."""
    urls = {url: askable(url) for source in wanted for url in source.addresses if url.startswith("http")}
    answers = ask_all(urls.values(), min(LINKS_PATIENCE_S, case.timeout_s))
    found = {url: answers[asked] for url, asked in urls.items()}
    seen = last_seen(case.layout)
    if lacking and not any(answer.has_said for answer in found.values()):
        silent = {urlsplit(url).netloc: answer for url, answer in reversed(found.items())}
        yield _unreachable([source for source in wanted if source.name in lacking], silent)
        return
    said = [finding for source in wanted for finding in _of_source(source, found, seen, source.name in lacking)]
    yield from said
    yield from _noted(case.layout, seen, found)
    if alive := sum(answer.alive for answer in found.values()):
        addresses = counted(len(found), "address", "addresses")
        yield ok(LINKS, f"{alive} of {addresses} of {counted(len(wanted), 'source')} answer")


def _of_source(
    source: Source, found: Mapping[str, Answer], seen: Mapping[str, Any], is_lacking: bool
) -> Iterator[Finding]:
    """Yield what is wrong with the addresses of one source."""
    answers = {url: found[url] for url in source.addresses if url in found}
    wrong = {url: why for url, answer in answers.items() if (why := _wrong(source, answer))}
    if not answers:
        return
    places = {url: url if answers[url].has_said else urlsplit(url).netloc for url in wrong}
    told = "; ".join(f"{places[url]}: {why}{_last(seen, url)}" for url, why in wrong.items())
    if any(answers[url].is_busy for url in wrong):
        yield note(LINKS, f"{source.name}: {told}", "go on: a download waits as the server asks, and tries again")
    elif len(wrong) == len(source.addresses) and is_lacking and source.kind != "youtube":
        yield problem(
            LINKS, f"{source.name}: no address gives it ({told})", TO_MIRROR if source.is_mirrored else TO_BRING
        )
    elif wrong:
        here = "it is here already" if not is_lacking else "another address gives it"
        remedy = (
            f"go on: {here}" if source.kind != "youtube" else "go on: videos that cannot be fetched are listed by shard"
        )
        yield note(LINKS, f"{source.name}: {told}", remedy)
    if slow := [url for url, answer in answers.items() if answer.alive and answer.seconds > SLOW_S]:
        seconds = max(answers[url].seconds for url in slow)
        remedy = "go on" if source.is_mirrored else "set acquire.mirror, or go on"
        yield note(LINKS, f"{source.name}: {named(slow)} answers after {seconds:.1f} s", remedy)


def _wrong(source: Source, answer: Answer) -> str:
    """Return what is wrong with an answer, or ''. Some large hosts refuse a request with a web page in place of the
    archive."""
    if not answer.alive:
        return answer.why
    if answer.is_page and source.file.endswith(ARCHIVE_SUFFIXES):
        return "a web page in place of the file"
    if None not in (answer.n_bytes, source.n_bytes) and answer.n_bytes != source.n_bytes and not answer.is_page:
        return f"another size: {answer.n_bytes:,} bytes, not {source.n_bytes:,}"
    return ""


def _last(seen: Mapping[str, Any], url: str) -> str:
    return f" (last seen alive {seen[url]})" if url in seen else ""


def last_seen(layout: Layout) -> dict[str, str]:
    """Return address → day and time in UTC when it last answered. A damaged file holds nothing."""
    try:
        content = files.read_json(layout.last_seen())
    except PipelineError:
        return {}
    return {str(url): str(when) for url, when in content.items()} if isinstance(content, dict) else {}


def _noted(layout: Layout, seen: Mapping[str, str], found: Mapping[str, Answer]) -> Iterator[Finding]:
    """Write down which addresses are alive now."""
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    alive = {url: now for url, answer in found.items() if answer.alive}
    try:
        files.write_json(layout.last_seen(), {**seen, **alive})
    except PipelineError as error:
        what = f"the times of the last answers cannot be written down: {error.what}"
        yield note(LINKS, what, "see the line of the results folder")


def askable(url: str) -> str:
    """Return the address that is asked. For a source with one address per video, this is the first page of the host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/" if "{vid}" in url else url
