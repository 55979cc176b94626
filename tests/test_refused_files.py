"""A prediction file with hundreds of mistakes is refused in few lines."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import PipelineError
from pipeline.evaluation import score_files
from pipeline.evaluation.predictions import refuse_errors
from pipeline.evaluation.validate import Finding

VIDEO = {"query": "a dog", "vid": "abc_def_7_0.0_20.0"}
RATED = {"relevant_windows": [[0, 4]], "relevant_clip_ids": [0, 1], "saliency_scores": [[4, 0, 2], [3, 3, 3]]}
ANNOTATION = {"qid": 7, **VIDEO, "duration": 20, **RATED}
ROW = {**VIDEO, "pred_relevant_windows": [[0.0, 4.0, 0.9]], "pred_saliency_scores": [0.5] * 10}


def test_a_file_of_another_dataset_is_told_in_few_lines(tmp_path):
    odd = {"pred_relevant_windows": [[0, 1, "high"]], "pred_saliency_scores": [1, None]}
    rows = [{**ROW, "qid": f"video-{k}"} for k in range(300)] + [{**ROW, "qid": k, **odd} for k in range(300)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "a.jsonl").write_text(json.dumps(ANNOTATION))
    with pytest.raises(PipelineError) as error:
        score_files("qvhighlights", tmp_path / "p.jsonl", tmp_path / "a.jsonl")
    lines = str(error.value).splitlines()
    assert len(lines) < 10
    assert any(
        "`qid` is not an integer (300 times): line 1, qid video-0; line 2, qid video-1" in line for line in lines
    )


def test_an_error_lists_no_more_facts_than_can_be_read():
    findings = [Finding("E", line, 7, f"fact {line}") for line in range(1, 41)]
    with pytest.raises(PipelineError) as error:
        refuse_errors(findings, "p.jsonl")
    assert len(str(error.value).splitlines()) == 23
    assert "and 20 lines more like these (`validate` prints them)" in str(error.value)
