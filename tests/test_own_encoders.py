"""Families of the config encode: towers of open_clip and video models, against the libraries' own calls."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from made_videos import make_video
from PIL import Image

from pipeline import families, files
from pipeline.encoders import state as state_module
from pipeline.encoders.base import Weights, encoder_of
from pipeline.encoders.workers import Workers
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES
from pipeline.features.making.encode import encode_videos
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.own_file import extract_own
from pipeline.features.making.recipe import Recipe, VideoFile
from pipeline.features.making.words import encode_words
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.grids import grid_seconds, n_clips
from pipeline.library_models import TORCHVISION_VIDEO, open_clip_models
from pipeline.own_families import families_of
from pipeline.video.frame_grid import sampling_of
from pipeline.video.probe import probe
from pipeline.video.views import view_of

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

LARGE = ["ViT-L-14", "ViT-B-16-SigLIP", "convnext_base", "ViT-B-16-quickgelu", "roberta-ViT-B-32"]
"""Models of different kinds: a large ViT, SigLIP (timm, squashed pictures), a ConvNeXt, QuickGELU, and a foreign text
tower."""
SMALL = ["ViT-S-32-alt", "RN50", "MobileCLIP2-S0"]
"""A ViT, a ResNet, and a network of timm with a picture of 256."""
VIDEO_KINDS = ["s3d", "r2plus1d_18", "mvit_v2_s", "swin3d_t"]
QUERIES = ["A dog, running!", "somebody opens a door and eats", "x"]


def definition(model, weights="random:3", **more):
    library = "torchvision_video" if model in (*VIDEO_KINDS, "r3d_18") else "open_clip"
    return {"encoder": library, "model": model, "weights": weights, **more}


@pytest.fixture
def own():
    """Define families for one test."""
    yield lambda **definitions: families.register(definitions)
    families.register({})


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {vid: make_video(folder / f"{vid}.mp4", range(0, 600 * s, 40), 96, 72) for vid, s in (("a", 1), ("b", 2))}


def weights_of(family):
    return Weights.named(FAMILIES[family].weights[0], None)


def model_as_open_clip_builds_it(model):
    """Return open_clip's own model with small random numbers, its preparation of pictures and its tokenizer."""
    torch.manual_seed(0)
    built, _, preprocess = open_clip.create_model_and_transforms(model, pretrained_text=False)
    return built.eval(), preprocess


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """Return a small model as open_clip builds it, and the file of its weights."""
    built, _ = model_as_open_clip_builds_it("ViT-S-32-alt")
    return built, saved(built, tmp_path_factory.mktemp("vit") / "w.safetensors")


