"""CLIP's towers against open_clip's own calls, its tokeniser's 30-token cut, and weight files that do not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline import records
from pipeline.encoders import open_clip_towers
from pipeline.encoders.base import Weights, encoder_of
from pipeline.errors import PipelineError

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

SMALL = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "patch_size": 32, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
QUERIES = ["A dog, running!", "people   cook &amp; EAT", "word " * 40]


@pytest.fixture(scope="module")
def reference(tmp_path_factory, torch_one_thread):
    """Return a small CLIP as open_clip builds it, and its weight file."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.CLIP(**SMALL).eval()
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return model, path


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: json.loads(json.dumps(SMALL)))


def frames(n=3):
    return np.random.default_rng(0).integers(0, 256, (n, 1, 224, 224, 3), dtype=np.uint8)


def test_image_rows_are_encode_images(reference, small):
    model, path = reference
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    pixels = torch.from_numpy(frames()[:, 0]).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        expected = model.encode_image((pixels - mean) / std).numpy()
    rows = encoder_of("clip-vit-b32")(Weights.named("released", path), "cpu").encode(frames())
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_token_states_are_forward_intermediates_and_pooled_is_encode_text(reference, small):
    model, path = reference
    ids = open_clip.tokenize(QUERIES[:2])
    with torch.inference_mode():
        pooled = model.encode_text(ids).numpy()
        found = model.forward_intermediates(text=ids, text_indices=1, normalize_intermediates=True, normalize=False)
    states = found["text_intermediates"][-1].numpy()
    words = encoder_of("clip-text")(Weights.named("released", path), "cpu").encode(QUERIES[:2])
    for k, word in enumerate(words):
        assert len(word.tokens) == int((ids[k] != 0).sum())
        np.testing.assert_allclose(word.tokens, states[k, : len(word.tokens)], atol=1e-5)
        np.testing.assert_allclose(word.pooled, pooled[k], atol=1e-5)


def test_a_query_is_cut_to_thirty_tokens_and_still_ends(reference, small):
    encoder = encoder_of("clip-text")(Weights.named("released", reference[1]), "cpu")
    ids = encoder.tokens(QUERIES[2])
    assert len(ids) == 32
    assert (ids[0], ids[-1]) == (49406, 49407)
    assert len(encoder.encode(QUERIES)[2].tokens) == 32


def test_real_queries_are_cut_as_often_as_published(reference, small, shared_data):
    encoder = encoder_of("clip-text")(Weights.named("released", reference[1]), "cpu")
    queries = [
        query.query
        for split in ("train", "val", "test_with_gt")
        for query in records.read_queries(shared_data / "annotations" / f"qvhighlights_{split}.jsonl")
    ]
    assert len(queries) == 10_310
    whole = open_clip.SimpleTokenizer()
    full = [query for query in queries if len(encoder.tokens(query)) == 30 + 2]
    assert sum(len(whole.encode(query)) > 30 for query in full) == 8


def test_real_titles_have_the_archives_token_counts(reference, small, shared_data):
    encoder = encoder_of("clip-text")(Weights.named("released", reference[1]), "cpu")
    titles = real_titles(shared_data)
    assert len(titles) == 50
    assert all(len(encoder.tokens(title)) == len(tokens) for title, tokens in titles)


def real_titles(shared_data):
    """Return (title, the archive's tokens) of every TVSum video."""
    rows = [q for s in ("train", "val") for _, q in records.read_jsonl(shared_data / f"annotations/tvsum_{s}.jsonl")]
    folder = shared_data / "features/tvsum/query_features"
    return [(row["query"], np.load(folder / f"{row['vid']}.npz")["token"]) for row in rows]


def test_the_token_table_has_the_embedding_alone_and_encode_texts_vector(reference, small):
    model, path = reference
    ids = open_clip.tokenize(QUERIES[:2])
    with torch.inference_mode():
        embedded, pooled = model.token_embedding(ids).numpy(), model.encode_text(ids).numpy()
    words = encoder_of("clip-token-table")(Weights.named("released", path), "cpu").encode(QUERIES[:2])
    for k, word in enumerate(words):
        np.testing.assert_array_equal(word.tokens, embedded[k, : int((ids[k] != 0).sum())])
        np.testing.assert_allclose(word.pooled, pooled[k], atol=1e-5)


