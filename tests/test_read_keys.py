"""Every key of every method is read on every kind of data, or it is refused by name.

Whether a key is read is found by changing it: a key is read where the losses, the gradients, the predictions or the
schedule of a small run change with it. Weights have values that depend on their names alone, and every module draws its
dropout from a seed of its own name, so that a part that nobody looks at changes nothing else.
"""

from __future__ import annotations

import zlib
from functools import cache, partial

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from pipeline import config, datasets, methods
from pipeline.config import Training
from pipeline.errors import PipelineError
from pipeline.methods.contract import Inputs, Method
from pipeline.methods.release import noise
from pipeline.models.batch import Batch
from pipeline.records import Query

pytestmark = pytest.mark.usefixtures("torch_one_thread")

SMALL = {
    "hidden_dim": 16,
    "heads": 2,
    "feedforward_dim": 16,
    "queries": 4,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "t2v_layers": 1,
    "slot_iterations": 1,
    "dummies": 2,
    "dummy_layers": 1,
    "prompts": 4,
    "positions": 20,
    "bottleneck_tokens": 2,
    "warmup_epochs": 3,
    "saliency_margin": 6.0,  # so large that no pair of clips is far enough apart: a loss of 0 would hide what is read
}
OTHER = {
    "heads": 4,
    "hidden_dim": 32,
    "decoder_layers": 1,
    "warmup_epochs": 2,
    "formulation": "paper",
    "overlap": 0.05,
    "saliency_margin": 9.0,
}
"""Key → its other value, if its value plus one, or twice its value, cannot be used."""
TRAINING = Training(max_windows=2, drop_learning_rate_after=3)
CLIPS, WORDS, CLIP_S = (8, 6, 8), (4, 3, 4), 2.0
DATA = [(dataset, True) for dataset in datasets.DATASETS] + [("qvhighlights", False)]
"""The cases: a dataset, and whether it is used with audio."""


def inputs_of(dataset, audio):
    about = datasets.get(dataset)
    return Inputs(6, 3 if audio else 0, 5, CLIP_S, about.moments, about.highlights is not None)


def queries_of(dataset):
    """Return three queries on two videos of one source and one of another. With moments, each has three windows."""
    about, rng = datasets.get(dataset), np.random.default_rng(0)
    vids = ("a_0.0_16.0", "b_0.0_16.0", "b_16.0_32.0")
    windows = ((2.0, 5.0), (8.0, 10.5), (6.0, 7.5)) if about.moments else None
    if about.rates_every_clip:
        labels = [tuple(map(tuple, rng.integers(1, 6, (n, 20)).tolist())) for n in CLIPS]
        return [Query(i, "", vid, CLIPS[i] * CLIP_S, label=labels[i]) for i, vid in enumerate(vids)]
    rated = {"relevant_clip_ids": (1, 2, 3, 4), "saliency_scores": ((4, 3, 4), (1, 1, 0), (2, 2, 2), (4, 4, 4))}
    rated = rated if about.highlights else {}
    # The annotated duration is not a whole number of clips, as nearly everywhere.
    return [Query(i, "", vid, CLIPS[i] * CLIP_S + 0.5, windows, **rated) for i, vid in enumerate(vids)]


@cache
def batch_of(dataset, audio):
    masks = [(torch.arange(max(n)) < torch.tensor(n)[:, None]).float() for n in (CLIPS, WORDS)]
    dims = inputs_of(dataset, audio).video_columns, 5
    rows = [
        torch.tensor(noise(name, (*mask.shape, dim)), dtype=torch.float32) * mask[..., None]
        for name, mask, dim in zip(("video", "text"), masks, dims, strict=True)
    ]
    queries = queries_of(dataset)
    durations = [query.duration for query in queries]
    vids = [query.vid for query in queries]
    return Batch(rows[0], masks[0], rows[1], masks[1], [0, 1, 2], vids, durations, CLIPS)


def named_weights(network):
    """Give each parameter values that depend on its name alone, and each module a seed of its name."""
    with torch.no_grad():
        for name, weights in network.named_parameters():
            torch.default_generator.manual_seed(zlib.crc32(name.encode()))
            weights.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
    for name, module in network.named_modules():
        module.register_forward_pre_hook(partial(seed_by_name, zlib.crc32(name.encode())))


def seed_by_name(seed, *_):
    torch.default_generator.manual_seed(seed)  # torch.manual_seed notes the call stack each time, which is slow


