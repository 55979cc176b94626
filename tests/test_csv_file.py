"""CSV files: text is read unchanged, and a file that is no table ends with an error of one sentence."""

from __future__ import annotations

import pytest

from pipeline import csv_file
from pipeline.errors import PipelineError


def test_values_stay_text_from_one_end_to_the_other(tmp_path):
    rows = [("007", "NA"), ("1e5", ""), ("a,b", 'says "no"'), ("two\nlines", "ü")]
    csv_file.write(tmp_path / "t.csv", ["vid", "why"], rows)
    assert [tuple(row.values()) for row in csv_file.read(tmp_path / "t.csv")] == rows


def test_equal_rows_give_equal_bytes(tmp_path):
    csv_file.write(tmp_path / "t.csv", ["n"], [(1,), (2,)])
    assert (tmp_path / "t.csv").read_bytes() == b"n\n1\n2\n" == csv_file.text(["n"], [(1,), (2,)]).encode()


def test_the_byte_order_mark_of_some_editors_is_no_part_of_the_first_name(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfvid,why\na,b\n")
    assert csv_file.read(tmp_path / "t.csv") == [{"vid": "a", "why": "b"}]


@pytest.mark.parametrize("line", ["a", "a,b,c"])
def test_a_row_of_another_length_is_named_by_its_line(tmp_path, line):
    (tmp_path / "t.csv").write_text(f"vid,why\na,b\n{line}\n")
    with pytest.raises(PipelineError, match=r"t.csv, line 3: does not have the columns of the header → delete it"):
        csv_file.read(tmp_path / "t.csv")


@pytest.mark.parametrize("content", [None, b"vid\n\xff\n", b'vid\n"a\n', b'vid\n"a"b\n'],
                         ids=["missing", "no UTF-8", "an open quote", "text after a quote"])  # fmt: skip
def test_what_cannot_be_read_says_what_to_do(tmp_path, content):
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(PipelineError, match=r"t.csv: cannot be read \(.+\) → name another"):
        csv_file.read(tmp_path / "t.csv", "name another")
