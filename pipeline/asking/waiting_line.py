"""Answers the questions of all pages one at a time, in the order in which they arrived."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.asking.answer import Answer
from pipeline.errors import PipelineError

MOST = 16
"""Largest number of open questions: one that is being answered, and those that wait."""


class WaitingLine:
    """One thread that answers, and the questions that wait for it.

    A question cannot be stopped once its computation has begun, because the computation of a network cannot be
    interrupted. The next one begins when it has ended.
    """

    def __init__(self, ask: Callable[[str], Answer]) -> None:
        self._ask = ask
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="questions")
        self._there: list[Future[Answer]] = []

    def add(self, query: str) -> Future[Answer]:
        """Put a question behind all others. Raises PipelineError if there are too many."""
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
        """Remove the questions that wait, and return when the one that is being answered has ended."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _unanswered(self) -> list[Future[Answer]]:
        return [question for question in self._there if not question.done()]
