"""The comparisons of a table: verdicts and paired differences, how many they are, and which survive Holm's correction.

Two things count as statistical tests: a verdict about the numbers of at least three runs, and the difference to the
authors' predictions, paired over videos. That two numbers have the same printed digits is no test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from pipeline.config import DOMAINS
from pipeline.evaluation.intervals import Comparison, holm, star
from pipeline.evaluation.student import LEVEL
from pipeline.nouns import counted
from pipeline.reporting import published, verdict
from pipeline.reporting.published import ABOUT, Row
from pipeline.reporting.reproduced import Reproduced

PAIRED = "paired difference"
"""The key of the paired difference. The keys of verdicts are the names of columns."""


@dataclass
class Judged:
    """The comparisons of one experiment (or one point of its sweep) in a row.

    verdicts: column → verdict. p: column, or `PAIRED`, → p of each test. paired: the run of the first seed against the
    authors' predictions, whose label is `against`. differences: column → reproduced - published in points. If the
    authors' predictions re-derive the published number, it is used with all the digits that they give, so that
    `compare` prints the same difference. survives: the keys of p that stay below 0.05 after the correction.
    """

    verdicts: dict[str, str] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    p: dict[str, float] = field(default_factory=dict)
    paired: Comparison | None = None
    against: str = ""
    survives: set[str] = field(default_factory=set)

    def star(self, key: str) -> str:
        """Return `*` for a p below 0.05, `**` if it survives the correction, and else ''."""
        return star(self.p.get(key), key in self.survives)


Key = tuple[str, str]
"""The key of a row of the paper, and the label of what was reproduced for it: a sweep has one label in many rows."""


def judge(rows: Mapping[int, Mapping[str, Sequence[Reproduced]]]) -> dict[Key, Judged]:
    """Return the comparisons of everything that a table shows. The correction is for all of them together.

    rows: number of the paper's table → row key → what was reproduced for it. Raises PipelineError if two files that
    should be compared have different queries.
    """
    judged = dict(pair for number, of_rows in rows.items() for pair in _judged(number, of_rows))
    tests = [(one, key, p) for one in judged.values() for key, p in one.p.items()]
    for (one, key, _), survives in zip(tests, holm([p for *_, p in tests]), strict=True):
        if survives:
            one.survives.add(key)
    return judged


def note(judged: Mapping[Key, Judged]) -> list[str]:
    """Return the line below a table that says how many comparisons it makes, or nothing if it shows no reproduced
    number."""
    if not judged:
        return []
    paired = sum(PAIRED in one.p for one in judged.values())
    number = sum(len(one.p) for one in judged.values())
    if not number:
        return [
            f"Comparisons made here: none. A verdict needs {verdict.FEWEST_RUNS} seeds on the published number's "
            "queries; equal printed digits are no statistical test."
        ]
    labels = [label for _, label in judged]
    names = {key: key[1] if labels.count(key[1]) == 1 else f"{key[1]} {key[0]}" for key in judged}
    survive = [f"{names[key]} {column}" for key, one in judged.items() for column in one.p if column in one.survives]
    return [
        f"Comparisons made here: {number} ({counted(number - paired, 'verdict')},"
        f" {counted(paired, 'paired difference')}). If nothing "
        f"differed, p < 0.05 would be expected in {number * (1 - LEVEL):.2g} of them. * p < 0.05; ** also after Holm's "
        f"correction for all {number}: {', '.join(survive) or 'none'}."
    ]


def _judged(number: int, rows: Mapping[str, Sequence[Reproduced]]) -> Iterator[tuple[Key, Judged]]:
    for row in published.known(number):
        founds = rows.get(row.key, ())
        for found in founds:
            released = next((one for one in founds if _is_released_for(one, found)), None)
            yield (row.key, found.label), _of(number, row, found, None if found is released else released)


def _is_released_for(one: Reproduced, found: Reproduced) -> bool:
    """Tell whether something is released predictions of the split that a line of the same row reports."""
    return one.experiment.source == "predictions" and one.experiment.report == found.experiment.report


def _of(number: int, row: Row, found: Reproduced, released: Reproduced | None) -> Judged:
    one = Judged(_verdicts(number, row, found))
    if released and not found.n_queries == released.n_queries == ABOUT[number].queries:
        released = None
    exact = _exact(number, row, released)
    for column, values in found.selected.items():
        if row.values.get(column):
            one.differences[column] = fmean(values) - exact.get(column, float(row.values[column]))
        if one.verdicts.get(column) in (verdict.WITHIN, verdict.OUTSIDE):
            one.p[column] = verdict.p_against_runs(row.values[column], values)
    if released and found.queries and released.queries:
        one.against = released.label
        one.paired = verdict.paired(found.queries, released.queries, found.experiment.about.selected_by)
        if one.paired and one.paired.p is not None:
            one.p[PAIRED] = one.paired.p
    return one


def _exact(number: int, row: Row, released: Reproduced | None) -> dict[str, float]:
    """Return column → the published number with all its digits, for columns that the authors' predictions re-derive."""
    if released is None:
        return {}
    verdicts = _verdicts(number, row, released)
    return {column: values[0] for column, values in released.selected.items() if verdicts.get(column) == verdict.EXACT}


def _verdicts(number: int, row: Row, found: Reproduced) -> dict[str, str]:
    """Return column → verdict for every column with a published and a reproduced number."""
    both = {column: values for column, values in found.selected.items() if row.values.get(column)}
    # Each domain has one video of its own, whatever number of domains was run.
    is_of_domains = ABOUT[number].unit == "video"
    expected = sum(domain in both for domain in DOMAINS) if is_of_domains else ABOUT[number].queries
    if found.n_queries != expected or found.experiment.report != ABOUT[number].split:
        return dict.fromkeys(both, verdict.OTHER_QUERIES)
    if found.experiment.source == "predictions":
        return {column: verdict.against_predictions(row.values[column], values[0]) for column, values in both.items()}
    return {column: verdict.against_runs(row.values[column], values) for column, values in both.items()}
