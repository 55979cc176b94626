"""A run that was trained on families of a config is asked without that config: its card holds the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from made_videos import make_video
from tiny_benchmark import N_CLIPS, Benchmark, experiment, list_stores

from pipeline import config, families, files, seal
from pipeline.encoders.base import Weights
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.features.making.recipe import Recipe
from pipeline.features.store.writer import StoreWriter

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from pipeline.asking.moments import Moments  # noqa: E402

FEATURES = {"video": ["weak"], "text": "weak-text"}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Yield the folder of a run that was trained on rows of `weak`, the weight file, and a video."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    model = open_clip.CLIP(**open_clip.get_model_config("ViT-S-32-alt"))
    weights = folder / "weak.safetensors"
    save_file({name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}, weights)
    families.register({"weak": {"encoder": "open_clip", "model": "ViT-S-32-alt", "weights": str(weights)}})
    benchmark = Benchmark(folder, 8, 4)
    digest = files.sha256(weights)
    random = np.random.default_rng(0)
    keys = {"weak": {f"v{n}": N_CLIPS for n in range(12)}, "weak-text": {str(n): 4 for n in range(12)}}
    stores = []
    for family, grid in (("weak", "2s"), ("weak-text", "tokens")):
        stores.append(benchmark.results / f"features/qvhighlights/{grid}/{family}/00000.h5")
        with StoreWriter(stores[-1], Recipe(family, grid, Weights(digest), "float16").passport) as writer:
            for key, n_rows in keys[family].items():
                writer.add(key, random.normal(size=(n_rows, FAMILIES[family].dim)))
    benchmark.features = [list_stores(benchmark.results / "features/qvhighlights/all/00000.json", stores)]
    settings = experiment(features=config.Features(**FEATURES), training={"epochs": 1})
    run = benchmark.train(settings) / "all-s2017"
    families.register({})
    yield run, weights, make_video(folder / "mine.mp4", range(0, 600 * 6, 150), 64, 48, rate=4)
    families.register({})


@pytest.fixture(autouse=True)
def forgotten():
    families.register({})


def test_a_run_on_a_family_of_the_config_answers_by_its_card_alone(asked):
    run, _, video = asked
    assert "weak" not in FAMILIES
    moments = Moments.load(run)
    answer = moments.ask(moments.encode(video), "a dog runs")
    assert len(answer.saliency) == 3 and answer.windows
    assert moments.card.passports["weak"] == moments.recipes["weak"].passport


def test_weights_that_moved_are_asked_for_by_name_and_others_are_refused(asked, tmp_path):
    run, weights, _ = asked
    moved = weights.rename(tmp_path / "elsewhere.safetensors")
    try:
        with pytest.raises(PipelineError, match=r"weak.safetensors: is gone.*--weights weak-weights=FILE"):
            Moments.load(run)
        assert Moments.load(run, weights={"weak-weights": moved}).recipes["weak"].weights.path == moved
        (tmp_path / "other.safetensors").write_bytes(b"x")
        with pytest.raises(PipelineError, match="holds other weights of weak than the run was trained with"):
            Moments.load(run, weights={"weak-weights": tmp_path / "other.safetensors"})
    finally:
        moved.rename(weights)


def test_a_card_with_a_definition_that_cannot_be_is_refused(asked, tmp_path):
    import shutil

    run, _, _ = asked
    shutil.copytree(run, tmp_path / "run")
    card = files.read_json(tmp_path / "run/card.json")
    for definition, said in (
        ({"encoder": "os"}, "holds a family that is no definition"),
        ({"encoder": "open_clip", "model": "../x", "weights": "random:1"}, "open_clip has no model '../x'"),
    ):
        files.write_json(tmp_path / "run/card.json", seal.sealed(card | {"own_families": {"weak": definition}}))
        with pytest.raises(PipelineError, match=said):
            Moments.load(tmp_path / "run")
