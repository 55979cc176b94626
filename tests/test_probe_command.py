"""The command `probe` prints a table for people, and JSON for programs."""

from __future__ import annotations

import json

import pytest
from made_videos import make_video

from pipeline import cli


def probed(*words: object) -> int:
    """Run the command and return its exit code."""
    try:
        cli.main(["probe", *map(str, words)])
    except SystemExit as end:
        return int(bool(end.code))
    return 0


@pytest.fixture
def paths(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_text("text")
    long = make_video(tmp_path / "long.mp4", range(0, 600 * 100, 300), 64, 48, rate=2)
    return [make_video(tmp_path / "ein Hund.mp4", range(0, 1800, 20), 96, 72), broken, long]


def test_every_file_has_a_line_under_the_names_of_the_columns(paths, capsys):
    assert probed(paths[0], paths[2]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["seconds", "frames", "fps", "pixels", "codec", "file"]
    assert [line.split(maxsplit=5) for line in lines] == [
        ["3.000", "90", "30.000", "96x72", "h264", str(paths[0])],
        ["100.000", "200", "2.000", "64x48", "h264", str(paths[2])],
    ]
    assert {line.index("h264") for line in lines} == {head.index("codec")}


def test_a_file_that_cannot_be_used_has_its_reason_in_its_line_and_fails_the_command(paths, capsys):
    assert probed(*paths) == 1
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4
    assert told[2].startswith(f"  unusable  {paths[1]}: cannot be read as video")


def test_json_holds_the_facts_of_each_file_or_its_problem_and_what_to_do(paths, capsys):
    assert probed("--json", *paths) == 1
    good, broken, _ = json.loads(capsys.readouterr().out)
    assert good == {
        "file": str(paths[0]),
        "seconds": 3.0,
        "duration": "3",
        "stored": True,
        "frames": 90,
        "fps": 30.0,
        "width": 96,
        "height": 72,
        "codec": "h264",
    }
    assert broken["file"] == str(paths[1])
    assert broken["problem"].startswith("cannot be read as video")
    assert "good copy" in broken["remedy"]
