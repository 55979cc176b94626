"""Serves a page with invented answers about a video, in a separate process.

A query says what happens: `until PATH` is answered when this file exists, `refused` and `broken` end in errors of both
kinds. A note says the position of each answer among all.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DURATION_S = 20.0
COUNT = itertools.count(1)


def answer(video, query):
    from pipeline.asking.answer import Answer, ScoredWindow
    from pipeline.errors import PipelineError

    if query.startswith("until "):
        while not Path(query.removeprefix("until ")).exists():
            time.sleep(0.01)
    if query == "refused":
        raise PipelineError("has a second\n  line", where="query", remedy="ask something else")
    if query == "broken":
        raise ValueError(query)
    windows = (ScoredWindow(4.0, 8.0, 0.9), ScoredWindow(12.0, 14.0, 0.5))
    scores = tuple(float(clip % 4) for clip in range(10))
    notes = (f"Answer number {next(COUNT)}.",)
    return Answer(query, video, DURATION_S, "first/all-s1", 2.0, windows, scores, notes=notes)


def main(video, question_s):
    from pipeline.asking.serve import listen, serve
    from pipeline.asking.served import Served

    video = Path(video)
    with listen(0) as found:
        ask = lambda query: answer(video, query)  # noqa: E731
        serve(Served(video, DURATION_S, "first/all-s1", ask, question_s=float(question_s)), found)


class Page:
    """A page that is served by a process of its own."""

    def __init__(self, process, url):
        self.process, self.url = process, url
        self.host, self.path = url.removeprefix("http://").partition("/")[::2]
        self.path = f"/{self.path}"
        self.port = int(self.host.partition(":")[2])

    def get(self, place="", *, method="GET", body=None, whole=True, **headers):
        """Send a request as a browser would. A header of None is not sent. Returns the response and its body (None if
        it is not read as a whole)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        path = place if place.startswith("/") else self.path + place
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        sent = {"Host": self.host} | {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent = {"Content-Length": str(len(body)), "Content-Type": "application/json"} | sent
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response, response.read() if whole else None

    def post(self, query, **headers):
        """Ask a query, and return the response as soon as its status is known."""
        return self.get("ask", method="POST", body=json.dumps({"query": query}).encode(), whole=False, **headers)[0]

    def begin(self, query, **headers):
        """Ask a query, and return the lines that the page gets, each when it comes."""
        response = self.post(query, **headers)
        assert response.status == 200, response.read()
        return map(json.loads, response)

    def ask(self, query, **headers):
        """Ask a query, and return the lines that the page gets."""
        return list(self.begin(query, **headers))

    def end(self):
        """End it as Ctrl-C does. Returns the exit status and what it said."""
        self.process.send_signal(signal.SIGINT)
        said = self.process.communicate(timeout=20)[0]
        return self.process.returncode, said


@contextmanager
def served(video, question_s=20.0):
    command = [sys.executable, __file__, str(video), str(question_s)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, process_group=0
    )
    try:
        yield Page(process, process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    main(*sys.argv[1:])
