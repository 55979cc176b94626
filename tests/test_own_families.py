"""Families that a config defines: what they become, what is refused, and what processes and runs know of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from documented import commands

from pipeline import cli, config, families, own_families
from pipeline.acquire import references, sources
from pipeline.cost.estimate import estimate
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
WEAK = {"encoder": "open_clip", "model": "ViT-S-32-alt", "weights": "random:3"}
VIDEO = {"encoder": "torchvision_video", "model": "r2plus1d_18", "weights": "random:3"}
FEATURES = {"video": ["clip-vit-b32"], "text": "clip-text"}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Remove all families of the user's own after every test."""
    monkeypatch.setenv(own_families.VARIABLE, "")
    yield
    families.register({})


def raw(features=FEATURES, **definitions):
    experiment = {"dataset": "qvhighlights", "features": features}
    dataset = {"annotations": {"train": "qvhighlights-train", "val": "qvhighlights-val"}}
    return {
        "families": {name.replace("_", "-"): definition for name, definition in definitions.items()},
        "datasets": {"qvhighlights": dataset},
        "training": {"qvhighlights": {}},
        "experiments": {"first": experiment},
    }


def test_one_definition_of_open_clip_makes_a_family_of_frames_and_one_of_words():
    cfg = config.load(raw({"video": ["weak"], "text": "weak-text"}, weak=WEAK))
    assert cfg.made("qvhighlights") == ["weak", "weak-text"]
    image, text = FAMILIES["weak"], FAMILIES["weak-text"]
    assert (image.reader, image.dim, image.view, image.sampling) == (
        "native",
        256,
        "short224.bicubic.crop224",
        "middle",
    )
    assert (text.reader, text.dim, text.options["most_tokens"]) == ("words", 256, 75)
    assert image.weights == text.weights == ("random:3",)
    assert "ViT-S-32-alt" in image.preprocessing and "mean 0.48145466 0.4578275 0.40821073" in image.preprocessing
    assert image.cost.known == text.cost.known == "assumed"


def test_a_video_model_sees_the_clip_that_its_weights_were_measured_with():
    config.load(raw({"video": ["motion"], "text": "clip-text"}, motion=VIDEO | {"batch": 2}))
    found = FAMILIES["motion"]
    assert (found.dim, found.batch, found.sampling, found.view) == (
        512,
        2,
        "centred16at15",
        "exact128x171.linear.crop112",
    )
    assert "motion-text" not in FAMILIES


def test_a_definition_is_known_to_the_processes_that_are_started_and_to_no_other_config():
    config.load(raw(weak=WEAK, motion=VIDEO))
    code = "from pipeline.families import FAMILIES; print(sorted(n for n, f in FAMILIES.items() if f.is_own))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "['motion', 'weak', 'weak-text']"
    config.load(raw())
    assert not [name for name, family in FAMILIES.items() if family.is_own]
    assert json.loads(os.environ[own_families.VARIABLE]) == {}


