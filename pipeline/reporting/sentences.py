"""The results in words: a sentence for each experiment below a row of the paper, and the verdicts of all columns.

docs/statistics.md says when each wording is used.
"""

from __future__ import annotations

from statistics import fmean

from pipeline.nouns import counted
from pipeline.reporting import verdict
from pipeline.reporting.comparisons import Judged
from pipeline.reporting.published import ABOUT, Row
from pipeline.reporting.reproduced import Reproduced
from pipeline.reporting.stands_on import stand_ins

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def sentence(number: int, row: Row, found: Reproduced, judged: Judged) -> str:
    """Return one sentence about a row: the verdict, the numbers of the headline column, and the facts behind them.

    It is '' for an experiment that shares no column of numbers with its row.
    """
    if not judged.verdicts:
        return ""
    told = [_numbers(number, row, found, judged), _columns(found, judged), _runs(found), _selection(found)]
    told += [f"{used} stands in for {released}" for used, released in stand_ins(found.experiment).items()]
    return f"{row.key}, {found.label}: {_verdict(number, found, judged)}: {'; '.join(filter(None, told))}."


def _verdict(number: int, found: Reproduced, judged: Judged) -> str:
    """Return the verdict of the headline column, or, for a prediction file, of all columns together."""
    kinds = list(judged.verdicts.values())
    if verdict.OTHER_QUERIES in kinds:
        if (ours := found.experiment.report) != (theirs := ABOUT[number].split):
            return f"no verdict, because it is of {ours} and the published row is of {theirs}"
        has, expected = counted(found.n_queries, ABOUT[number].unit), ABOUT[number].queries
        return f"no verdict, because it has {has} and the published row has {expected:,}"
    if found.experiment.source == "predictions":
        return _share(kinds.count(verdict.EXACT), len(kinds), "re-derived", " exactly")
    if (kind := judged.verdicts[_leading(number, judged)]) == verdict.TOO_FEW:
        return f"no verdict, because a verdict needs {in_words(verdict.FEWEST_RUNS, 'seed')}"
    return "reproduced" if kind == verdict.WITHIN else "not reproduced"


def _columns(found: Reproduced, judged: Judged) -> str:
    """Return in how many columns the published number is within, or '' where all columns have the same verdict."""
    kinds = [kind for kind in judged.verdicts.values() if kind in (verdict.WITHIN, verdict.OUTSIDE)]
    if found.experiment.source == "predictions" or len(set(kinds)) < 2:
        return ""
    return f"reproduced in {kinds.count(verdict.WITHIN)} of {len(kinds)} columns"


def _leading(number: int, judged: Judged) -> str:
    """Return the column whose numbers a sentence names: the headline of the table, or the first column that both
    have."""
    headline = ABOUT[number].headline
    return headline if headline in judged.verdicts else next(iter(judged.verdicts))


def _share(n: int, of: int, done: str, when_all: str) -> str:
    if n == of:
        return done + when_all
    return f"{done} in {n} of {of} columns" if n else f"not {done}"


def _numbers(number: int, row: Row, found: Reproduced, judged: Judged) -> str:
    """Return our number and the published number of the headline column, or of the first column that both have."""
    column = _leading(number, judged)
    ours = f"{fmean(found.selected[column]):.{ABOUT[number].decimals}f}"
    return f"{column} {ours} against {row.values[column]} published"


def _runs(found: Reproduced) -> str:
    return "" if found.experiment.source == "predictions" else in_words(len(found.seeds), "seed")


def _selection(found: Reproduced) -> str:
    """Return the split on which the epoch was selected, or '' for released predictions, for which only their authors
    know it."""
    if found.experiment.source == "predictions":
        return ""
    reported = "the reported video" if found.experiment.about.domains else "the reported split"
    return f"the epoch was selected on {reported if found.experiment.report == 'val' else 'val'}"


def in_words(n: int, what: str) -> str:
    """Return a small number in words with its noun, which gets an `s` if the number is not one."""
    return f"{NUMBERS[n] if n < len(NUMBERS) else n} {what}{'' if n == 1 else 's'}"


def summary_of(judged: Judged, found: Reproduced) -> str:
    """Return the verdicts in words: one verdict if all columns agree, or else the columns of each verdict with their
    stars."""
    verdicts = judged.verdicts
    kinds = list(dict.fromkeys(verdicts.values()))
    if kinds == [verdict.OTHER_QUERIES]:
        return f"no verdict: {verdict.OTHER_QUERIES} than the published number's"
    if kinds == [verdict.TOO_FEW]:
        return f"{verdict.TOO_FEW} for a verdict (n = {len(found.seeds)})"
    if found.experiment.source != "predictions":
        kinds = [kind for kind in kinds if kind != verdict.TOO_FEW]
    parts = [f"{kind}: {', '.join(c + judged.star(c) for c, v in verdicts.items() if v == kind)}" for kind in kinds]
    words = kinds[0] if len(kinds) == 1 and not judged.survives else "; ".join(parts)
    return words if found.experiment.source == "predictions" else f"published is {words} (n = {len(found.seeds)})"
