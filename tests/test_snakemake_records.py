"""A damaged record of Snakemake is named before Snakemake reads it and ends in a traceback."""

from __future__ import annotations

import pytest

from pipeline.errors import PipelineError
from pipeline.snakemake_records import KINDS, refuse_damaged


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_is_no_text_is_refused_with_its_folder(tmp_path, kind):
    for folder in KINDS:
        (tmp_path / folder / "@long").mkdir(parents=True)
        (tmp_path / folder / "@long/good").write_text('{"rule": "träin"}')
    refuse_damaged(tmp_path)
    (tmp_path / kind / "@long/bad").write_bytes(b'{"rule": "tr\xe4in"}')
    with pytest.raises(
        PipelineError, match=rf"@long/bad: is damaged.* → .* delete the folder \S+/{kind}, and run again"
    ):
        refuse_damaged(tmp_path)


def test_a_folder_without_records_is_fine(tmp_path):
    refuse_damaged(tmp_path / "nowhere")
