"""Scores moment retrieval and highlight detection with the community's rules. The numbers are equal to the last digit.

    from pipeline.evaluation import evaluate
    result = evaluate(dataset, predictions, annotations)         # a name, two lists of dicts: the rows of JSONL files
    result.metrics["brief"]["MR-full-mAP"]                       # the 104 official numbers, official names and order
    result.metrics["unrounded"], result.metrics["n_queries"]     # full precision, and what the means run over
    result.queries                                               # one row per query, for headline_intervals and compare

This package needs only NumPy. `score_files` does the same for files. `load_predictions` lists every finding.
"""

from pipeline.evaluation.intervals import Comparison, Interval, compare, headline_intervals
from pipeline.evaluation.predictions import format_findings, load_predictions
from pipeline.evaluation.report import (
    compare_files,
    format_comparison,
    format_headline,
    score_files,
    validate_files,
    write_result,
)
from pipeline.evaluation.scoring import Result, evaluate, evaluate_on, score
from pipeline.evaluation.selection import luck
from pipeline.evaluation.truth import by_qid, load_truth
from pipeline.evaluation.validate import Finding, check

__all__ = [
    "Comparison",
    "Finding",
    "Interval",
    "Result",
    "by_qid",
    "check",
    "compare",
    "compare_files",
    "evaluate",
    "evaluate_on",
    "format_comparison",
    "format_findings",
    "format_headline",
    "headline_intervals",
    "load_predictions",
    "load_truth",
    "luck",
    "score",
    "score_files",
    "validate_files",
    "write_result",
]
