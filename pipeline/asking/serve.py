"""Serves a page on this machine on which a user can ask many queries about an encoded video.

Starlette and uvicorn (the extra `serve`) handle HTTP. `served.py` is the application. `waiting_line.py` makes sure
that one question is answered at a time.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.asking.served import Served

ADDRESS = "127.0.0.1"
"""The loopback address: no other machine reaches it."""

PACKAGES = ("starlette", "uvicorn")
ENDING_S = 2
"""Seconds that unfinished responses may still take when the server ends."""

MOST_AT_ONCE = 64
"""Largest number of open connections. Further connections are refused."""


def check_installed() -> None:
    """Raise PipelineError if the packages of the extra `serve` are not installed."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise PipelineError(
            f"needs {' and '.join(missing)}, which this environment lacks",
            where="--serve",
            remedy='install the extra: pip install ".[serve]"',
        )


def listen(port: int) -> socket.socket:
    """Return a socket of the loopback address. port: 0 takes a free one. Raises PipelineError if it is not free."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((ADDRESS, port))
        found.listen()
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or error
        remedy = "name another port, or leave `--port` out to take a free one"
        raise PipelineError(f"cannot be opened ({reason})", where=f"--port {port}", remedy=remedy) from error
    return found


def serve(served: Served, found: socket.socket) -> None:
    """Serve a page until Ctrl-C. found: the socket of `listen`."""
    import uvicorn

    from pipeline.asking.served import application
    from pipeline.asking.waiting_line import WaitingLine

    port, line = found.getsockname()[1], WaitingLine(served.ask)
    config = uvicorn.Config(
        application(served, line, port),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_AT_ONCE,
        timeout_graceful_shutdown=ENDING_S,
    )
    print(f"http://{ADDRESS}:{port}/{served.token}/", flush=True)
    print("Open this address in a browser on this machine. Ctrl-C ends it.", flush=True)
    with suppress(KeyboardInterrupt):  # uvicorn ends its work first and then lets the signal through
        uvicorn.Server(config).run(sockets=[found])
    line.close()
    print("Ended.", flush=True)
