"""The story of a reproduced number: what it was computed from. It opens when a reader clicks on a number of the
report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.config import Experiment
from pipeline.layout import LOGS, Layout
from pipeline.layout.runs import CARD, COMMIT, RunId
from pipeline.manifests import last_record
from pipeline.reporting import own, published
from pipeline.reporting.comparisons import Judged
from pipeline.reporting.page.build import number as number_text
from pipeline.reporting.page.build import signed
from pipeline.reporting.page.own import address
from pipeline.reporting.published import ABOUT
from pipeline.reporting.reproduced import Reproduced


def of_row(
    number: int, key: str, found: Reproduced, judged: Judged, layout: Layout, page: Path, values: Mapping[str, str]
) -> dict[str, Any]:
    """Return the story of one reproduced line of the paper's tables, as JSON values.

    number: of the table. key: of its row. page: the folder of the page, to which links are relative. values: column →
    published.
    """
    points = [point for point, of in published.keys_of(found.experiment).items() if of == key]
    title = f"{found.label}, {key} of Table {number}"
    return _story(title, found, points, layout, page, ABOUT[number].decimals, judged, values)


def of_own(found: Reproduced, layout: Layout, page: Path) -> dict[str, Any]:
    """Return the story of one line of the table of a user's own dataset, for which nothing is published.

    page: as in `of_row`.
    """
    title = f"{found.label}, dataset {found.experiment.dataset}"
    return _story(title, found, list(found.experiment.sweep or [""]), layout, page, own.DECIMALS, Judged(), None)


def _story(
    title: str,
    found: Reproduced,
    points: Sequence[str],
    layout: Layout,
    page: Path,
    decimals: int,
    judged: Judged,
    values: Mapping[str, str] | None,
) -> dict[str, Any]:
    name, _, only = found.label.partition(" ")
    cards = _cards(found, name, [point for point in points if only in ("", point)], layout)
    return {
        "label": title,
        "columns": {
            column: {
                "published": None if values is None else values.get(column, ""),
                "values": [number_text(value, decimals + 2) for value in of_seeds],
                "last": [number_text(value, decimals + 2) for value in found.last.get(column, [])],
                "half": number_text(found.half_widths[column], decimals) if column in found.half_widths else None,
                "verdict": judged.verdicts.get(column, ""),
                "difference": signed(judged.differences[column], decimals) if column in judged.differences else None,
            }
            for column, of_seeds in found.selected.items()
        },
        "seeds": found.seeds,
        "epochs": [f"{run}: {_epoch(card)}" for run, card in cards.items()],
        "queries": found.n_queries,
        "notes": found.notes,
        "families": _families(cards),
        "revisions": ", ".join(_revisions(found.experiment, name, layout)),
        "command": f"snakemake --cores 8 experiment_{name}",
        "commits": _commits(cards, name, layout),
        "links": _links(name, found, layout, page),
        "figure": f"figure-{name}",
    }


def _cards(found: Reproduced, name: str, points: Sequence[str], layout: Layout) -> dict[str, dict[str, Any]]:
    if found.experiment.source == "predictions":
        return {}
    runs = [run for run in found.experiment.runs if RunId.parse(run).point in points]
    paths = {run: layout.run(name, run) / CARD for run in runs}
    return {run: files.read_json(path, files.MADE_HERE) for run, path in paths.items() if path.is_file()}


def _revisions(experiment: Experiment, name: str, layout: Layout) -> Iterator[str]:
    """Yield each stage that made the numbers, with its revision when it did. The manifests of the stages say it."""
    metrics = layout.manifest("metrics", experiment=name, split=experiment.report)
    made = {"score": [metrics]}
    if experiment.source != "predictions":
        runs = [layout.manifest("runs", experiment=name, part=part) for part in experiment.parts]
        made = {"train": runs, "predict": [layout.manifest("predictions", experiment=name)], **made}
    for stage, manifests in made.items():
        found = {str(last_record(path).get("revision", "not recorded")) for path in manifests}
        yield f"{stage} {' and '.join(sorted(found))}"


def _epoch(card: Mapping[str, Any]) -> str:
    return f"epoch {card['selected']['epoch']} of {card['last']['epoch']}, on {card.get('device', 'an unknown device')}"


def _commits(runs: Iterable[str], name: str, layout: Layout) -> list[str]:
    """Return each commit at which trainings ended, with its runs, or an empty list if none is recorded."""
    found: dict[str, list[str]] = {}
    for run in runs:
        found.setdefault(_commit(layout.run(name, run) / COMMIT), []).append(run)
    return [f"{commit or 'not recorded'}: {', '.join(of)}" for commit, of in found.items()] if any(found) else []


def _commit(path: Path) -> str:
    """Return the content of `commit.txt` in words, or '' if it is absent or has no commit."""
    try:
        parts = re.fullmatch(r"([0-9a-f]{7,64})(\+?)\n?", path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""
    return f"{parts[1]}{' with changed files' if parts[2] else ''}" if parts else ""


def _families(cards: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the passports of the features of the first run, a sentence for each."""
    for card in cards.values():
        return [
            f"{family}: {passport.get('dim')} numbers on a grid of {passport.get('grid')}, "
            f"origin {passport.get('origin')}, weights {passport.get('weights')}, revision {passport.get('revision')};"
            f" {passport.get('preprocessing')}"
            for family, passport in sorted(card.get("features", {}).items())
        ]
    return []


def _links(name: str, found: Reproduced, layout: Layout, page: Path) -> list[tuple[str, str]]:
    """Return (name, address) of the files that exist."""
    split = found.experiment.report
    wanted = {"log of scoring": layout.results / LOGS["score"].format(experiment=name, split=split)}
    if found.experiment.source != "predictions":
        part = found.experiment.parts[0]
        wanted["log of training"] = layout.results / LOGS["train"].format(experiment=name, part=part)
        first = found.experiment.runs[0]
        wanted["card of the first run"] = layout.run(name, first) / CARD
        wanted["its epochs, as CSV"] = layout.log(name, first)
    return [(what, address(path, page)) for what, path in wanted.items() if path.is_file()]
