"""A manifest that differs from what is asked for has work, and the comparison changes nothing."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest

from pipeline import files, provenance, stale
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.manifests import Snapshot
from pipeline.provenance import StageRequest

SHARDS = [f"features/tvsum/words/0000{i}" for i in (0, 1)]


class Results:
    """Two shards, a training on both, and a table; each stage counts its work in `done`."""

    def __init__(self, folder):
        self.folder, self.done, self.clips = folder, [], dict.fromkeys(SHARDS, 1)

    def asked(self):
        """Return manifest name → the request of its stage."""
        revision = {"clip-text": {"revision": FAMILIES["clip-text"].revision}}
        shards = {n: StageRequest("extract", {"families": revision, "clip": c}) for n, c in self.clips.items()}
        train = StageRequest("train", {"families": {"clip-text": "/tokens/"}}, [self.manifest(name) for name in shards])
        return shards | {"runs/one": train, "tables/table3": StageRequest("tabulate", {}, [self.manifest("runs/one")])}

    def manifest(self, name):
        return self.folder / f"{name}.json"

    def make(self):
        self.done.clear()
        for name, asked in self.asked().items():
            provenance.run_request(asked, self.manifest(name), lambda name=name: self.work(name))
        return list(self.done)

    def work(self, name):
        self.done.append(name)
        product = self.folder / f"{name}.h5"
        product.write_text(f"{name} {sum(self.clips.values())}")
        return provenance.Outcome([product])

    def with_work(self):
        """Return the names whose manifests have work. Check that asking moved, made and touched nothing."""
        before = self.state()
        found = [name for name, asked in self.asked().items() if stale.has_work(asked, self.manifest(name))]
        assert self.state() == before
        return found

    def state(self):
        return {path: path.stat().st_mtime_ns for path in self.folder.rglob("*") if not path.name.endswith(".lock")}


def raise_revision(monkeypatch, name):
    """Raise the revision of a stage or a family."""
    if name in provenance.STAGES:
        monkeypatch.setitem(provenance.STAGES, name, 99)
    else:
        monkeypatch.setitem(FAMILIES, name, replace(FAMILIES[name], revision=99))


@pytest.fixture
def results(tmp_path):
    made = Results(tmp_path)
    made.make()
    return made


def test_nothing_has_work_while_everything_is_as_asked(results):
    assert results.with_work() == []
    assert results.make() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.with_suffix(".h5").unlink(),
        lambda path: path.with_suffix(".h5").write_text("another size"),
        lambda path: path.write_text("torn"),
        lambda path: path.write_text("[]"),
    ],
    ids=["store gone", "store of another size", "manifest torn", "manifest is no object"],
)
def test_what_is_damaged_has_work_and_nothing_else(results, damage):
    damage(results.manifest(SHARDS[1]))
    assert results.with_work()[:1] == [SHARDS[1]]
    assert results.make() == [SHARDS[1]]
    assert results.with_work() == []


@pytest.mark.parametrize("raised", ["extract", "clip-text"])
def test_a_raised_revision_gives_its_stage_and_family_work(results, monkeypatch, raised):
    raise_revision(monkeypatch, raised)
    assert results.with_work() == SHARDS
    assert results.make() == SHARDS


def test_a_revision_that_nothing_was_made_with_gives_no_work(results, monkeypatch):
    raise_revision(monkeypatch, "pann-cnn14")
    assert results.with_work() == []


def test_other_settings_give_work_to_their_stage_and_then_to_what_reads_it(results):
    results.clips[SHARDS[0]] = 2
    assert results.with_work() == [SHARDS[0]]
    assert results.make() == [SHARDS[0], "runs/one", "tables/table3"]


def test_changed_inputs_give_work_though_the_manifest_is_newer(results):
    results.clips[SHARDS[0]] = 2
    (name, asked), *_ = results.asked().items()
    provenance.run_request(asked, results.manifest(name), lambda: results.work(name))
    results.manifest("runs/one").touch()  # as Snakemake does when it restores the manifest of a failed job
    assert results.with_work() == ["runs/one"]


@pytest.mark.parametrize(("overwritten", "expected"), [(True, [SHARDS[0]]), (False, [])])
def test_after_a_failure_settings_changed_back_give_work_only_where_files_were_overwritten(
    results, overwritten, expected
):
    product, old = results.folder / f"{SHARDS[0]}.h5", results.clips[SHARDS[0]]
    text = product.read_text()

    def fail():
        if overwritten:
            product.write_text(text[::-1])  # of the same size
        raise PipelineError("no")

    results.clips[SHARDS[0]] = 2
    with pytest.raises(PipelineError):
        provenance.run_request(results.asked()[SHARDS[0]], results.manifest(SHARDS[0]), fail)
    assert results.with_work() == [SHARDS[0]]
    results.clips[SHARDS[0]] = old
    assert results.with_work() == expected
    assert results.make() == expected
    assert product.read_text() == text
    assert not list(results.folder.rglob("*.begun"))


def test_an_input_that_is_missing_is_no_reason(results):
    results.manifest(SHARDS[0]).unlink()
    assert "runs/one" not in results.with_work()


def test_a_plan_reads_a_manifest_once(results, monkeypatch):
    read, counted = files.read_json, []
    monkeypatch.setattr(files, "read_json", lambda path: counted.append(path) or read(path))
    snapshot = Snapshot()
    assert not any(stale.has_work(asked, results.manifest(name), snapshot) for name, asked in results.asked().items())
    assert sorted(counted) == sorted(map(results.manifest, results.asked()))


def test_snakemake_decides_what_runs_where_the_workflow_expects_it():
    """`workflow/rules/compare.smk` uses these parts of Snakemake. If Snakemake changes them, that file has to be
    checked."""
    pytest.importorskip("snakemake.api")
    from snakemake.dag import DAG
    from snakemake.workflow import Workflow

    init = inspect.getsource(DAG.init)
    assert init.index("self.check_incomplete()") < init.index("self.update_needrun(")
    assert "self.forcefiles.update(incomplete_files)" in inspect.getsource(DAG.check_incomplete)
    assert "self.forcefiles.isdisjoint(job.output)" in inspect.getsource(DAG.update_needrun)
    assert "self._dag = DAG(" in inspect.getsource(Workflow._prepare_dag)
