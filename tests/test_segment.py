"""Clip tables: row counts of the published features, vids that look like numbers, and every video accounted for."""

from __future__ import annotations

import csv
from fractions import Fraction

import pytest
import stage_jobs
from hypothesis import given
from hypothesis import strategies as st

from pipeline import files, provenance
from pipeline.errors import PipelineError
from pipeline.grids import grid_seconds, n_clips
from pipeline.video.segment import Segments, read_segments

COLUMNS = ("vid", "status", "why", "path", "bytes", "duration_s", "fps", "sha256", "source")


@pytest.mark.parametrize(
    ("duration", "clip", "clips"),
    [("460460/15000", 2, 15), ("150", 2, 75), ("151", 2, 76), ("0.2", 2, 1), ("30.5", 1, 31), ("30", "1/6", 180)],
)
def test_clips_are_rounded_half_up_and_at_least_one(duration, clip, clips):
    assert n_clips(Fraction(duration), Fraction(clip)) == clips


@given(st.fractions(min_value="1/1000", max_value=10_000), st.sampled_from(["2s", "1s", "0.5s", "1-6s"]))
def test_clips_cover_the_video_to_half_a_clip(duration, grid):
    clip_s = grid_seconds(grid)
    clips = n_clips(duration, clip_s)
    assert clips == 1 or abs(clips * clip_s - duration) <= clip_s / 2


def test_an_unknown_grid_is_refused_naming_the_known():
    with pytest.raises(PipelineError, match="11s: no such clip grid; known are 2s, 1s"):
        grid_seconds("11s")


def stage(results, rows):
    table = results / "videos" / "tvsum" / "00000.csv"
    with files.atomic(table) as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    manifest = table.with_suffix(".json")
    provenance.run_stage("videos", manifest, lambda: provenance.Outcome([table]), settings={"rows": len(rows)})
    made = results / "segments" / "tvsum" / "00000.json"
    about = {"dataset": "tvsum", "shard": "00000", "grids": "2s,1-6s", "clip": "2s"}
    ran = stage_jobs.run("segment", results, made, {"videos": manifest}, **about)
    return ran, files.read_json(made)


def test_every_video_has_a_row_on_every_grid_and_vids_stay_text(tmp_path):
    rows = [
        {"vid": "00607", "status": "ok", "duration_s": "30"},
        {"vid": "-_21E40", "status": "failed", "why": "HTTP 404, twice"},
    ]
    ran, manifest = stage(tmp_path, rows)
    assert ran
    assert manifest["counts"] == {"videos": 1, "clips_2s": 15, "clips_1-6s": 180}
    assert manifest["skipped"] == [{"vid": "-_21E40", "why": "failed: HTTP 404, twice"}]
    assert read_segments(tmp_path / "segments/tvsum/2s/00000.csv") == [
        Segments("00607", Fraction(0), 15, "ok"),
        Segments("-_21E40", Fraction(0), 0, "failed: HTTP 404, twice"),
    ]


def test_the_second_run_finds_nothing_to_do(tmp_path):
    rows = [{"vid": "a", "status": "ok", "duration_s": "4"}]
    assert stage(tmp_path, rows)[0]
    assert not stage(tmp_path, rows)[0]


def test_an_empty_shard_is_a_table_without_rows(tmp_path):
    stage(tmp_path, [])
    assert read_segments(tmp_path / "segments/tvsum/1-6s/00000.csv") == []


def test_a_duration_that_is_no_number_names_file_and_vid(tmp_path):
    with pytest.raises(PipelineError, match=r"00000.csv: `duration_s` of a is no number \('soon'\)"):
        stage(tmp_path, [{"vid": "a", "status": "ok", "duration_s": "soon"}])
