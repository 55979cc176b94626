"""Questions of all pages are answered one at a time, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.asking.answer import Answer
from pipeline.errors import PipelineError

MOST = 16
"""Number of questions that may be there at once: one that is answered, and those that wait."""


class Turns:
    """One thread that answers, and the questions before it.

    A question that has begun cannot be stopped, because nothing stops a network in the middle. The next one begins when
    it has ended.
    """

    def __init__(self, ask: Callable[[str], Answer]) -> None:
        self._ask = ask
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="questions")
        self._there: list[Future[Answer]] = []

    def take(self, query: str) -> Future[Answer]:
        """Put a question behind all others. Raises PipelineError where too many are there."""
        self._there = self._unanswered()
        if len(self._there) >= MOST:
            raise PipelineError(f"{MOST} questions are waiting already", remedy="ask again in a minute")
        question = self._thread.submit(self._ask, query)
        self._there.append(question)
        return question

    def before(self, question: Future[Answer]) -> int:
        """Return the number of questions that are answered before this one."""
        there = self._unanswered()
        return there.index(question) if question in there else 0

    def close(self) -> None:
        """Forget the questions that wait, and end when the one that is being answered has ended."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _unanswered(self) -> list[Future[Answer]]:
        return [question for question in self._there if not question.done()]
