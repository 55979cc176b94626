"""Changes to a finished workflow, by their names in docs/reruns.md, and the work that this page lists for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import toy_encoder
from heavy_packages import HEAVY
from made_videos import make_video
from safetensors.numpy import save_file
from small_workflow import NEW_VID, SECONDS, STAGES, VIDS

from pipeline import files
from pipeline.methods.tr_detr.settings import TrDetrSettings

MATRIX = Path(__file__).resolve().parents[1] / "docs" / "reruns.md"
TRAIN_VIDS = [VIDS[0], VIDS[1], VIDS[3], VIDS[4]]
TR_DETR = "pipeline/methods/tr_detr/settings.py"
A_METHOD = "a method added (one file, one line), and an experiment `toy` with it"
A_FAMILY = "two families added (two entries, one class), and an experiment `coloured` with them"
A_DEFINITION = "`weak`, a family of the config, in the place of CLIP in `seen` (one line)"
ANOTHER_FILE = "the same, and then another weight file at its path"
FEATURES = [f"results/features/qvhighlights/{reader}/00000.json" for reader in ("frames224", "sound", "words")]


def change_words(workflow):
    workflow.own_code()
    for path, old, new in [
        ("README.md", "workflow", "work flow"),
        ("config.yaml", "# A comment.", "# Another."),
        ("workflow/rules/segment.smk", '"""Cut the videos', '"""Cut all videos'),
        ("pipeline/video/segment.py", '"""Computes the clips', '"""Computes all clips'),
    ]:
        text = (workflow.folder / path).read_text()
        assert old in text
        workflow.write(path, text.replace(old, new, 1))


def touch(workflow):
    for pattern in ("*.jsonl", "*.csv", "results/resources/*/*", "results/annotations/**/*"):
        for path in workflow.folder.glob(pattern):
            path.touch()


def touch_and_forget(workflow):
    touch(workflow)
    shutil.rmtree(workflow.folder / ".snakemake")


def set_learning_rate(workflow):
    workflow.change_config(lambda config: config["experiments"]["seen"].update(training={"learning_rate": 0.01}))


def set_learning_rate_and_forget(workflow):
    set_learning_rate(workflow)
    shutil.rmtree(workflow.folder / ".snakemake")


def add_seed(workflow):
    workflow.change_config(lambda config: config.update(seeds=[2017, 0], jobs=2))


def respell_results(workflow):
    text = (workflow.folder / "config.yaml").read_text()
    workflow.write("config.yaml", f"{text}\nresults: ./results/\n")


def break_training(workflow, how, *arguments):
    """Start the workflow, whose trainings fail. It must say so."""
    process = workflow.start("table1", *arguments, BREAK=f"train:{how}")
    said, _ = process.communicate()
    assert process.returncode == 1, said
    assert "Error in rule train" in said


def set_learning_rate_and_fail(how, *arguments, times=1):
    def make(workflow):
        set_learning_rate(workflow)
        for _ in range(times):
            break_training(workflow, how, *arguments)

    return make


def set_learning_rate_fail_and_set_it_back(workflow):
    text = (workflow.folder / "config.yaml").read_text()
    set_learning_rate_and_fail("error")(workflow)
    workflow.write("config.yaml", text)


def set_pann_and_fail(workflow):
    set_pann(workflow)
    break_training(workflow, "error")


def edit_a_video(workflow):
    """Copy all originals to another folder, which alone changes nothing, and replace one of them."""
    folder = workflow.folder / "own_videos"
    shutil.copytree(workflow.videos, folder)
    workflow.videos = folder
    workflow.annotate(TRAIN_VIDS)
    make_video(folder / f"{VIDS[1]}.mp4", range(0, 600 * SECONDS, 60), width=48, height=64, sound_s=SECONDS)


def set_pann(workflow):
    workflow.change_config(lambda config: config["encoding"]["weights"].update({"pann-cnn14": "random:1"}))


def delete_store(workflow):
    (workflow.results / "features/qvhighlights/2s/clip-vit-b32/00000.h5").unlink()


def change_nothing(workflow):
    pass


def change_code(workflow, path, old, new):
    """Change one place of the code, in a copy of it in the workflow's folder."""
    workflow.own_code()
    text = (workflow.folder / path).read_text()
    assert text.count(old) == 1
    workflow.write(path, text.replace(old, new))


def add_setting(workflow):
    change_code(
        workflow, TR_DETR, "    loss_weights: LossWeights =", "    new: Weight = 0.5\n    loss_weights: LossWeights ="
    )


def raise_method(workflow):
    name = '    name: Literal["tr_detr"]'
    change_code(workflow, TR_DETR, name, f"    revision: ClassVar[int] = {TrDetrSettings.revision + 1}\n{name}")


def add_method(workflow):
    """Add a method as CONTRIBUTING.md says: one file, one line, and an experiment that names it."""
    line = '    "tr_detr": "pipeline.methods.tr_detr.settings:TrDetrSettings",\n'
    new = '    "toy": "pipeline.methods.toy:ToySettings",\n'
    change_code(workflow, "pipeline/methods/__init__.py", line, line + new)
    shutil.copy(Path(__file__).with_name("toy.py"), workflow.folder / "pipeline/methods/toy.py")
    workflow.change_config(lambda config: config["experiments"].update(toy=_with_toy(config["experiments"]["seen"])))