def saved(model, path):
    from safetensors.torch import save_file

    save_file({name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def native_frames(video, indices):
    import av

    with av.open(str(video)) as container:
        frames = list(container.decode(video=0))
    return [Image.fromarray(frames[index].to_ndarray(format="rgb24")) for index in indices]


def check_model(model, video, tmp_path):
    """Check that rows of a real video, and of queries, are equal to those that open_clip computes of its own pictures.

    Returns whether there were queries.
    """
    from torchvision.transforms import InterpolationMode

    built, preprocess = model_as_open_clip_builds_it(model)
    weights = Weights.named("released", saved(built, tmp_path / "w.safetensors"))
    with extract_own(video, "x", "2s", weights, tmp_path / "x.h5") as store:
        (key,) = store.keys()
        rows, passport = store.read(key), store.passport
    facts = probe(video)
    indices = sampling_of("middle")(facts, Fraction(2)).ravel().tolist()
    kind = FAMILIES["x"]
    preprocess.transforms[-1].mean, preprocess.transforms[-1].std = kind.options["mean"], kind.options["std"]
    fit, interpolation, crop = kind.view.split(".")
    preprocess.transforms[0].interpolation = InterpolationMode(interpolation)
    if fit.startswith("exact"):
        preprocess.transforms[0].size = (int(crop.removeprefix("crop")),) * 2
    with torch.inference_mode():
        pictures = torch.stack([preprocess(frame) for frame in native_frames(video, indices)])
        expected = built.encode_image(pictures).numpy()
    assert rows.shape == expected.shape == (len(indices), kind.dim)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(rows / scale, expected / scale, atol=2e-3)  # rows are stored as float16
    assert passport.weights == files.sha256(tmp_path / "w.safetensors")
    if "x-text" not in FAMILIES:
        return False
    ids = open_clip.get_tokenizer(model)(QUERIES)
    with torch.inference_mode():
        pooled = built.encode_text(ids).numpy()
    words = encoder_of("x-text")(weights, "cpu").encode(QUERIES)
    for k, word in enumerate(words):
        assert word.tokens.shape == (int(ids[k].argmax()) + 1, FAMILIES["x-text"].dim)
        np.testing.assert_allclose(word.pooled, pooled[k], atol=1e-4 * max(1, np.abs(pooled).max()))
    return True


@pytest.fixture(scope="module")
def second(shared_data):
    """Return a real video of one second, which has one row."""
    return shared_data / "videos/big_buck_bunny_432_433.webm"


@pytest.mark.parametrize("model", SMALL)
def test_small_models_encode_a_real_video_as_open_clip_does(own, second, tmp_path, model):
    own(x=definition(model, str(tmp_path / "w.safetensors")))
    assert check_model(model, second, tmp_path)


@pytest.mark.large
@pytest.mark.parametrize("model", LARGE)
def test_models_of_different_kinds_encode_a_real_video(own, second, tmp_path, model):
    tag = {"ViT-L-14": {"pretrained": "laion2b_s32b_b82k"}}.get(model, {})
    own(x=definition(model, str(tmp_path / "w.safetensors"), **tag))
    if model == "roberta-ViT-B-32":
        own(x=definition(model))
        with extract_own(second, "x", "2s", weights_of("x"), tmp_path / "x.h5") as store:
            assert store.passport.dim == 512 and len(store.keys()) == 1
        assert "x-text" not in FAMILIES
        with pytest.raises(PipelineError, match="its text tower is roberta-base of the package transformers"):
            encoder_of_words(model)
        return
    assert check_model(model, second, tmp_path) == (model != "ViT-B-16-SigLIP")


def encoder_of_words(model):
    from pipeline.encoders.open_clip_towers import text_tower

    return text_tower(model, Weights.named("random:0", None), 77)


def test_states_of_tokens_are_those_after_the_last_norm(own, vit):
    own(x=definition("ViT-S-32-alt", "w.safetensors"))
    built, path = vit
    weights = Weights.named("released", path)
    ids = open_clip.tokenize(QUERIES)
    with torch.inference_mode():
        found = built.forward_intermediates(text=ids, text_indices=1, normalize_intermediates=True, normalize=False)
    states = found["text_intermediates"][-1].numpy()
    for k, word in enumerate(encoder_of("x-text")(weights, "cpu").encode(QUERIES)):
        np.testing.assert_allclose(word.tokens, states[k, : len(word.tokens)], atol=1e-5)


def test_words_whose_pooled_vector_is_longer_than_a_row_are_stored(own, tmp_path):
    own(x=definition("RN50"))
    recipe = Recipe("x-text", "tokens", weights_of("x-text"), "float16")
    with Workers(1) as threads, StoreWriter(tmp_path / "x.h5", recipe.passport) as store:
        encode_words({"1": "a dog"}, recipe, store, "cpu", [], threads)
    with Store([tmp_path / "x.h5"]) as store:
        entry = store.entry("1")
    assert (entry.rows.shape, entry.pooled.shape) == ((4, 512), (1024,))


TINY = {"s3d": (14, 224), "r2plus1d_18": (8, 56), "swin3d_t": (4, 64), "mvit_v2_s": (16, 224)}
"""Frames and size of the smallest clips that the networks take; MViT takes no other than its own."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.large] if name == "mvit_v2_s" else []) for name in VIDEO_KINDS]
)
def test_a_video_model_gives_what_its_classifier_sees(own, tmp_path, name, torch_one_thread):
    from torchvision.models import get_model

    torch.manual_seed(0)
    whole = get_model(name, weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    own(x=definition(name, str(tmp_path / "w.pth")))
    kind = FAMILIES["x"]
    frames, size = TINY[name]
    given = np.random.default_rng(0).integers(0, 256, (1, frames, size, size, 3), dtype=np.uint8)
    rows = encoder_of("x")(Weights.named("released", tmp_path / "w.pth"), "cpu").encode(given)
    assert (rows.shape, rows.dtype) == ((1, kind.dim), np.float32)
    mean, std = (torch.tensor(kind.options[key]).view(3, 1, 1, 1) for key in ("mean", "std"))
    pixels = torch.from_numpy(given).permute(0, 4, 1, 2, 3) / 255
    with torch.inference_mode():
        expected = whole((pixels - mean) / std)
        (classifier,) = [getattr(whole, key) for key in ("fc", "head", "classifier") if hasattr(whole, key)]
        seen = torch.from_numpy(rows)
        found = classifier(seen[..., None, None, None]).flatten(1) if name == "s3d" else classifier(seen)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


def rows_of(store, family, paths, threads):
    recipe = Recipe(family, "0.5s", weights_of(family), "float32")
    sources = [
        VideoFile(vid, path, files.sha256(path), {"0.5s": n_clips(probe(path).duration, grid_seconds("0.5s"))})
        for vid, path in paths.items()
    ]
    with threads, StoreWriter(store, recipe.passport) as writer:
        assert encode_videos(sources, [FrameRowMaker(recipe, writer, "cpu", threads)], 300) == []
    with Store([store]) as made:
        return {vid: made.read(vid) for vid in paths}


@pytest.mark.large
@pytest.mark.parametrize("name", VIDEO_KINDS)
def test_a_video_model_encodes_a_real_video(own, second, tmp_path, name):
    own(x=definition(name))
    with extract_own(second, "x", "2s", weights_of("x"), tmp_path / "x.h5") as store:
        (key,) = store.keys()
        rows = store.read(key)
    assert rows.shape == (1, TORCHVISION_VIDEO[name].dim) and rows.any()


@pytest.mark.parametrize("model", ["ViT-S-32-alt", pytest.param("r3d_18", marks=pytest.mark.large)])
def test_a_videos_rows_are_the_same_bits_alone_and_in_company(own, clips, tmp_path, model):
    own(x=definition(model, batch=3))
    together = rows_of(tmp_path / "all.h5", "x", clips, Workers(3))
    alone = rows_of(tmp_path / "alone.h5", "x", {"b": clips["b"]}, Workers(1))
    assert together["b"].shape == (4, FAMILIES["x"].dim)
    assert np.abs(together["b"][0] - together["b"][-1]).max() > 0
    np.testing.assert_array_equal(together["b"], alone["b"])


def test_a_querys_rows_are_the_same_bits_alone_and_in_company(own, tmp_path):
    own(x=definition("ViT-S-32-alt"))
    network = encoder_of("x-text")(weights_of("x-text"), "cpu")
    alone = [network.encode([query])[0] for query in QUERIES]
    recipe = Recipe("x-text", "tokens", weights_of("x-text"), "float32")
    with Workers(3) as threads, StoreWriter(tmp_path / "x.h5", recipe.passport) as store:
        encode_words(dict(enumerate_texts(QUERIES)), recipe, store, "cpu", [], threads)
    with Store([tmp_path / "x.h5"]) as store:
        for qid, _ in enumerate_texts(QUERIES):
            np.testing.assert_array_equal(store.read(qid), alone[int(qid)].tokens)


def enumerate_texts(queries):
    return [(str(k), query) for k, query in enumerate(queries)]


@pytest.mark.parametrize("family", ["x", "x-text"])
@pytest.mark.parametrize("change", ["missing", "unknown", "of another shape"])
def test_weights_of_another_network_are_refused_by_name(own, vit, tmp_path, family, change):
    from safetensors.torch import load_file, save_file

    own(x=definition("ViT-S-32-alt", str(tmp_path / "w.safetensors")))
    state = load_file(vit[1])
    name = "visual.proj" if family == "x" else "text_projection"
    if change == "missing":
        del state[name]
    elif change == "unknown":
        name = f"{name}.more"
        state[name] = torch.zeros(2)
    else:
        state[name] = torch.zeros(3, 5)
    save_file(state, tmp_path / "w.safetensors")
    said = rf"w.safetensors: does not hold ViT-S-32-alt \(1 {change}: {name}"
    with pytest.raises(PipelineError, match=said) as error:
        encoder_of(family)(Weights.named("released", tmp_path / "w.safetensors"), "cpu")
    assert "\n" not in str(error.value)
    own_file = tmp_path / "w.safetensors"
    advice = f"put the right file at {own_file}, or name another one under `families.x.weights`"
    assert error.value.remedy == advice
    assert state_module.unfit(tmp_path / "x-weights/weights.safetensors", "it", "why").remedy == advice
    assert "fetch it again" in state_module.unfit(tmp_path / "clip-vit-b32/ViT-B-32.pt", "it", "why").remedy


def test_positions_that_a_video_model_computes_are_not_taken_from_a_file(own, tmp_path):
    from torchvision.models import get_model

    state = get_model("swin3d_t", weights=None).state_dict()
    (name, *_) = [name for name in state if name.endswith("relative_position_index")]
    state[name] = state[name] + 1_000_000
    torch.save(state, tmp_path / "w.pth")
    own(x=definition("swin3d_t", str(tmp_path / "w.pth")))
    with pytest.raises(PipelineError, match=r"w.pth: does not hold swin3d_t \(1 that the network computes otherwise"):
        encoder_of("x")(Weights.named("released", tmp_path / "w.pth"), "cpu")


def test_every_definition_says_everything_of_its_input():
    models = [*open_clip_models(), *TORCHVISION_VIDEO]
    for model in models:
        library = "open_clip" if model in open_clip_models() else "torchvision_video"
        made = families_of("x", {"encoder": library, "model": model, "weights": "random:0"})
        for family in made.values():
            assert family.dim > 0 and family.batch > 0 and family.cost.macs > 0 and model in family.preprocessing
            if family.reader == "native":
                assert view_of(family.view) and sampling_of(family.sampling)
