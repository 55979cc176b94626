"""Export: stores are written in the released layouts and read again, and our features cannot be taken for published
ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import stage_jobs
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import config, files, provenance, records
from pipeline.datasets import DATASETS
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, Passport
from pipeline.features.exchange.export import export
from pipeline.features.exchange.layouts import layouts_of
from pipeline.features.store import Store, open_stores
from pipeline.features.store.writer import StoreWriter

KEY = "-_odd 名.0"
PLACES = sorted(
    {(name, family) for name, about in DATASETS.items() for archive in about.archives for family in archive}
)
STAND_INS = [
    ("tvsum", "i3d-inception-flow-raft-tvsum"),
    ("charades_sta", "vgg16-imagenet"),
    ("charades_sta", "pann-cnn14-centred"),
]


def layout_of(dataset, family):
    return layouts_of(dataset, family)[0]


def write(path, dataset, family, rows, key=KEY, **changes):
    layout = layout_of(dataset, family)
    grid = "tokens" if layout.pooled else "2s"
    made = Passport(family, 1, "raw", "random:3", grid, FAMILIES[family].dim, layout.dtype, "made here")
    with StoreWriter(path, replace(made, **changes)) as store:
        store.add(key, rows, pooled=rows[-1] if layout.pooled else None, decoder="decord")
    return path


def take_in(results, dataset, family, folder, n_rows, grids=None):
    """Import what was exported, as an archive named `ours`."""
    annotations = results / "annotations" / dataset / "val.jsonl"
    records.write_jsonl(annotations, [{"qid": KEY, "query": "t", "vid": KEY, "duration": 2 * n_rows}])
    provenance.run_stage("annotate", annotations.with_suffix(".json"), lambda: provenance.Outcome([annotations]))
    settings_ = config.Dataset(shards=2, annotations={"val": "x"}, grids=grids or {})
    manifest = results / "features" / dataset / "+ours.json"
    inputs = {"unpacked": folder, "annotations": annotations.with_suffix(".json")}
    asked = {"dataset": settings_, "families": [family]}
    stage_jobs.run("import", results, manifest, inputs, asked, dataset=dataset, name="ours")
    (home,) = (results / "features" / dataset).glob(f"*/{family}+ours")
    return open_stores(home)


@pytest.mark.parametrize(("dataset", "family"), PLACES + STAND_INS)
@settings(max_examples=6)
@given(data=st.data(), n_rows=st.integers(1, 4))
def test_what_was_exported_and_imported_is_what_it_was(tmp_path_factory, dataset, family, data, n_rows):
    dtype = np.dtype(layout_of(dataset, family).dtype)
    finite = st.floats(width=dtype.itemsize * 8, allow_nan=False, allow_infinity=False)
    values = data.draw(st.lists(finite, min_size=1, max_size=20))
    rows = np.resize(np.array(values, dtype), (n_rows, FAMILIES[family].dim))
    folder = tmp_path_factory.mktemp("export")
    (done,) = export([write(folder / "a.h5", dataset, family, rows)], dataset, folder / "out")
    assert (done.n_files, done.rounded) == (1, 0)
    before, after = Store([folder / "a.h5"]), take_in(folder, dataset, family, folder / "out", len(rows))
    assert after.passport == replace(before.passport, origin="ours")
    np.testing.assert_array_equal(after.read(KEY), before.read(KEY))
    if layout_of(dataset, family).pooled:
        np.testing.assert_array_equal(after.entry(KEY).pooled, before.entry(KEY).pooled)


def rows_of(family, n=3, dtype=np.float16):
    return np.random.default_rng(0).standard_normal((n, FAMILIES[family].dim)).astype(dtype)


def test_files_are_what_other_codebases_load(tmp_path):
    for dataset, family in PLACES:
        export(
            [write(tmp_path / f"{dataset}-{family}.h5", dataset, family, rows_of(family))], dataset, tmp_path / dataset
        )
    expected = {
        ("qvhighlights/slowfast_features", "npz", "features"): ((3, 2304), "float16"),
        ("qvhighlights/clip_features", "npz", "features"): ((3, 512), "float16"),
        ("qvhighlights/clip_text_features", "npz", "last_hidden_state"): ((3, 512), "float16"),
        ("qvhighlights/clip_text_features", "npz", "pooler_output"): ((512,), "float16"),
        ("qvhighlights/pann_features", "npy", None): ((3, 2048), "float32"),
        ("tvsum/query_features", "npz", "token"): ((3, 512), "float16"),
        ("tvsum/query_features", "npz", "text"): ((1, 512), "float16"),
        ("tvsum/audio_features", "npy", None): ((3, 2048), "float32"),
        ("charades_sta/rgb_features", "npy", None): ((3, 4096), "float32"),
        ("charades_sta/opt_features", "npy", None): ((3, 4096), "float32"),
        ("charades_sta/audio_features", "npy", None): ((3, 2048), "float32"),
        ("charades_sta/slowfast_features", "npz", "features"): ((3, 2304), "float16"),
        ("charades_sta/clip_features", "npz", "features"): ((3, 512), "float16"),
        ("charades_sta/clip_text_features", "npz", "last_hidden_state"): ((3, 512), "float16"),
        ("charades_sta/.", "npy", None): ((3, 1024), "float32"),
    }
    for (folder, suffix, name), wanted in expected.items():
        stem = f"qid{KEY}" if "clip_text" in folder else KEY
        loaded = np.load(tmp_path / folder / f"{stem}.{suffix}", allow_pickle=False)
        array = loaded[name] if name else loaded
        assert (array.shape, str(array.dtype)) == wanted, folder
    assert {path.name for path in (tmp_path / "tvsum/video_features").iterdir()} == {f"{KEY}_rgb.npy", f"{KEY}_opt.npy"}
    assert files.read_json(tmp_path / "charades_sta/feature_shapes.json") == {KEY: 3}


def test_digits_that_float16_cannot_keep_are_counted_and_what_it_cannot_hold_is_refused(tmp_path):
    rows = rows_of("clip-vit-b32", dtype=np.float32)
    store = write(tmp_path / "a.h5", "qvhighlights", "clip-vit-b32", rows, dtype="float32")
    (done,) = export([store], "qvhighlights", tmp_path / "out")
    assert str(done) == f"{tmp_path / 'out' / 'clip_features'}: 1 file of clip-vit-b32, 1 of them rounded to float16"
    store = write(tmp_path / "b.h5", "qvhighlights", "clip-vit-b32", rows * 1e6, dtype="float32")
    with pytest.raises(PipelineError, match=f"{KEY} holds values that float16 cannot"):
        export([store], "qvhighlights", tmp_path / "out2")


def test_random_weights_stay_known_after_export_and_import(tmp_path):
    store = write(tmp_path / "a.h5", "qvhighlights", "clip-vit-b32", rows_of("clip-vit-b32"))
    export([store], "qvhighlights", tmp_path / "out")
    assert take_in(tmp_path, "qvhighlights", "clip-vit-b32", tmp_path / "out", 3).passport.weights == "random:3"


def test_two_kinds_of_one_family_never_share_a_folder(tmp_path):
    first = write(tmp_path / "a.h5", "qvhighlights", "clip-vit-b32", rows_of("clip-vit-b32"))
    other = write(tmp_path / "b.h5", "qvhighlights", "clip-vit-b32", rows_of("clip-vit-b32"), weights="random:4")
    export([first], "qvhighlights", tmp_path / "out")
    with pytest.raises(
        PipelineError, match=r"out: has clip-vit-b32 with another passport: weights: random:4 ≠ random:3"
    ):
        export([other], "qvhighlights", tmp_path / "out")


@pytest.mark.parametrize(
    ("dataset", "family", "published"),
    [
        ("qvhighlights", "clip-vit-b32", "clip_features/theirs.npz"),
        ("charades_sta", "i3d-inception-rgb-charades", "AO8RW.npy"),
        ("tvsum", "i3d-inception-rgb-tvsum", "video_features/x_rgb.npy"),
    ],
)
def test_a_folder_of_published_files_is_left_as_it_is(tmp_path, dataset, family, published):
    (tmp_path / "out" / published).parent.mkdir(parents=True)
    (tmp_path / "out" / published).write_bytes(b"theirs")
    store = write(tmp_path / "a.h5", dataset, family, rows_of(family))
    with pytest.raises(
        PipelineError, match=f"out: holds {published}, which no export of this pipeline wrote → export into another"
    ):
        export([store], dataset, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [tmp_path / "out" / published]


def test_another_familys_published_files_are_in_nobodys_way(tmp_path):
    theirs = tmp_path / "out" / "video_features" / "x_opt.npy"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    family = "i3d-inception-rgb-tvsum"
    (done,) = export([write(tmp_path / "a.h5", "tvsum", family, rows_of(family))], "tvsum", tmp_path / "out")
    assert done.n_files == 1


def test_a_family_without_a_place_in_the_layout_is_refused(tmp_path):
    store = write(tmp_path / "a.h5", "qvhighlights", "clip-vit-b32", rows_of("clip-vit-b32"))
    with pytest.raises(PipelineError, match="released archives of tvsum have no place for it"):
        export([store], "tvsum", tmp_path / "out")


def test_an_export_on_another_grid_is_not_imported(tmp_path):
    store = write(tmp_path / "a.h5", "qvhighlights", "clip-vit-b32", rows_of("clip-vit-b32"), grid="1s")
    export([store], "qvhighlights", tmp_path / "out")
    with pytest.raises(PipelineError, match="was exported with other settings than are asked for: grid: 1s ≠ 2s"):
        take_in(tmp_path, "qvhighlights", "clip-vit-b32", tmp_path / "out", 3)


def test_a_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(PipelineError, match=r"holds no feature store"):
        export([tmp_path], "tvsum", tmp_path / "out")


def test_passports_that_somebody_spoiled_are_named(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "passports.json").write_text("[1]")
    store = write(tmp_path / "a.h5", "qvhighlights", "clip-vit-b32", rows_of("clip-vit-b32"))
    with pytest.raises(PipelineError, match=r"passports.json: lists no passports"):
        export([store], "qvhighlights", tmp_path / "out")


def test_rows_of_other_shards_stay_counted_in_the_shapes_file(tmp_path):
    family = "i3d-inception-rgb-charades"
    for shard, n in (("a", 3), ("b", 5)):
        store = write(tmp_path / f"{shard}.h5", "charades_sta", family, rows_of(family, n), key=shard)
        export([store], "charades_sta", tmp_path / "out")
    assert files.read_json(tmp_path / "out/feature_shapes.json") == {"a": 3, "b": 5}


FLOW, RAFT = "i3d-inception-flow-tvsum", "i3d-inception-flow-raft-tvsum"


def test_a_stand_in_takes_the_place_of_the_released_family_and_never_its_name(tmp_path):
    store = write(tmp_path / "a.h5", "tvsum", RAFT, rows_of(RAFT))
    export([store], "tvsum", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/video_features").iterdir()] == [f"{KEY}_opt.npy"]
    assert take_in(tmp_path / "as it is", "tvsum", RAFT, tmp_path / "out", 3).passport.family == RAFT
    with pytest.raises(PipelineError, match=f"contains the family {RAFT}, not {FLOW} → name {RAFT}"):
        take_in(tmp_path, "tvsum", FLOW, tmp_path / "out", 3)


def test_what_is_released_is_no_stand_in(tmp_path):
    released = tmp_path / "out/video_features" / f"{KEY}_opt.npy"
    released.parent.mkdir(parents=True)
    np.save(released, rows_of(FLOW))
    with pytest.raises(PipelineError, match=f"contains the family {FLOW}, not {RAFT} → name {FLOW}"):
        take_in(tmp_path, "tvsum", RAFT, tmp_path / "out", 3)


def test_a_stand_in_and_what_it_stands_in_for_never_share_a_folder(tmp_path):
    export([write(tmp_path / "a.h5", "tvsum", FLOW, rows_of(FLOW))], "tvsum", tmp_path / "out")
    with pytest.raises(PipelineError, match=f"out: holds {FLOW} where {RAFT} would go"):
        export([write(tmp_path / "b.h5", "tvsum", RAFT, rows_of(RAFT))], "tvsum", tmp_path / "out")


def test_words_without_a_place_in_any_archive_are_not_exported(tmp_path):
    made = Passport("glove-6b-300d", 1, "raw", "random:3", "tokens", 300, "float16", "made here")
    with StoreWriter(tmp_path / "a.h5", made) as store:
        store.add(KEY, rows_of("glove-6b-300d"))
    with pytest.raises(PipelineError, match="glove-6b-300d: released archives of charades_sta have no place for it"):
        export([tmp_path / "a.h5"], "charades_sta", tmp_path / "out")