def outcome(settings, dataset, audio, training=TRAINING):
    """Yield everything of a run that a key can change: schedule, losses, gradients and predictions."""
    torch.default_generator.manual_seed(0)
    method = methods.build(settings, inputs_of(dataset, audio))
    named_weights(method.network)
    batch, queries = batch_of(dataset, audio), queries_of(dataset)
    labels = method.targets(queries, CLIPS, training).draw(range(3), np.random.default_rng(0))
    labelled = Batch(*[getattr(batch, field) for field in Batch.__slots__[:-1]], labels)
    yield schedule_of(method, training)
    for mode in (True, False):
        method.network.train(mode)
        method.network.zero_grad()
        outputs = method.outputs(labelled)
        losses = method.losses(outputs, labelled, method.match(method.costs(outputs, labelled), labels))
        yield {name: float(loss.detach()) for name, loss in losses.items()}
        losses["total"].backward()
        trained = {n: p for n, p in method.network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        yield {name: (tuple(p.shape), float(p.grad.norm())) for name, p in trained.items()}
    found = method.decode(outputs, queries, CLIPS, dataset)
    yield np.concatenate(found.saliency).tobytes(), found.windows and np.concatenate(found.windows).tobytes()


def schedule_of(method, training):
    """Return the learning rate of some epochs, the decay of weights, and the largest norm of gradients."""
    optimizer = method.optimizer(training, "cpu")
    schedule, rates = method.schedule(optimizer, training), []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates, optimizer.param_groups[0]["weight_decay"], method.gradient_clip(training)


def differs(was, *run):
    """Tell whether a run has another outcome. It is computed only as far as is needed to tell."""
    return any(before != now for before, now in zip(was, outcome(*run), strict=True))


def small(name, **changes):
    """Return the settings of a small network."""
    kind = methods.settings_class(name)
    return kind.model_validate({key: value for key, value in SMALL.items() if key in kind.model_fields} | changes)


def another(key, value):
    """Return another value of a key."""
    key = key.split(".")[-1]
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 0.5 + 0.1


def changes_of(settings):
    """Yield key with dots → the section `model` in which only that key has another value."""
    written = settings.model_dump(mode="json")
    single = len(type(settings).model_fields["formulation"].annotation.__args__) == 1
    weights = {f"loss_weights.{key}": value for key, value in written.pop("loss_weights").items()}
    for key, value in (written | weights).items():
        if key == "name" or (key == "formulation" and single):
            continue
        outer, _, inner = key.partition(".")
        yield key, {outer: {inner: another(key, value)}} if inner else {outer: another(key, value)}


def refused(name, dataset, audio, section, **training):
    """Return the config's error about an experiment with these settings, or None if it accepts them."""
    experiment = {
        "dataset": dataset,
        "features": {"video": ["clip-vit-b32"], "audio": ["pann-cnn14"] if audio else []},
        "model": {"name": name, **section},
        "training": training,
    }
    grids = {"pann-cnn14": "1s"} if dataset == "charades_sta" else {}
    raw = {
        "datasets": {dataset: {"annotations": {"train": "a"}, "grids": grids, "clip": "1s" if grids else "2s"}},
        "training": {dataset: {}},
        "experiments": {"one": experiment},
    }
    try:
        config.load(raw)
    except PipelineError as error:
        return str(error)
    return None


def expected(name, dataset, audio, switches=()):
    """Return the keys that change nothing, and the keys that are refused by their name."""
    base = small(name, **dict(switches))
    was = list(outcome(base, dataset, audio))
    idle, named = set(), set()
    for key, section in changes_of(base):
        if key in dict(switches):
            continue
        changed = base.model_dump() | section
        if "loss_weights" in section:
            changed["loss_weights"] = base.loss_weights.model_dump() | section["loss_weights"]
        try:
            settings = type(base).model_validate(changed)
        except ValueError as error:
            assert key in str(error)
            continue
        if not differs(was, settings, dataset, audio):
            idle.add(key)
        if (answer := refused(name, dataset, audio, dict(switches) | section)) is not None:
            assert f"model.{key}`" in answer, answer
            named.add(key)
    return idle, named


@pytest.mark.parametrize(("dataset", "audio"), DATA)
@pytest.mark.parametrize("name", methods.METHODS)
def test_a_key_of_the_method_changes_the_run_or_is_refused(name, dataset, audio):
    idle, named = expected(name, dataset, audio)
    assert idle == named


def switches():
    """Yield every method with every switch that it has, in its other position."""
    for name in methods.METHODS:
        for key, section in changes_of(small(name)):
            if isinstance(section.get(key), bool) or key == "formulation":
                yield name, key, section[key]


@pytest.mark.parametrize("dataset", ["qvhighlights", "tvsum"])
@pytest.mark.parametrize(("name", "key", "value"), list(switches()))
def test_a_key_that_a_switch_makes_idle_is_refused(name, dataset, key, value):
    idle, named = expected(name, dataset, True, [(key, value)])
    assert idle == named


class Noted(Training):
    """A schedule that notes which of its keys are read."""

    def __getattribute__(self, key):
        if key in Training.model_fields:
            READ.add(key)
        return super().__getattribute__(key)


READ: set[str] = set()


@cache
def keys_of_the_contract():
    """Return the keys of `training` that a method is asked about. The methods' common base reads them."""
    method = Method(None, inputs_of("qvhighlights", audio=True))
    method.network = torch.nn.Linear(1, 1)
    training = Noted()
    READ.clear()
    method.targets(queries_of("qvhighlights"), CLIPS, training)
    schedule_of(method, training)
    return tuple(sorted(READ))


def test_the_contract_asks_for_the_schedule_of_a_step():
    assert set(keys_of_the_contract()) >= {"learning_rate", "weight_decay", "gradient_clip", "max_windows"}


@pytest.mark.parametrize("dataset", datasets.DATASETS)
@pytest.mark.parametrize("name", methods.METHODS)
def test_a_key_of_the_training_changes_the_run_or_is_refused(name, dataset):
    settings, idle, named = small(name), set(), set()
    was = list(outcome(settings, dataset, True))
    for key in keys_of_the_contract():
        value = another(key, getattr(TRAINING, key))
        if not differs(was, settings, dataset, True, TRAINING.model_copy(update={key: value})):
            idle.add(key)
        if (answer := refused(name, dataset, True, {}, **{key: value})) is not None:
            assert f"training.{key}` is never read" in answer, answer
            named.add(key)
    assert idle == named
