"""The table of sources: its rows are checked, and an error names line and column."""

import re

import pytest

from pipeline.acquire import sources
from pipeline.acquire.sources import COLUMNS, DIGEST_LENGTHS
from pipeline.errors import PipelineError
from pipeline.files import sha256

GOOD = {
    "name": "a-file",
    "kind": "file",
    "file": "a.jsonl",
    "url": "https://example.org/a.jsonl",
    "digest": "sha256:" + "0" * 64,
    "bytes": "12",
    "licence": "",
    "note": "",
}


@pytest.fixture
def table(tmp_path):
    def write(*rows: dict[str, str]):
        path = tmp_path / "sources.csv"
        lines = [",".join(COLUMNS), *(",".join((GOOD | row)[column] for column in COLUMNS) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_the_packaged_table_is_valid_and_fetched_over_https():
    table = sources.load()
    assert all(address.startswith("https://") for source in table for address in source.addresses)
    for source in table:
        if source.digest:
            algorithm, value = source.digest.split(":")
            assert re.fullmatch(rf"[0-9a-f]{{{DIGEST_LENGTHS[algorithm]}}}", value)


def test_every_annotation_and_prediction_file_is_known_by_digest_and_size():
    table = sources.load()
    known = [s for s in table if re.match(r"(qvhighlights|charades-sta|tvsum)-(train|val|test)|tr-detr", s.name)]
    assert len(known) == 10
    assert all(source.digest.startswith("sha256:") and source.n_bytes for source in known)


def test_weights_that_features_need_stand_in_the_table():
    from pipeline.families import FAMILIES

    table = sources.load()
    assert {table[name].kind for family in FAMILIES.values() for name in family.weights} <= {"file", "archive"}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("qvhighlights-train", "annotations/qvhighlights_train.jsonl"),
        ("qvhighlights-val", "annotations/qvhighlights_val.jsonl"),
        ("qvhighlights-test", "annotations/qvhighlights_test_with_gt.jsonl"),
        ("qvhighlights-test-public", "annotations/qvhighlights_test_public.jsonl"),
        ("charades-sta-train", "annotations/charades_sta_train.jsonl"),
        ("charades-sta-test", "annotations/charades_sta_test.jsonl"),
        ("tvsum-train", "annotations/tvsum_train.jsonl"),
        ("tvsum-val", "annotations/tvsum_val.jsonl"),
        ("tr-detr-predictions-val", "predictions/trdetr_qvhighlights_val.jsonl"),
        ("tr-detr-predictions-test", "predictions/trdetr_qvhighlights_test.jsonl"),
        ("moment-detr-predictions-val", "predictions/momentdetr_qvhighlights_val.jsonl"),
    ],
)
def test_the_released_files_have_the_digest_and_size_of_their_row(shared_data, name, file):
    source = sources.load()[name]
    assert source.digest == f"sha256:{sha256(shared_data / file)}"
    assert source.n_bytes == (shared_data / file).stat().st_size


def test_rows_of_one_name_are_mirrors_in_their_order(table):
    mirrors = sources.load(table({}, {"url": "http://127.0.0.1:1/a"}, {"url": "file:///a"}))["a-file"].addresses
    assert mirrors == (GOOD["url"], "http://127.0.0.1:1/a", "file:///a")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "-x"}, "`name`"),
        ({"kind": "folder"}, "`kind`.*file, archive, video, youtube"),
        ({"file": "../x"}, "`file`"),
        ({"file": "a/b"}, "`file`"),
        ({"url": "ftp://example.org/a"}, "`url`"),
        ({"url": "a.jsonl"}, "`url`"),
        ({"digest": "sha512:00"}, "`digest`"),
        ({"digest": "sha256:00"}, "2 characters"),
        ({"bytes": "12 kB"}, "`bytes`"),
        ({"kind": "video"}, "{vid}"),
        ({"url": "https://example.org/{vid}"}, "{vid}"),
    ],
)
def test_a_row_that_does_not_fit_is_named_with_its_line(table, change, told):
    with pytest.raises(PipelineError, match=told) as error:
        sources.load(table({}, {"name": "other"} | change))
    assert "sources.csv, line 3" in str(error.value)


@pytest.mark.parametrize("column", ["kind", "file", "digest", "bytes"])
def test_mirrors_that_disagree_about_the_file_are_refused(table, column):
    other = {"kind": "archive", "file": "b.jsonl", "digest": "", "bytes": "13"}[column]
    with pytest.raises(PipelineError, match=f"line 3: `{column}`"):
        sources.load(table({}, {"url": "https://example.org/b", column: other}))


def test_an_address_that_stands_twice_is_refused(table):
    with pytest.raises(PipelineError, match="is listed twice"):
        sources.load(table({}, {}))


def test_a_row_with_a_stray_comma_is_refused(table):
    with pytest.raises(PipelineError, match="8 fields"):
        sources.load(table({"note": "one, two"}))


def test_a_size_that_others_report_may_stand_in_a_last_column_and_is_not_taken_for_the_exact_one(tmp_path):
    def source(reported):
        line = ",".join((GOOD | {"bytes": ""}).values())
        (tmp_path / "t.csv").write_text(f"{','.join(COLUMNS)},reported\n{line},{reported}\n")
        return sources.load(tmp_path / "t.csv")["a-file"]

    assert (source("120").n_bytes, source("120").n_bytes_reported) == (None, 120)
    assert source("").n_bytes_reported is None
    with pytest.raises(PipelineError, match="line 2: `reported` is 'about 9'"):
        source("about 9")


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("name,url\n")
    with pytest.raises(PipelineError, match="line 1: has the columns"):
        sources.load(tmp_path / "t.csv")


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PipelineError, match=r"none\.csv"):
        sources.load(tmp_path / "none.csv")


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(PipelineError, match=r"clip-vit-b16.*clip-vit-b32"):
        sources.load()["clip-vit-b16"]
