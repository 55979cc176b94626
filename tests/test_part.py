"""A part of a file is read as an exact cut of it: the same frames, times from 0 on, and the sound of that time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import stage_jobs
from made_sounds import heard, noise, write_sound
from numbered_videos import RATE, number_of, steady, written

from pipeline import files, records
from pipeline.acquire.sources import COLUMNS
from pipeline.config import Acquire, Dataset
from pipeline.errors import PipelineError
from pipeline.features.making.extract import videos_of
from pipeline.layout import Layout
from pipeline.manifests import describe
from pipeline.video.audio import Ended, read_sound
from pipeline.video.decode import read_frames
from pipeline.video.frame_grid import SAMPLINGS
from pipeline.video.part import Part, facts_of
from pipeline.video.probe import probe
from pipeline.video.segment import read_segments
from pipeline.video.views import FRAMES224

KINDS = [("mp4", "h264 B"), ("mkv", "h264 open"), ("ts", "h264 closed"), ("webm", "vp9"), ("mp4", "hevc open")]


@pytest.fixture(scope="module", params=KINDS, ids=[" ".join(kind) for kind in KINDS])
def video(request, tmp_path_factory):
    """Return a video of 80 numbered pictures, 8 s long."""
    container, codec = request.param
    path = tmp_path_factory.mktemp("part") / f"v.{container}"
    return written(path, codec, steady(path, 80))


@pytest.mark.parametrize(("start_s", "end_s"), [("0", "8"), ("2", "6"), ("1.3", "4.05"), ("6", "20")])
def test_the_frames_of_a_part_are_those_whose_times_lie_in_it(video, start_s, end_s):
    start_s, end_s = Fraction(start_s), Fraction(end_s)
    facts = facts_of(Part(video, start_s, end_s))
    shown = [k for k in range(80) if start_s <= Fraction(k, RATE) < end_s]
    assert facts.duration == pytest.approx(min(end_s, 8) - start_s, abs=0.11)  # some containers end a frame later
    times = [float(time * facts.time_base) for time in facts.pts]
    # Matroska and MPEG-TS round times, so a frame at the border may fall on its other side by less than a millisecond.
    assert times == pytest.approx([float(Fraction(k, RATE) - start_s) for k in shown], abs=0.002)
    wanted = list(range(0, len(shown), 3))
    found = [number_of(picture) for chunk in read_frames(facts, {FRAMES224: wanted}) for picture in chunk.frames]
    assert found == [shown[index] for index in wanted]


def test_clips_of_a_part_count_from_its_start(tmp_path):
    whole, alone = tmp_path / "whole.mp4", tmp_path / "alone.mp4"
    written(whole, "h264 B", steady(whole, 80))
    written(alone, "h264 B", steady(alone, 40), first=20)
    part, reference = facts_of(Part(whole, Fraction(2), Fraction(6))), probe(alone)
    for name, clip_s in (("middle", 2), ("motion", 2), ("slow", 2), ("stacks16", 2), ("every4of24", Fraction(1, 6))):
        wanted = SAMPLINGS[name](reference, Fraction(clip_s))
        assert np.array_equal(SAMPLINGS[name](part, Fraction(clip_s)), wanted)
        indices = np.unique(wanted).tolist()
        shown = [
            [number_of(picture) for chunk in read_frames(facts, {FRAMES224: indices}) for picture in chunk.frames]
            for facts in (part, reference)
        ]
        assert shown[0] == shown[1]


def test_a_part_behind_the_end_is_refused_with_both_times(tmp_path):
    path = tmp_path / "v.mp4"
    written(path, "h264 B", steady(path, 20))
    with pytest.raises(PipelineError, match=r"lasts 2\.00 s and shows nothing from 60 s to 210 s"):
        facts_of(Part(path, Fraction(60), Fraction(210)))


def test_the_sound_of_a_part_is_that_of_a_file_that_holds_it_alone(tmp_path):
    track = noise(n=132_300)
    whole = write_sound(tmp_path / "whole.wav", track)
    alone = write_sound(tmp_path / "alone.wav", track[:, 22_050:66_150])
    *chunks, end = read_sound(Part(whole, Fraction(1, 2), Fraction(3, 2)))
    samples, end_s = heard(alone)
    assert end == Ended(end_s) == Ended(Fraction(1))
    assert np.array_equal(np.concatenate(chunks), samples)


def test_a_track_that_ends_before_a_part_is_no_sound(tmp_path):
    whole = write_sound(tmp_path / "whole.wav", noise(n=44_100))
    assert list(read_sound(Part(whole, Fraction(2), Fraction(3)))) == [Ended(None)]


def test_the_account_the_clips_and_the_extraction_agree_on_a_part(tmp_path):
    folder, vids = tmp_path / "results/resources/yt/files", ["-_bcdefghij_2.0_6.0", "-_bcdefghij_4.0_8.0"]
    folder.mkdir(parents=True)
    whole = folder / "-_bcdefghij.mp4"
    written(whole, "h264 B", steady(whole, 80))
    table = tmp_path / "sources.csv"
    table.write_text(f"{','.join(COLUMNS)}\nyt,youtube,{{vid}}.mp4,https://127.0.0.1:1/{{vid}},,,,")
    layout = Layout(tmp_path / "results")
    listed = layout.annotations("qvhighlights", "val")
    records.write_jsonl(listed, [{"qid": n, "query": "q", "vid": vid, "duration": 4} for n, vid in enumerate(vids)])
    annotated = listed.with_suffix(".json")
    files.write_json(annotated, {"stage": "annotate", "files": [describe(listed)]})
    about = {"dataset": "qvhighlights", "shard": "00000"}
    dataset = Dataset(shards=1, annotations={"val": "any"}, videos=["yt"])
    settings = {"dataset": dataset, "acquire": Acquire(sources=str(table))}
    account, clips = layout.manifest("videos", **about), layout.manifest("segments", **about)
    stage_jobs.run("videos", layout.results, account, {"inputs": [annotated]}, settings, **about)
    stage_jobs.run("segment", layout.results, clips, {"videos": account}, {"grids": ["2s"]}, **about)
    segments = read_segments(layout.segments("qvhighlights", "2s", "00000"))
    assert [(row.vid, row.start_s, row.n_clips, row.status) for row in segments] == [
        (vids[0], 2, 2, "ok"),
        (vids[1], 4, 2, "ok"),
    ]
    sources, skipped = videos_of(layout.results, "qvhighlights", "00000", ["2s"])
    assert skipped == []
    assert [source.to_read for source in sources] == [
        Part(whole, Fraction(2), Fraction(6)),
        Part(whole, Fraction(4), Fraction(8)),
    ]
    assert not stage_jobs.run("videos", layout.results, account, {"inputs": [annotated]}, settings, **about)
