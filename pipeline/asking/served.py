"""The application behind a served page: the page, one video, and the questions. It answers only requests from this
machine.

Three things keep other users out. The server listens on the loopback address. A request is refused if its `Host` is not
this address, because a name of a stranger could lead a browser here, and if it does not come from the page itself
(`Origin`, `Sec-Fetch-Site`). Every address contains a random word that only the terminal shows. No path of a request
names a file.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.asking import page
from pipeline.asking.answer import Answer
from pipeline.asking.waiting_line import WaitingLine
from pipeline.asking.words import LONGEST
from pipeline.errors import PipelineError

MOST_BYTES = 16 * 1024
"""Largest body of a request. A query has at most 2,000 characters, of at most six bytes each in JSON."""

BODY_S = 10.0
"""Seconds within which the body of a request must arrive."""

QUESTION_S = 120.0
"""Seconds within which a question must be answered, including its waiting time."""

TOLD_EVERY_S = 1.0
"""Seconds between two messages to a waiting page, which say how many questions are before its own."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""The headers of every response. They forbid to store it, to frame it, and to give it to other pages."""

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; media-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Served:
    """The content of a served page. ask: a function that answers a query; only one thread calls it at a time. answers:
    those that the page shows at first. most: number of windows that are shown for each answer. question_s: seconds
    within which a question must be answered.
    """

    video: Path
    duration_s: float
    run: str
    ask: Callable[[str], Answer]
    answers: Sequence[Answer] = ()
    most: int = 5
    question_s: float = QUESTION_S
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))


def application(served: Served, line: WaitingLine, port: int) -> ASGIApp:
    """Return the application. port: the port on which the server listens."""

    async def show(_: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        text = page.served(
            served.video,
            served.duration_s,
            served.run,
            served.answers,
            served.most,
            longest=LONGEST,
            nonce=nonce,
        )
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY.format(nonce=nonce)})

    async def play(_: Request) -> Response:
        if not served.video.is_file():
            return PlainTextResponse("The video is gone.", 404)
        return FileResponse(served.video, media_type=page.media_type(served.video))

    async def ask(request: Request) -> Response:
        try:
            query = await _query(request)
            question = line.add(query)
        except PipelineError as error:
            return PlainTextResponse(_one_line(error), 400)
        lines = _told(question, line, served)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    routes = [Route("/{token}/", show), Route("/{token}/video", play), Route("/{token}/ask", ask, methods=["POST"])]
    inner = Starlette(routes=routes)
    inner.router.redirect_slashes = False
    return Guard(inner, served.token, port)


class Guard:
    """Refuses requests from elsewhere before other code reads them, and adds headers to every response."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse("This page is for the machine that it runs on.", 403)
        is_own = all(origin == f"http://{hosts[0].lower()}" for origin in headers.getlist("origin"))
        if not is_own or not set(headers.getlist("sec-fetch-site")) <= {"same-origin", "none"}:
            return PlainTextResponse("This server answers only requests of its own page.", 403)
        word = scope["path"].removeprefix("/").partition("/")[0]
        # This comparison takes the same time for every wrong word, so its time says nothing about the right word.
        if not secrets.compare_digest(word.encode("utf-8", "replace"), self._token.encode()):
            return PlainTextResponse("Open the address that the terminal shows.", 404)
        return None


async def _query(request: Request) -> str:
    """Return the query of a request: `{"query": "…"}`. Raises PipelineError for anything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise PipelineError("The body is no JSON.")
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    raise PipelineError(f"The body is longer than {MOST_BYTES:,} bytes.")
        content = json.loads(body)
    except TimeoutError:
        raise PipelineError(f"The body did not arrive within {BODY_S:g} s.") from None
    except ClientDisconnect:
        raise PipelineError("The page has gone.") from None
    except (ValueError, RecursionError):
        raise PipelineError("The body is no JSON.") from None
    if not isinstance(content, dict) or not isinstance(content.get("query"), str):
        raise PipelineError("The body holds no query.")
    return str(content["query"])


async def _told(question: Future[Answer], line: WaitingLine, served: Served) -> AsyncIterator[str]:
    """Yield lines of JSON: how many questions are before this one while it waits, and at the end its answer or the
    reason why there is none.

    If a page is closed, its question is removed, unless its computation has begun.
    """
    begun, waiting = time.monotonic(), asyncio.wrap_future(question)
    try:
        while not waiting.done():
            left = begun + served.question_s - time.monotonic()
            if left <= 0:
                yield _line(error=f"The question was not answered within {served.question_s:g} s.")
                return
            yield _line(before=line.before(question))
            await asyncio.wait([waiting], timeout=min(left, TOLD_EVERY_S))
        yield _outcome(waiting, begun, served.most)
    finally:
        waiting.cancel()


def _outcome(answered: asyncio.Future[Answer], begun: float, most: int) -> str:
    try:
        return _line(section=page.section(answered.result(), most), seconds=time.monotonic() - begun)
    except PipelineError as error:
        return _line(error=_one_line(error))
    except Exception:  # a mistake of ours must not end the server, which has other pages to answer
        traceback.print_exc(file=sys.stderr)
        return _line(error="The question could not be answered. The terminal says why.")


def _line(**values: Any) -> str:
    return json.dumps(values) + "\n"


def _one_line(error: PipelineError) -> str:
    return " ".join(str(error).split())
