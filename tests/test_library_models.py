"""The tables of models against the libraries themselves: sizes, means, filters, widths of rows and published tags."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline import library_models, own_families
from pipeline.library_models import TORCHVISION_VIDEO, open_clip_models
from pipeline.video.views import view_of

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

from pipeline.encoders import open_clip_table as table  # noqa: E402


def test_every_model_of_open_clip_with_two_towers_stands_in_the_table():
    assert list(open_clip_models()) == table.models()
    assert len(table.models()) == 144  # of open_clip 3.3.0


@pytest.mark.parametrize("model", list(open_clip_models()))
def test_the_table_prepares_pictures_as_open_clip_does_for_its_own_weights(model):
    config = open_clip.get_model_config(model)
    rows = open_clip_models()[model]
    assert [
        (dict(zip(FIELDS, (r.mean, r.std, r.interpolation, r.resize), strict=True)), list(r.pretrained)) for r in rows
    ] == list(table.preprocessings(model))
    assert {row.size for row in rows} == {config["vision_cfg"]["image_size"]}
    assert {row.context for row in rows} == {config["text_cfg"].get("context_length", 77)}
    assert all(bool(row.tokenizer) == ("hf_tokenizer_name" in config["text_cfg"]) for row in rows)
    assert {row.resize for row in rows} <= {"shortest", "squash"}
    assert "tokenizer_kwargs" not in config["text_cfg"] or rows[0].tokenizer  # SimpleTokenizer has its defaults


FIELDS = ("mean", "std", "interpolation", "resize")


def test_weights_of_the_other_activation_belong_to_a_twin():
    every = {(model, tag) for model, tag in open_clip.list_pretrained()}
    shown = {(model, tag) for model, rows in open_clip_models().items() for row in rows for tag in row.pretrained}
    assert shown < every
    for model, tag in every - shown:
        twins = [
            other for other in library_models.holders_of(tag) if other.startswith(model) or model.startswith(other)
        ]
        assert twins, (model, tag)


@pytest.mark.large
@pytest.mark.parametrize("model", list(open_clip_models()))
def test_every_model_builds_on_the_meta_device_and_gives_rows_of_these_widths(model):
    row = open_clip_models()[model][0]
    assert table.image_facts(model) == (row.image_dim, row.image_macs)
    if row.text_dim:
        assert table.text_facts(model) == (row.text_dim, row.text_macs)
    else:
        assert "hf_model_name" in open_clip.get_model_config(model)["text_cfg"]


def test_a_model_is_named_by_a_row_for_each_preparation():
    ways = {model: rows for model, rows in open_clip_models().items() if len(rows) > 1}
    assert list(ways) == ["ViT-H-14-quickgelu", "ViT-L-14"]
    assert {row.mean for row in ways["ViT-L-14"]} == {open_clip.OPENAI_DATASET_MEAN, (0.5, 0.5, 0.5)}


def test_the_video_models_are_torchvisions_as_their_weights_say():
    from torchvision.models import get_model_weights, list_models, video

    assert list(TORCHVISION_VIDEO) == list_models(module=video)
    for name, model in TORCHVISION_VIDEO.items():
        for weights in get_model_weights(name):
            wanted = weights.transforms()
            assert (tuple(wanted.mean), tuple(wanted.std)) == (model.mean, model.std), weights
            assert (tuple(wanted.resize_size), tuple(wanted.crop_size)) == (model.resize, (model.crop, model.crop))
            assert wanted.interpolation.value == "bilinear"
            said = weights.meta["_docs"]
            assert re.search(r"frame_rate=([\d.]+)`", said)[1] == model.rate
            assert int(re.search(r"clip_len=(\d+)`", said)[1]) == model.frames
            assert weights.meta["_ops"] == model.gflops
            assert weights.meta.get("min_temporal_size", 1) <= model.frames


def picture(width, height):
    """Return a picture with similar neighbours, as a decoder gives."""
    from PIL import Image

    noise = np.random.default_rng(width).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


SIZES = [(480, 270), (270, 480), (641, 359), (300, 300), (176, 144), (1280, 720)]
VIEWS = sorted({(row.size, row.interpolation, row.resize) for rows in open_clip_models().values() for row in rows})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("side", "interpolation", "resize"), VIEWS)
def test_a_picture_is_open_clips_byte_by_byte(size, side, interpolation, resize):
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    (model,) = [
        r
        for rows in open_clip_models().values()
        for r in rows
        if (r.size, r.interpolation, r.resize) == (side, interpolation, resize)
    ][:1]
    definition = {"encoder": "open_clip", "model": model.model, "weights": "random:0"}
    family = own_families.families_of("own", definition)["own"]
    plain = PreprocessCfg(side, mean=(0, 0, 0), std=(1, 1, 1), interpolation=interpolation, resize_mode=resize)
    frame = picture(*size)
    expected = image_transform_v2(plain, is_train=False)(Image.fromarray(frame)).mul(255).round().byte()
    np.testing.assert_array_equal(view_of(family.view)(frame), expected.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["s3d", "r2plus1d_18", "mvit_v2_s", "swin3d_t"])
def test_a_frame_is_torchvisions_but_for_rounding(size, name, torch_one_thread):
    from torchvision.models import get_model_weights

    transform = get_model_weights(name).DEFAULT.transforms()
    transform.mean, transform.std = [0, 0, 0], [1, 1, 1]
    definition = {"encoder": "torchvision_video", "model": name, "weights": "random:0"}
    family = own_families.families_of("v", definition)["v"]
    frame = picture(*size)
    expected = transform(torch.from_numpy(frame.copy()).permute(2, 0, 1)[None])[:, 0].mul(255).round().int()
    found = view_of(family.view)(frame).astype(int)
    assert found.shape == (*transform.crop_size, 3)
    apart = np.abs(found - expected.permute(1, 2, 0).numpy())
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.001
