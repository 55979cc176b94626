"""Before its first epoch a training finds out and prints which queries it cannot use.

A missing video of train makes the training set smaller. A missing video of val, or of the reported split, makes numbers
that cannot be compared with the published ones. So the config says whether to go on (`missing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import config, records
from pipeline.errors import PipelineError
from pipeline.nouns import counted
from pipeline.records import Query
from pipeline.training.data import BY_CHOICE, OpenFeatures, with_features

SHOWN = 5
"""Largest number of videos that a message names. The manifests under features/ list all of them."""

Row = Mapping[str, str]


def check(
    name: str,
    experiment: config.Experiment,
    dataset: config.Dataset,
    features: config.Features,
    opened: OpenFeatures,
    annotations: Mapping[str, Path],
) -> None:
    """Print which queries of train and val are left out, and refuse what could not be scored or reported.

    annotations: JSONL files of train and val. Raises PipelineError, under `missing: fail`, when videos of val or of the
    reported split are missing or cannot be read. It always raises when a run would have no query of train or of val.
    """
    if opened.filled:
        print(f"train: {name} takes {counted(len(opened.filled), 'missing video')} from {dataset.fill_archive}")
    queries = {split: _of_domains(records.read_queries(annotations[split]), experiment) for split in ("train", "val")}
    missing: dict[str, Sequence[Row]] = {}
    for split, asked in queries.items():
        kept, absent = with_features(opened, features, [query for query in asked if query.vid not in dataset.skip])
        absent = absent + [row_of(query) for query in asked if query.vid in dataset.skip]
        _refuse_none(name, split, asked, kept, experiment)
        if absent:
            # The workflow shows stdout on the terminal.
            print(
                f"train: {name} leaves out {len(absent):,} of {counted(len(asked), 'query')} of {split}:"
                f" {_named(absent)}"
            )
        missing[split] = [row for row in absent if not row["why"].startswith(BY_CHOICE)]
    if experiment.report not in queries:
        missing[experiment.report] = _of_another_split(opened, features, queries)
    for split in dict.fromkeys(("val", experiment.report)):
        if missing[split] and dataset.missing != "skip":
            n_videos = len({row["vid"] for row in missing[split]})
            raise PipelineError(
                f"{split} lacks {counted(n_videos, 'video')}: {_named(missing[split])}",
                where=f"experiment {name}",
                remedy="bring these videos and run again, or go on without them: write `missing: skip` under"
                f" `datasets.{experiment.dataset}` of the config, and every table gives the number of queries",
            )


def row_of(query: Query) -> dict[str, str]:
    """Return the row that lists a query whose video the config tells every stage to leave out."""
    return {"qid": str(query.qid), "vid": query.vid, "why": "skipped: named under `skip` of its dataset"}


def _of_domains(queries: Sequence[Query], experiment: config.Experiment) -> list[Query]:
    has_domains = bool(experiment.about.domains)
    return [query for query in queries if not has_domains or query.domain in experiment.run_domains]


def _of_another_split(
    opened: OpenFeatures, features: config.Features, queries: Mapping[str, Sequence[Query]]
) -> list[Row]:
    """Return the videos left out that are in neither train nor val. The labels of the reported split are not read
    here."""
    known = {query.vid for split in queries.values() for query in split}
    stores = [opened.stores[family] for family in [*features.video, *features.audio]]
    return [
        {"vid": vid, "why": why}
        for vid, why in opened.skipped.items()
        if vid not in known and not why.startswith(BY_CHOICE) and any(vid not in store for store in stores)
    ]


def _refuse_none(
    name: str, split: str, asked: Sequence[Query], kept: Sequence[Query], experiment: config.Experiment
) -> None:
    if experiment.about.domains:
        left = [domain for domain in experiment.run_domains if any(query.domain == domain for query in kept)]
        if empty := [domain for domain in experiment.run_domains if domain not in left]:
            others = f", or run the others: `domains: [{', '.join(left)}]`" if left else ""
            raise PipelineError(
                f"no video of {split} is left of the domains {', '.join(empty)}",
                where=f"experiment {name}",
                remedy=f"bring their videos{others}",
            )
    elif not kept:
        remedy = "see the manifests under features/ for what was skipped and why"
        raise PipelineError(f"none of {counted(len(asked), 'query')} of {split} can be used", where=name, remedy=remedy)


def _named(rows: Sequence[Row]) -> str:
    reasons = {row["vid"]: row["why"] for row in rows}
    named = [f"{vid} ({why})" for vid, why in list(reasons.items())[:SHOWN]]
    return "; ".join(named) + (f"; and {counted(len(reasons) - SHOWN, 'video')} more" if len(reasons) > SHOWN else "")