def test_a_config_with_families_is_read_without_torch_and_without_the_libraries(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw({"video": ["weak"], "text": "weak-text"}, weak=WEAK)))
    code = (
        "import sys; sys.modules |= dict.fromkeys(('open_clip', 'torchvision', 'torch', 'numpy'));"
        " from pathlib import Path; from pipeline import config; config.load_file(Path('config.yaml'))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


REFUSED = {
    "a name that a family has": ({"clip_vit_b32": WEAK}, FEATURES, r"`families.clip-vit-b32`: would make clip-vit-b32"),
    "a name whose words a family has": ({"clip": WEAK}, FEATURES, r"`families.clip`: would make clip-text, which is"),
    "two that make one name": (
        {"a": WEAK, "a_text": WEAK},
        FEATURES,
        r"`families.a-text`: would make a-text, which is another",
    ),
    "a name with capitals": ({"Weak": WEAK}, FEATURES, r"`families.Weak`: is no name for a family"),
    "a name that leads elsewhere": ({"../x": WEAK}, FEATURES, r"`families.../x`: is no name"),
    "no library of ours": (
        {"x": WEAK | {"encoder": "timm"}},
        FEATURES,
        r"`families.x.encoder` must be open_clip or torchvision_video \(found 'timm'\)",
    ),
    "no library": (
        {"x": {"model": "ViT-B-32"}},
        FEATURES,
        r"`families.x.encoder` must be open_clip or .* \(found None\)",
    ),
    "no model": ({"x": {k: v for k, v in WEAK.items() if k != "model"}}, FEATURES, r"`families.x.model` is missing"),
    "no weights": ({"x": {k: v for k, v in WEAK.items() if k != "weights"}}, FEATURES, r"`families.x.weights` is miss"),
    "an unknown key": ({"x": WEAK | {"tower": "image"}}, FEATURES, r"`families.x.tower` is an unknown key"),
    "a key of the other library": ({"x": VIDEO | {"pretrained": "a"}}, FEATURES, r"`families.x.pretrained` is an unk"),
    "an unknown model": (
        {"x": WEAK | {"model": "ViT-L-15"}},
        FEATURES,
        r"`families.x`: open_clip has no model 'ViT-L-15' → name one of its 144 models, such as .*ViT-L-1",
    ),
    "a model of the other library": (
        {"x": VIDEO | {"model": "ViT-L-14"}},
        FEATURES,
        r"torchvision.models.video has no model 'ViT-L-14' → name one of its 9 models, such as",
    ),
    "a model of a hub": ({"x": WEAK | {"model": "hf-hub:a/b"}}, FEATURES, r"open_clip has no model 'hf-hub:a/b'"),
    "a batch of none": ({"x": WEAK | {"batch": 0}}, FEATURES, r"`families.x.batch`: .*greater than 0"),
    "a checkpoint that could run code": (
        {"x": WEAK | {"weights": "a/w.pt"}},
        FEATURES,
        r"`families.x`: `weights` is .*/a/w.pt, and open_clip's models are read from .safetensors",
    ),
    "a seed that is none": ({"x": WEAK | {"weights": "random:x"}}, FEATURES, r"`weights` is 'random:x' → name a file"),
    "a path with an unset variable": (
        {"x": WEAK | {"weights": "$NO_SUCH_THING/w.safetensors"}},
        FEATURES,
        r"`families.x.weights`: the variable NO_SUCH_THING is not set",
    ),
    "weights that differ in their pictures": (
        {"x": WEAK | {"model": "ViT-L-14", "weights": "w.safetensors"}},
        FEATURES,
        r"weights of ViT-L-14 need pictures that are prepared in 2 ways → .*`pretrained: TAG`, one of .*laion2b_s32b",
    ),
    "a tag of the twin": (
        {"x": WEAK | {"model": "ViT-L-14", "pretrained": "openai"}},
        FEATURES,
        r"ViT-L-14 has no weights 'openai', and .*ViT-L-14-quickgelu.* h(as|ave) it: "
        r"(it computes|they compute) with the other activation",
    ),
    "an unknown tag": ({"x": WEAK | {"pretrained": "x"}}, FEATURES, r"ViT-S-32-alt has no weights 'x' → leave `pretr"),
    "words of Hugging Face's tower": (
        {"x": WEAK | {"model": "roberta-ViT-B-32"}},
        {"video": ["x"], "text": "x-text"},
        r"`experiments.first.features.text`: the text tower of roberta-ViT-B-32 needs the package transformers",
    ),
    "words of Hugging Face's tokenizer": (
        {"x": WEAK | {"model": "ViT-B-16-SigLIP"}},
        {"video": ["x"], "text": "x-text"},
        r"the tokenizer \(timm/ViT-B-16-SigLIP\) of ViT-B-16-SigLIP needs the package transformers",
    ),
    "words of a model of videos": (
        {"x": VIDEO},
        {"video": ["x"], "text": "x-text"},
        r"features.text`: `families.x` is a model of videos and makes no words",
    ),
    "words in the place of a video": ({"x": WEAK}, {"video": ["x-text"]}, r"x-text is none of `video`: name it under"),
    "a name that nobody defines": ({}, {"video": ["x"]}, r"`experiments.first.features.video.0`: no such family"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_when_the_config_is_read(case):
    definitions, features, said = REFUSED[case]
    with pytest.raises(PipelineError, match=said) as refused:
        config.load(raw(features, **definitions))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("section", [[], "x", {"x": None}, {"x": []}, {"x": "open_clip"}, {3: WEAK}])
def test_a_section_of_another_form_is_refused_in_a_line(section):
    with pytest.raises(PipelineError, match="`families") as refused:
        config.load(raw() | {"families": section})
    assert "\n" not in str(refused.value)
    assert "Input should" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "near"),
    [("vit_b_16", "ViT-B-16"), ("vit-l-14-quickgelu", "ViT-L-14-quickgelu"), ("COCA_VIT_B_32", "coca_ViT-B-32")],
)
def test_a_model_in_another_spelling_is_found_though_its_capitals_and_signs_differ(model, near):
    with pytest.raises(PipelineError, match=rf"has no model '{model}' → name one of .*, such as {near}, "):
        config.load(raw(x=WEAK | {"model": model}))


def test_a_tag_that_several_models_have_is_told_in_the_plural(monkeypatch):
    monkeypatch.setattr(own_families, "holders_of", lambda tag: ["ViT-S-32-alt-a", "ViT-S-32-alt-b"])
    with pytest.raises(PipelineError, match=r"and ViT-S-32-alt-a and ViT-S-32-alt-b have it: they compute with the"):
        config.load(raw(x=WEAK | {"pretrained": "x"}))


def checked(cfg, table=None):
    references.check(cfg, table or sources.load(), "config.yaml")


def test_a_weight_file_becomes_a_source_of_this_machine(tmp_path):
    file = tmp_path / "my weights.safetensors"
    file.write_bytes(b"x")
    cfg = config.load(raw({"video": ["weak"], "text": "weak-text"}, weak=WEAK | {"weights": str(file)}))
    checked(cfg)
    source = sources.load()["weak-weights"]
    assert (source.kind, source.file, source.addresses) == ("file", "weights.safetensors", (file.as_uri(),))
    file.unlink()
    with pytest.raises(PipelineError, match=r"`families.weak.weights`: there is no file .*my weights.safetensors"):
        checked(cfg)


def test_a_weight_file_of_a_family_that_no_experiment_makes_is_not_asked_for():
    checked(config.load(raw(weak=WEAK | {"weights": "/nowhere/w.safetensors"})))


def test_a_row_of_the_table_serves_too_and_a_misspelt_one_is_named(tmp_path):
    def table(file, name="mine"):
        path = tmp_path / "sources.csv"
        text = (ROOT / "pipeline/acquire/sources.csv").read_text().splitlines()
        path.write_text(f"{text[0]}\n{name},file,{file},https://example.org/{file},,,,,\n" + "\n".join(text[1:]))
        return sources.load(path)

    cfg = config.load(raw({"video": ["weak"], "text": "clip-text"}, weak=WEAK | {"weights": "mine"}))
    checked(cfg, table("w.safetensors"))
    with pytest.raises(PipelineError, match=r"mine is w.pth, and open_clip's models are read from .safetensors"):
        checked(cfg, table("w.pth"))
    with pytest.raises(PipelineError, match=r"features \(weak\)`: no source 'mine'"):
        checked(cfg)
    config.load(raw(weak=WEAK | {"weights": str(tmp_path / "w.safetensors")}))
    with pytest.raises(PipelineError, match="has a row 'weak-weights', which is the name of the weights of a family"):
        table("w.safetensors", "weak-weights")


def test_an_estimate_counts_them_and_says_that_it_assumes():
    text = yaml.safe_load((ROOT / "config.yaml").read_text())
    text["experiments"] = {"qvhighlights_v": text["experiments"]["qvhighlights_v"]}
    text["families"] = {"large": WEAK | {"model": "ViT-L-14"}}
    text["experiments"]["qvhighlights_v"]["features"] = {"video": ["large"], "text": "large-text"}
    text["peers"] = []
    (on_cpu,) = [
        q for q in estimate(config.load(text), sources.load()).costs if q.label.startswith("encoding on a CPU")
    ]
    (line,) = [part for part in on_cpu.parts if part.label == "large"]
    assert line.known == "assumed"
    assert line.total > 10 * 0.11 / 3600 * 100_000  # eighteen times a row of ViT-B/32, 770,000 rows


def test_definitions_that_differ_in_weights_alone_are_two_families_with_two_passports(tmp_path):
    from pipeline.encoders.base import Weights
    from pipeline.features.making.recipe import Recipe

    config.load(raw(one=WEAK, other=WEAK | {"weights": "random:4"}))
    made = [Recipe(name, "2s", Weights.named(FAMILIES[name].weights[0], None), "float16") for name in ("one", "other")]
    assert {recipe.passport.weights for recipe in made} == {"random:3", "random:4"}
    assert made[0].passport.preprocessing == made[1].passport.preprocessing


def test_a_process_that_knows_one_definition_takes_no_other_of_its_name():
    families.learn({"weak": WEAK})
    families.learn({"weak": dict(WEAK)})
    with pytest.raises(PipelineError, match="another family of that name is already registered"):
        families.learn({"weak": WEAK | {"weights": "random:4"}})


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"x": 3}',
        '{"x": {"encoder": "open_clip"}}',
        '{"x": {"encoder": "os", "model": "a", "weights": "b"}}',
    ],
)
def test_a_variable_that_somebody_else_set_is_named(monkeypatch, text):
    monkeypatch.setenv(own_families.VARIABLE, text)
    with pytest.raises(PipelineError, match=own_families.VARIABLE):
        own_families.known_here()


def test_the_command_for_a_file_of_ones_own_reads_the_definition_from_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["features", "extract", "--video", "a.mp4", "--family", "weak", "--output", "a.h5"]
    with pytest.raises(SystemExit, match="weak: is not made of a video"):
        cli.main(arguments)
    Path("mine.yaml").write_text(yaml.safe_dump({"families": {"weak": WEAK}}))
    with pytest.raises(SystemExit, match=r"a\.mp4: no such video file"):
        cli.main([*arguments, "--configfile", "mine.yaml"])
    families.register({})
    Path("mine.yaml").rename("config.yaml")
    with pytest.raises(SystemExit, match=r"a\.mp4: no such video file"):
        cli.main(arguments)


def test_qvhighlights_with_a_stronger_encoder_is_planned_as_the_page_says(tmp_path):
    pytest.importorskip("snakemake")
    (command,) = (
        c for c in commands() if c.program == "snakemake" and "families={vit-l14" in str(c) and "-n" in c.words
    )
    words = [sys.executable, "-m", *command.words, f"results={tmp_path}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    assert Counter(re.findall(r"reader=(\w+)", text)) == {"frames224": 32, "native": 32, "words": 32}
    assert re.search(r"^total +177$", text, re.MULTILINE)