def add_family(workflow):
    """Add a family as CONTRIBUTING.md says: a class, entries that name it, a row in sources.csv, and an experiment."""
    table = "FAMILIES: dict[str, Family] = {"
    change_code(workflow, "pipeline/families.py", table, table + toy_encoder.ENTRIES)
    shutil.copy(toy_encoder.__file__, workflow.folder / "pipeline/encoders/toy.py")
    path = workflow.folder / "toy.safetensors"
    layer = {"weight": np.eye(toy_encoder.DIM, 3, dtype=np.float32), "bias": np.zeros(toy_encoder.DIM, np.float32)}
    save_file(layer, path)
    row = ["toy-weights", "file", path.name, path.as_uri(), f"sha256:{files.sha256(path)}", "", "", ""]
    with open(workflow.folder / "sources.csv", "a") as table_of_sources:
        table_of_sources.write(",".join(row) + "\n")
    features = {"video": ["toy-mean", "toy-spread"], "text": "clip-text"}
    workflow.change_config(
        lambda config: config["experiments"].update(coloured=config["experiments"]["seen"] | {"features": features})
    )


def define_family(workflow):
    """Define a family that no experiment names: its weights are a file that is written here."""
    write_weights(workflow, 1)
    definition = {"encoder": "open_clip", "model": "ViT-S-32-alt", "weights": "weak.safetensors"}
    workflow.change_config(lambda config: config.update(families={"weak": definition}))


def write_weights(workflow, seed):
    """Write weights of a small image tower, seeded, to the path that `define_family` names."""
    from pipeline.encoders.base import Weights
    from pipeline.encoders.open_clip_towers import image_tower

    tower = image_tower("ViT-S-32-alt", Weights.named(f"random:{seed}", None))
    state = {f"visual.{name}": tensor.numpy() for name, tensor in tower.state_dict().items()}
    save_file(state, workflow.folder / "weak.safetensors")


def name_family(workflow):
    """Change the one line of an experiment that says what it reads."""
    features = {"video": ["slowfast-r50-caffe2", "weak"], "text": "clip-text"}
    workflow.change_config(lambda config: config["experiments"]["seen"].update(features=features))


def _with_toy(experiment):
    return experiment | {"model": {"name": "toy", "threshold": 0.4}}


def add_video(workflow):
    workflow.annotate([*TRAIN_VIDS, NEW_VID])


CHANGES = {
    "the same command again": (change_nothing, [], {}),
    "README, a comment in config.yaml, a rule's and a module's docstring": (change_words, [], {}),
    "`touch` on sources, downloads and annotations, contents unchanged": (touch, [], {}),
    "the same, and Snakemake's own records lost": (touch_and_forget, [], {}),
    "`./results/` for `results`": (respell_results, [], {}),
    "`families` with a definition that no experiment names": (define_family, [], {}),
    "the learning rate of `seen`": (set_learning_rate, [], {}),
    "the same, and Snakemake's own records lost, too": (set_learning_rate_and_forget, [], {}),
    "the same, but the training fails; the same command again": (set_learning_rate_and_fail("error"), [], {}),
    "the same, but the training fails; the same command a third time": (
        set_learning_rate_and_fail("error", times=2),
        [],
        {},
    ),
    "the same, but the training is killed for memory; the same command again": (
        set_learning_rate_and_fail("kill"),
        [],
        {},
    ),
    "the same, but the job dies before it begins; the same command again": (
        set_learning_rate_and_fail("start"),
        [],
        {},
    ),
    "the same, but a first attempt is killed and a second fails, as on Slurm; the same command again": (
        set_learning_rate_and_fail("kill", "--retries", "1"),
        [],
        {},
    ),
    "the same, but the training fails; the learning rate set back": (set_learning_rate_fail_and_set_it_back, [], {}),
    "a seed more at the top of the config, and a job for each seed": (add_seed, [], {}),
    "PANN's weights, but the training fails; the same command again": (set_pann_and_fail, [], {}),
    "PANN's weights": (set_pann, [], {}),
    "one video more, in shard 00000 (asked for: features and the runs of `seen`)": (
        add_video,
        [*FEATURES, "results/runs/seen.1of1.json"],
        {},
    ),
    "the revision of `segment` raised": (change_nothing, [], {"RAISED": "segment"}),
    "the revision of `pann-cnn14` raised": (change_nothing, [], {"RAISED": "pann-cnn14"}),
    "a CLIP store deleted": (delete_store, [], {}),
    "a key with a default added to a method's settings": (add_setting, [], {}),
    "the revision of a method raised": (raise_method, [], {}),
    "a video of one's own, taken by `file:///`, edited in place": (edit_a_video, [], {}),
}


NOTHING_STARTS = {*list(CHANGES)[:3], "`./results/` for `results`"}
ALL_START = {"the same, and Snakemake's own records lost"}
STARTED_FOR_NOTHING = {c: set() for c in NOTHING_STARTS} | {
    c: {*STAGES} - {"fetch", "annotate", "draw"} for c in ALL_START
}
"""Change → stages without work whose jobs Snakemake starts nevertheless. Only those that matter are listed."""


def matrix():
    """Change → work, as the document has them."""
    rows = [line.strip("| ").split(" | ") for line in MATRIX.read_text().splitlines() if line.startswith("| ")]
    return dict(rows[1:])


def as_text(work):
    """Return counted work as a cell of the document."""
    return ", ".join(f"{name} {count}" for name, count in work.items()) or "none"


def costs(workflow, change):
    """Make a change, run the workflow, and return its work as the document has it. Idle jobs import nothing heavy."""
    make, targets, env = CHANGES[change]
    make(workflow)
    work = as_text(workflow.run(*targets, **env))
    idle = workflow.imported_by_idle_jobs()
    assert {stage: packages & set(HEAVY) for stage, packages in idle.items() if packages & set(HEAVY)} == {}
    assert set(idle) == STARTED_FOR_NOTHING.get(change, set(idle))
    return work
