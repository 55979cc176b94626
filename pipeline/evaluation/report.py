"""Scores prediction files, and writes the results as metrics files and as lines for people."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from pipeline import datasets, files, records
from pipeline.errors import PipelineError
from pipeline.evaluation.intervals import FEW, Comparison, Interval, compare, headline_intervals, star
from pipeline.evaluation.predictions import load_predictions, refuse_errors
from pipeline.evaluation.scoring import Result, score
from pipeline.evaluation.student import LEVEL
from pipeline.evaluation.truth import load_truth
from pipeline.evaluation.validate import NO_PREDICTION, Finding, errors
from pipeline.layout import queries_path_of
from pipeline.nouns import counted

RESAMPLES = 10_000
SEED = 0


def score_files(
    dataset: str,
    predictions_path: Path | str,
    annotations_path: Path | str,
    output: Path | None = None,
    *,
    domain: str | None = None,
    despite_errors: bool = False,
    skipped: Collection[str] = (),
) -> Result:
    """Load, check and score one prediction file. With `output` FILE.json, write this file, and FILE.queries.jsonl
    beside it.

    domain: the only domain of TVSum that is scored. despite_errors: whether rows that can be scored are scored in spite
    of errors; the notes of the result then say so. skipped: qids, as text, of queries that earlier stages skipped.
    Their rows do not count, a missing row is no error, and the notes say how many queries were scored. The metrics of
    the result also have `intervals` (95 %, over videos, percent). Raises PipelineError, which lists all errors of the
    predictions or names the file that cannot be read or written. An `output` that would overwrite an input, or anything
    but a plain file, is refused before anything is read.
    """
    if output is not None:
        _refuse_to_destroy(output, (predictions_path, annotations_path))
    truth = load_truth(dataset, annotations_path, domain)
    rows, findings = load_predictions(predictions_path, truth, dataset)
    if skipped:
        rows = [row for row in rows if str(row["qid"]) not in skipped]
        findings = [f for f in findings if f.what != NO_PREDICTION or str(f.qid) not in skipped]
    if not despite_errors:
        refuse_errors(findings, predictions_path)
    result = score(dataset, rows, truth, findings)
    if found := errors(findings):
        result.metrics["notes"].append(f"scored despite {counted(len(found), 'error')} in the prediction file")
    result.metrics["intervals"] = _interval_block(result)
    if output is not None:
        write_result(result, output)
    return result


def write_result(result: Result, output: Path) -> None:
    """Write the metrics file, with its keys in the official order, and the per-query rows beside it."""
    records.write_jsonl(queries_path_of(output), result.queries)
    with files.atomic(output) as file:
        file.write(json.dumps(result.metrics, indent=2, ensure_ascii=False) + "\n")


def _refuse_to_destroy(output: Path, inputs: Iterable[Path | str]) -> None:
    """Raise PipelineError for an output that is no FILE.json, that is an input, or that exists and is no plain file."""
    # With another suffix, files that differ only in it (`lam-0.1`, `lam-0.2`) would share their per-query rows.
    if output.suffix != ".json":
        raise PipelineError("is no name for a metrics file", where=output, remedy="name a FILE.json")
    try:
        for path in (output, queries_path_of(output)):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise PipelineError("exists and is not a plain file", where=path, remedy="name another FILE.json")
            if path.exists() and any(Path(other).exists() and path.samefile(other) for other in inputs):
                raise PipelineError(
                    "is an input and must not be overwritten", where=path, remedy="name another FILE.json"
                )
    except OSError as error:
        raise files.cannot_write(output, error) from error


def validate_files(dataset: str, predictions_path: Path | str, annotations_path: Path | str) -> list[Finding]:
    """Return all findings about one prediction file. Raises PipelineError for a file that cannot be read at all."""
    return load_predictions(predictions_path, load_truth(dataset, annotations_path), dataset)[1]


def compare_files(
    dataset: str,
    a: Path | str,
    b: Path | str,
    annotations: Path | str,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Comparison]:
    """Score two prediction files on the same annotations and compare them metric by metric. Raises PipelineError."""
    truth = load_truth(dataset, annotations)

    def scored(path: Path | str) -> Result:
        rows, findings = load_predictions(path, truth, dataset)
        refuse_errors(findings, path)
        return score(dataset, rows, truth)

    return compare(scored(a).queries, scored(b).queries, resamples=resamples, seed=seed)


def format_headline(result: Result) -> str:
    """Return the headline numbers, one line each, with interval, number of queries and all notes about them."""
    metrics = result.metrics
    numbers = dict(metrics.get("percent") or metrics["brief"])
    for name in datasets.get(result.dataset).also_scored:
        numbers |= metrics.get(name, {})
    videos = len({row["video"] for row in result.queries})
    stands_on = f"{counted(metrics['n_queries']['all'], 'query')} of {counted(videos, 'video')}"
    lines = [f"{result.dataset}: {stands_on}, percent [95 % interval]"]
    spread = metrics.get("intervals", {}).get("percent", {})
    # TVSum's intervals are of a mean over videos. It equals the printed mean over domains if each domain has one video.
    if len(numbers) - 1 == videos and "top5-mAP" in spread:
        spread = {"average": spread["top5-mAP"]}
    for name, value in numbers.items():
        shown = "–" if value is None else f"{value:.2f}"
        low_high = spread.get(name)
        lines.append(f"  {name:<22}{shown:>7}" + ("" if not low_high else f"  [{low_high[0]:.2f}, {low_high[1]:.2f}]"))
    notes = [metrics["annotations"]] if "annotations" in metrics else []
    lines += [f"  note: {note}" for note in [*notes, *metrics["notes"]]]
    warnings = len(result.findings) - len(errors(result.findings))
    return "\n".join([*lines, f"  {counted(warnings, 'warning')} (see `validate`)"] if warnings else lines)


def format_comparison(rows: Sequence[Comparison], name_a: str = "A", name_b: str = "B") -> str:
    """Return a comparison as an aligned text table, with notes on the meaning of stars, the origin of p, and the number
    of comparisons."""
    head = f"{'percent [95 %]':<22}{'A':>24}{'B':>24}{'A - B':>24}{'resolves':>10}       p"
    lines = [f"A = {name_a}", f"B = {name_b}", head]
    for row in rows:
        cells = "".join(f"{_cell(interval):>24}" for interval in (row.a, row.b, row.difference))
        mark = f"{star(row.p, row.holm):<2}"
        resolves = "none" if row.resolution is None else f"±{row.resolution:.2f}"
        lines.append(f"{row.metric:<22}{cells}{resolves:>10}{mark} {'–' if row.p is None else f'{row.p:.4f}'}")
    return "\n".join([*lines, *_comparison_notes(rows)])


def _comparison_notes(rows: Sequence[Comparison]) -> list[str]:
    notes = [
        f"* p < {1 - LEVEL:.2f}; ** also after Holm's correction for the {counted(len(rows), 'comparison')} made here",
    ]
    few = [row for row in rows if row.videos < FEW]
    if few:
        fewest = min(few, key=lambda row: row.videos)
        smallest = "no p" if fewest.smallest_p is None else f"the smallest possible p is {fewest.smallest_p:.2g}"
        notes += [
            f"fewer than {FEW} videos (the fewest: {fewest.videos}, with {smallest}): p by flipping the signs of whole"
            " videos, intervals by Student's t; how often they are right: docs/statistics.md"
        ]
    if any(row.resolution is not None for row in rows):
        notes += [
            "resolves: half of the interval of A - B, about the smallest difference that it tells from 0 for two such"
            " files on the same queries"
        ]
    return [f"  note: {note}" for note in notes]


def _cell(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.value:.2f}"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _interval_block(result: Result) -> dict[str, object]:
    found = headline_intervals(result.queries, RESAMPLES, SEED)
    bounds = {name: None if item.low is None else [item.low, item.high] for name, item in found.items()}
    videos = len({row["video"] for row in result.queries})
    return {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED, "videos": videos, "percent": bounds}
