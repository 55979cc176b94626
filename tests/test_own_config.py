"""A dataset of one's own in the config and on the command line: known to every process, and refused where wrong."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest
import yaml
from made_own import GOOD, HEADER, SCORED, with_videos, write
from made_videos import make_video

from pipeline import cli, config, datasets, files, version
from pipeline.datasets import own
from pipeline.doctor.needs import cut_to
from pipeline.errors import PipelineError


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setenv(own.VARIABLE, "")
    yield
    datasets.register({})


@pytest.fixture
def folder(tmp_path):
    return with_videos(tmp_path)


def section(folder, **more):
    return {"annotations": str(folder / "my.csv"), "videos": str(folder / "videos"), **more}


def raw(folder, name="mine", **more):
    experiment = {"dataset": name, "features": {"video": ["clip-vit-b32"], "text": "clip-text"}, "report": "test"}
    return {"datasets": {name: section(folder, **more)}, "training": {}, "experiments": {"first": experiment}}


def test_a_config_may_name_it_and_every_process_it_starts_knows_it(folder):
    write(folder, SCORED, f"{HEADER},score,split")
    cfg = config.load(raw(folder, clip="1s"))
    assert cfg.experiments["first"].about.highlights == datasets.definition.Highlights("1s", 1, "levels")
    assert cfg.datasets["mine"].annotations == dict.fromkeys(("test", "train", "val"), str(folder / "my.csv"))
    assert cfg.datasets["mine"].shards == 1
    assert own.known_here() == {"mine": datasets.OwnFiles(str(folder / "my.csv"), str(folder / "videos"), "1s", 1)}


def test_the_doctor_knows_the_target_of_its_table(folder):
    write(folder, GOOD)
    content = raw(folder)
    content["experiments"]["tvsum"] = {"dataset": "tvsum", "source": "predictions", "predictions": {"val": "p"}}
    cfg = config.load(content | {"datasets": content["datasets"] | {"tvsum": {"annotations": {"val": "a"}}}})
    assert list(cut_to(cfg, "table_mine").experiments) == ["first"]
    with pytest.raises(
        PipelineError, match=r"is no target of this workflow → name one of .*leaderboards, table_mine, or"
    ):
        cut_to(cfg, "table_yours")


def test_the_lines_that_the_page_shows_for_a_config_of_ones_own_are_enough(folder, monkeypatch):
    page = (Path(__file__).resolve().parents[1] / "docs/own.md").read_text(encoding="utf-8")
    lines = page.partition("every other key has a default:\n\n")[2].partition("\n\n")[0]
    write(folder, GOOD)
    monkeypatch.chdir(folder)
    cfg = config.load(yaml.safe_load(textwrap.dedent(lines).replace("FOLDER", "videos")))
    assert list(cfg.experiments) == ["mine_clip"]
    assert cfg.experiments["mine_clip"].seeds == [2017, 0, 1]


def test_a_config_without_it_forgets_it(folder):
    write(folder, GOOD)
    config.load(raw(folder))
    assert "mine" in datasets.DATASETS
    config.load({"datasets": {}, "training": {}, "experiments": {}})
    assert "mine" not in datasets.DATASETS


FACTS = {"annotations": "my.csv", "videos": "videos", "clip": "2s", "raters": 1}


@pytest.mark.parametrize("changes", [{}, {"annotations": "moved/my.csv", "videos": "moved"}])
def test_a_dataset_may_be_learnt_twice_where_its_labels_are_equal(changes):
    datasets.learn("mine", FACTS)
    before = datasets.get("mine")
    datasets.learn("mine", FACTS | changes)
    assert datasets.get("mine") is before


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "mine",
            {"clip": "1s"},
            r"\(clips of 2s, rated by 1; new: clips of 1s, rated by 1\)",
        ),
        ("mine", {"raters": 0}, r"\(clips of 2s, rated by 1; new: clips of 2s, not rated\)"),
        (
            "mine",
            {"raters": 3},
            r"\(clips of 2s, rated by 1; new: clips of 2s, rated by 3\)",
        ),
        ("tvsum", {}, r"\(a dataset of the papers; new: clips of 2s, rated by 1\)"),
    ],
)
def test_another_dataset_of_a_known_name_is_refused_and_the_first_stays(name, changes, said):
    datasets.learn("mine", FACTS)
    before = dict(datasets.DATASETS)
    expected = f"dataset {name}: is already registered with other labels {said} → use one process for each"
    with pytest.raises(PipelineError, match=expected):
        datasets.learn(name, FACTS | changes)
    assert before == datasets.DATASETS


def test_what_a_workflow_tells_its_jobs_counts_more_than_what_lies_in_the_folder(tmp_path, capsys):
    files.write_json(tmp_path / "annotations/mine/dataset.json", FACTS)
    datasets.register({"mine": datasets.OwnFiles("my.csv", "videos", "1s", 0)})
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--results", str(tmp_path), "--help"])
    assert own.labels(datasets.get("mine")) == "clips of 1s, not rated"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("tvsum", {}, r"`datasets.tvsum` is a dataset of the paper"),
        ("Mine!", {}, r"`datasets.Mine!` is no name for a dataset"),
        ("mine", {"videos": ["x"]}, r"`datasets.mine.videos` is missing → name a folder of videos there"),
        ("mine", {"clip": "11s"}, r"datasets.mine.clip.*no such clip grid"),
        ("mine", {"annotations": "nowhere.csv"}, r"nowhere.csv: cannot be read"),
        (
            "mine",
            {"videos": "$NO_SUCH_VARIABLE/x"},
            r"`datasets.mine.videos`: the variable NO_SUCH_VARIABLE is not set",
        ),
        ("mine", {"spilt": 1}, r"datasets.mine.spilt.*unknown key"),
    ],
)
def test_a_section_that_does_not_fit_is_refused(folder, name, more, said):
    write(folder, GOOD)
    with pytest.raises(PipelineError, match=said):
        config.load(raw(folder, name, **more))


def test_bad_rows_are_told_when_the_config_is_read(folder):
    write(folder, [*GOOD, "a,q,4,2"])
    with pytest.raises(PipelineError, match=r"my.csv: 1 of 6 rows cannot be used"):
        config.load(raw(folder))


def test_the_command_describes_a_file_and_writes_a_config_that_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    for k, name in enumerate("abc"):
        make_video(tmp_path / "videos" / f"{name}.mp4", range(0, 600 * (8 + k), 300), rate=2)
    write(tmp_path, ["a,q,0,2", "a,q,4,6", "b,r,1,3", "c,s,0,9"])
    cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "mine", "--clip", "1s"])
    said = capsys.readouterr().out
    assert "mine: 3 videos, 0.01 hours, 3 queries; clips of 1s, not rated: moments only" in said
    assert "windows per query: 1.33 on average, 2 at most" in said
    assert "snakemake --cores 2 table_mine --configfile mine.yaml" in said
    assert 'ask VIDEO "query" --run results/runs/mine_clip/all-s2017 --output DIR' in said
    assert "hours of video" in said
    cfg = config.load_file(tmp_path / "mine.yaml")
    assert cfg.datasets["mine"].clip == "1s"
    assert cfg.experiments["mine_clip"].seeds == [2017, 0, 1]
    assert config.load_file(tmp_path / "mine.yaml", seeds=[5]).experiments["mine_clip"].seeds == [5]
    cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "mine", "--clip", "1s"])
    with pytest.raises(SystemExit, match=r"mine.yaml: is there already"):
        cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "mine", "--clip", "2s"])
    with pytest.raises(SystemExit, match=r"`tvsum` cannot be the name of your dataset"):
        cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "tvsum"])
    with pytest.raises(SystemExit, match=r"videos: is a folder and no file"):
        cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "mine", "--output", "videos"])
    monkeypatch.setattr("sys.argv", ["/usr/bin/tr-detr"])
    monkeypatch.setattr(version, "PROJECT", tmp_path / "pyproject.toml")
    cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "mine", "--clip", "1s"])
    said = capsys.readouterr().out
    assert "Training needs a checkout of the project: this installation has no workflow." in said
    assert f"snakemake --cores 2 table_mine --configfile {tmp_path / 'mine.yaml'}" in said
    assert '  tr-detr ask VIDEO "query"' in said
    (tmp_path / "$HOME.csv").write_text("")
    with pytest.raises(SystemExit, match=r"HOME.csv: holds a `\$`, .* → rename that file or folder"):
        cli.main(["new-dataset", "$HOME.csv", "--videos", "videos", "--name", "mine"])
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SystemExit, match=r"pipe.csv: is a pipe or a device and no file → name a file"):
        cli.main(["new-dataset", "pipe.csv", "--videos", "videos", "--name", "mine"])
    write(tmp_path, ["a,q,0,2,train", "b,r,1,3,val", "c,s,0,9,train"], f"{HEADER},split")
    cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "untested"])
    assert config.load_file(tmp_path / "untested.yaml").experiments["untested_clip"].report == "val"
    write(tmp_path, ["a,q,0,2", "b,r,1,3", "c,s,0,10.5", "z,t,0,1"])
    said = r"2 of 4 rows .*\n  line 4, end: 10.5 is after the end of the video at 10.000 s\n  line 5, video: 'z'"
    with pytest.raises(SystemExit, match=said):
        cli.main(["new-dataset", "my.csv", "--videos", "videos", "--name", "other"])
