"""The limits of docs/faults.md that no other file tests: what is longer or deeper is refused at once, in one line."""

from __future__ import annotations

import json

import pytest

from pipeline import records, yaml_file
from pipeline.errors import PipelineError


def test_a_config_may_have_a_mebibyte_and_no_more(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\n#" + "x" * (yaml_file.MOST_BYTES - 6))
    assert yaml_file.read(path) == {"a": 1}
    path.write_text("a: 1\n#" + "x" * (yaml_file.MOST_BYTES - 5))
    with pytest.raises(PipelineError, match=r"is longer than 1,048,576 characters"):
        yaml_file.read(path)


def test_a_config_may_open_a_hundred_brackets_and_no_more(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"a: {'[' * yaml_file.MOST_NESTED}{']' * yaml_file.MOST_NESTED}")
    assert list(yaml_file.read(path)) == ["a"]
    path.write_text(f"a: {'[' * 100_000}")
    with pytest.raises(PipelineError, match=r"has more than 100 brackets open at a time"):
        yaml_file.read(path)


def test_a_line_of_json_that_is_nested_too_deeply_is_no_json(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}\n")
    with pytest.raises(PipelineError, match=r"line 1: is no JSON"):
        list(records.read_jsonl(path))


@pytest.mark.parametrize(("duration", "is_fine"), [(records.LONGEST_S, True), (records.LONGEST_S + 1, False)])
def test_a_video_lasts_a_million_seconds_at_most(tmp_path, duration, is_fine):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"qid": 1, "query": "a cat", "vid": "v", "duration": duration}))
    if is_fine:
        assert records.read_queries(path)[0].duration == duration
        return
    with pytest.raises(PipelineError, match="is longer than any video may be"):
        records.read_queries(path)