def test_with_the_archives_vectors_in_the_table_its_tokens_come_out_bit_for_bit(monkeypatch, tmp_path, shared_data):
    from safetensors.torch import save_file

    wide = SMALL | {"embed_dim": 512, "text_cfg": SMALL["text_cfg"] | {"width": 512, "layers": 1, "heads": 8}}
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: json.loads(json.dumps(wide)))
    model = open_clip.CLIP(**wide)
    tokenizer = open_clip.SimpleTokenizer()
    titles = real_titles(shared_data)
    with torch.no_grad():
        for title, tokens in titles:
            ids = [tokenizer.sot_token_id, *tokenizer.encode(title), tokenizer.eot_token_id]
            model.token_embedding.weight[ids] = torch.from_numpy(tokens.astype(np.float32))
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "clip.safetensors")
    encoder = encoder_of("clip-token-table")(Weights.named("released", tmp_path / "clip.safetensors"), "cpu")
    for (title, tokens), words in zip(titles, encoder.encode([title for title, _ in titles]), strict=True):
        np.testing.assert_array_equal(words.tokens.astype(np.float16), tokens, err_msg=title)


@pytest.mark.parametrize("family", ["clip-vit-b32", "clip-text"])
def test_a_weight_file_that_lacks_a_tensor_is_refused_by_name(reference, small, tmp_path, family):
    from safetensors.torch import load_file, save_file

    state = load_file(reference[1])
    for name in ("visual.proj", "text_projection"):
        del state[name]
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(PipelineError, match=r"other.safetensors: does not hold .*proj"):
        encoder_of(family)(Weights.named("released", tmp_path / "other.safetensors"), "cpu")


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 a torch script archive"])
def test_a_weight_file_that_is_none_is_refused(small, tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PipelineError, match="does not hold ViT-B-32-quickgelu"):
        encoder_of("clip-vit-b32")(Weights("0" * 64, path), "cpu")


def test_the_wrong_activation_is_refused(small, monkeypatch):
    monkeypatch.setitem(SMALL, "quick_gelu", False)
    with pytest.raises(PipelineError, match="without QuickGELU"):
        encoder_of("clip-vit-b32")(Weights.named("random:0", None), "cpu")


def test_released_weights_need_a_file():
    with pytest.raises(PipelineError, match="no weight file"):
        Weights.named("released", None)


def test_random_weights_depend_on_their_seed_alone_and_say_so(small):
    one, same, other = (
        encoder_of("clip-vit-b32")(Weights.named(f"random:{s}", None), "cpu").encode(frames()) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1
    assert Weights.named("random:1", None).passport == "random:1"


def test_an_unknown_family_names_the_known():
    with pytest.raises(PipelineError, match="vgg16-charades: no encoder makes this family; there are clip-vit-b32"):
        encoder_of("vgg16-charades")


@pytest.mark.slow
def test_at_full_size_both_towers_give_512_numbers(torch_one_thread, monkeypatch):
    sizes = []

    def weighed(build):
        def tower(*arguments):
            built = build(*arguments)
            sizes.append(sum(p.numel() for p in built.parameters()))
            return built

        return tower

    for name in ("image_tower", "text_tower"):
        monkeypatch.setattr(open_clip_towers, name, weighed(getattr(open_clip_towers, name)))
    weights = Weights.named("random:0", None)
    image, text = encoder_of("clip-vit-b32")(weights, "cpu"), encoder_of("clip-text")(weights, "cpu")
    assert sizes == [87_849_216, 151_277_313 - 87_849_216 - 1]  # without the logit scale
    assert image.encode(frames(2)).shape == (2, 512)
    tokens, pooled, _ = text.encode(["a dog"])[0]
    assert (tokens.shape, pooled.shape) == ((4, 512), (512,))
