"""A manifest that no longer says what is there is hidden from Snakemake, with all that stands on it."""

from __future__ import annotations

import pytest

from pipeline import files, provenance, stale


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two shards, a training on both, and a table, remembered; each stage counts its work in `done`."""
    monkeypatch.setattr(stale, "is_remembered", lambda _: True)

    class Results:
        folder, done = tmp_path, []

        def make(self):
            self.done.clear()
            shards = [self.run("extract", f"features/tvsum/words/0000{i}", [], clip=i) for i in (0, 1)]
            self.run("tabulate", "tables/table3", [self.run("train", "runs/one.1of1", shards)])
            return list(self.done)

        def run(self, stage, name, inputs, **settings):
            product, manifest = tmp_path / f"{name}.h5", tmp_path / f"{name}.json"

            def work():
                self.done.append(name)
                product.write_text(name)
                return provenance.Outcome([product])

            revision = provenance.REVISIONS["clip-text"]
            settings["families"] = {"clip-text": {"revision": revision} if stage == "extract" else "/tokens/clip-text/"}
            provenance.run_stage(stage, manifest, work, inputs=inputs, settings=settings)
            return manifest

        def seen(self):
            return sorted(str(path.relative_to(tmp_path)) for path in stale._existing(tmp_path))

    return Results()


def test_nothing_is_hidden_while_everything_is_there(results):
    results.make()
    assert stale.set_aside(results.folder) == []
    assert len(results.seen()) == 4


def test_a_missing_store_hides_its_manifest_and_what_stands_on_it(results):
    results.make()
    (results.folder / "features/tvsum/words/00001.h5").unlink()
    assert [path.name for path in stale.set_aside(results.folder)] == ["00001.json"]
    assert results.seen() == ["features/tvsum/words/00000.json"]


def test_what_was_hidden_is_brought_back_where_the_new_file_equals_the_old(results):
    results.make()
    (results.folder / "features/tvsum/words/00001.h5").unlink()
    stale.set_aside(results.folder)
    assert results.make() == ["features/tvsum/words/00001"]
    assert len(results.seen()) == 4
    assert stale.set_aside(results.folder) == []


@pytest.mark.parametrize("raised", ["extract", "clip-text"])
def test_a_raised_revision_hides_its_stage_and_family(results, monkeypatch, raised):
    results.make()
    monkeypatch.setitem(provenance.REVISIONS, raised, 99)
    assert [path.stem for path in stale.set_aside(results.folder)] == ["00000", "00001"]
    assert results.make() == ["features/tvsum/words/00000", "features/tvsum/words/00001"]


def test_a_revision_that_nothing_was_made_with_hides_nothing(results, monkeypatch):
    results.make()
    monkeypatch.setitem(provenance.REVISIONS, "pann-cnn14", 99)
    assert stale.set_aside(results.folder) == []


def test_the_manifest_of_a_job_at_work_stays(results):
    results.make()
    (results.folder / "features/tvsum/words/00001.h5").unlink()
    with files.lock(results.folder / "features/tvsum/words/00001.json"):
        stale.set_aside(results.folder)
    assert "features/tvsum/words/00001.json" in results.seen()


@pytest.mark.parametrize(("stage", "is_hidden"), [("videos", True), ("extract", False)])
def test_videos_that_did_not_come_hide_their_manifest(results, stage, is_hidden):
    results.make()
    path = results.folder / "features/tvsum/words/00001.json"
    counted = {"counts": {"failed": 1}, "stage": stage, "revision": provenance.REVISIONS[stage]}
    files.write_json(path, files.read_json(path) | counted)
    assert stale.set_aside(results.folder) == ([path] if is_hidden else [])


def test_a_manifest_that_snakemake_does_not_remember_is_hidden(results, monkeypatch):
    results.make()
    monkeypatch.setattr(stale, "is_remembered", lambda path: "runs" not in path.parts)
    assert [path.name for path in stale.set_aside(results.folder)] == ["one.1of1.json"]
    assert results.seen() == [f"features/tvsum/words/0000{i}.json" for i in (0, 1)]


@pytest.mark.parametrize("kind", ["metadata", "incomplete"])
@pytest.mark.parametrize("length", [1, 300])
def test_snakemake_remembers_what_it_made_and_what_it_is_making(tmp_path, monkeypatch, kind, length):
    persistence = pytest.importorskip("snakemake.persistence.file").FilePersistence
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("n" * length) / "one.json"
    records = persistence(nolock=True)
    assert not stale.is_remembered(path)
    records._io_write(f"{records.path}/{kind}", {}, str(path))
    assert stale.is_remembered(path)


def test_what_no_job_made_again_is_put_back_as_it_was(results):
    results.make()
    table = results.folder / "tables/table3.json"
    before = table.stat().st_mtime_ns
    (results.folder / "features/tvsum/words/00001.h5").unlink()
    stale.set_aside(results.folder)
    stale.put_back(results.folder)
    assert len(results.seen()) == 4
    assert table.stat().st_mtime_ns == before
    assert len(stale.set_aside(results.folder)) == 1


def test_what_was_made_again_is_not_replaced_by_what_was_put_aside(results, monkeypatch):
    results.make()
    monkeypatch.setitem(provenance.REVISIONS, "clip-text", 99)
    stale.set_aside(results.folder)
    results.make()
    stale.put_back(results.folder)
    assert stale.set_aside(results.folder) == []
