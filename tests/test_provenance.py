"""A stage does no work if its inputs, its settings and its revision did not change."""

from __future__ import annotations

import json

import pytest

from pipeline import files, provenance, seal
from pipeline.errors import PipelineError
from pipeline.manifests import describe, input_digests, known_digest


@pytest.fixture
def stage(tmp_path):
    """Run `segment` over one input file and count how often it works."""
    source, product, manifest = tmp_path / "in.csv", tmp_path / "out.csv", tmp_path / "m.json"
    source.write_text("a")
    done = []

    def run(settings=None):
        def work():
            done.append(1)
            product.write_text("made")
            return provenance.Outcome([product], {"videos": 1}, [{"vid": "x", "why": "404"}])

        provenance.run_stage("segment", manifest, work, inputs=[source], settings=settings or {"grid": "2s"})
        return len(done)

    run.source, run.product, run.manifest = source, product, manifest
    return run


def test_equal_work_is_not_done_again_and_its_manifest_gets_a_fresh_time(stage):
    stage()
    before, old = stage.manifest.read_bytes(), stage.manifest.stat().st_mtime_ns
    stage.source.touch()
    assert stage() == 1
    assert stage.manifest.read_bytes() == before
    assert stage.manifest.stat().st_mtime_ns >= old


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.source.write_text("b"),
        lambda run: run.product.unlink(),
        lambda run: run.product.write_text("another size"),
        lambda run: run.manifest.write_text("torn"),
    ],
    ids=["input", "product gone", "product of another size", "manifest torn"],
)
def test_work_is_done_again_when_something_changed(stage, change):
    stage()
    change(stage)
    assert stage() == 2


def test_work_is_done_again_for_other_settings_and_for_a_raised_revision(stage, monkeypatch):
    stage()
    assert stage({"grid": "1s"}) == 2
    monkeypatch.setitem(provenance.STAGES, "segment", 99)
    assert stage({"grid": "1s"}) == 3


def test_a_failed_stage_leaves_the_old_manifest(stage, tmp_path):
    stage()
    before = stage.manifest.read_bytes()

    def fail():
        raise PipelineError("no")

    with pytest.raises(PipelineError):
        provenance.run_stage("segment", stage.manifest, fail, inputs=[stage.source], settings={"grid": "9"})
    assert stage.manifest.read_bytes() == before


def test_a_manifest_holds_what_was_made_counted_and_skipped_and_no_time(stage):
    stage()
    content = files.read_json(stage.manifest)
    assert set(content) == {"stage", "revision", "settings", "inputs", "files", "counts", "skipped", "seal"}
    assert content["files"] == [{"path": str(stage.product), "bytes": 4, "sha256": files.sha256(stage.product)}]
    assert content["skipped"] == [{"vid": "x", "why": "404"}]


def test_whatever_value_of_a_manifest_was_changed_the_work_is_done_again_and_nobody_reads_it(stage):
    """Strings, numbers and keys in all parts of a manifest are changed by one character."""
    stage()
    whole = stage.manifest.read_text()
    places = [place for place, letter in enumerate(whole) if letter.isalnum()]
    for place in {*places[::11], *range(whole.index("404"), whole.index("404") + 3), whole.index("seal")}:
        other = "7" if whole[place] in "01" else "1"
        stage.manifest.write_text(whole[:place] + other + whole[place + 1 :])
        done = stage()
        assert stage.manifest.read_text() == whole, whole[place - 20 : place + 20]
        assert stage() == done


def test_a_manifest_that_was_changed_is_no_input(stage, tmp_path):
    stage()
    stage.manifest.write_text(stage.manifest.read_text().replace("404", "405"))
    with pytest.raises(PipelineError, match=r"m.json: was changed or damaged .* → delete it and run again"):
        provenance.run_stage("extract", tmp_path / "next.json", provenance.Outcome, inputs=[stage.manifest])


def test_a_manifest_of_before_there_were_seals_is_as_good_as_ever(stage):
    stage()
    content = files.read_json(stage.manifest)
    del content["seal"]
    files.write_json(stage.manifest, content)
    assert stage() == 1
    assert files.read_json(stage.manifest) == content


def test_a_seal_is_that_of_what_is_read_again():
    content = {"tuple": (1, 2.5), 10: "key", 9: "é", "none": None}
    again = json.loads(json.dumps(seal.sealed(content)))
    assert not seal.is_broken(again)
    assert seal.sealed(again) == again


def test_a_manifest_as_input_stands_for_those_of_its_files_that_are_read(tmp_path):
    for name in ("clip", "pann"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "s.h5").write_text(name)
    both = [describe(tmp_path / name / "s.h5") for name in ("clip", "pann")]
    files.write_json(tmp_path / "m.json", {"stage": "extract", "files": both})
    digests = input_digests([tmp_path / "m.json"], only=lambda path: path.parent.name == "clip")
    assert list(digests) == [str(tmp_path / "clip" / "s.h5")]


def test_the_digest_of_a_fetched_file_is_taken_from_its_manifest(tmp_path):
    fetched, manifest = tmp_path / "weights.bin", tmp_path / "fetch.json"
    provenance.run_stage("fetch", manifest, lambda: (fetched.write_bytes(b"1"), provenance.Outcome([fetched]))[1])
    recorded = files.sha256(fetched)
    fetched.unlink()
    assert known_digest(manifest) == (fetched, recorded)
    fetched.write_bytes(b"2")
    assert known_digest(fetched) == (fetched, files.sha256(fetched))
