"""Does one training step of each method on generated batches and on one device. This runs in a separate process.

On a GPU the step is also compared: with the same network on the CPU, and with the recorded step that training uses
there. These are short forms of the GPU tests in `tests/test_step.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from pipeline import methods
from pipeline.config import Training
from pipeline.methods.contract import Inputs, Method
from pipeline.models.batch import Batch
from pipeline.records import Query
from pipeline.training.replay import CudaGraphs, Replays
from pipeline.training.runs import be_exact
from pipeline.training.step import Learner, Step

N_CLIPS, N_WORDS, CLIP_S = (9, 7), (4, 3), 2.0
"""Clips and words of the two samples of a batch, and the seconds of a clip."""
VIDEO, AUDIO, TEXT = 16, 6, 8
"""Widths of the generated features."""
N_STEPS = 4
"""Number of steps of the comparison with recorded ones. The second one of a shape is recorded."""
FARTHEST = 1e-2
"""Largest relative difference between the loss on the GPU and the loss on the CPU. The GPU adds in another order."""


def facts(_: Any = None) -> dict[str, Any]:
    """Return facts that torch gives about itself and about the GPUs that it can use here."""
    gpus = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        gpus.append({"name": about.name, "uuid": str(about.uuid), "free": free, "bytes": total})
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "available": torch.cuda.is_available(),
        "gpus": gpus,
    }


def problems_by_method(device: str) -> dict[str, str]:
    """Train one step of each method. Return the name of each method → what is wrong with it, or '' if nothing is."""
    be_exact(device)
    torch.set_num_threads(1)  # with such small products several threads would mostly wait for each other
    found = {}
    for name in methods.METHODS:
        try:
            found[name] = _wrong_with(name, device)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _wrong_with(name: str, device: str) -> str:
    losses = _walk(_learner(name, device).step, _batch(name).to(device))
    if not all(map(math.isfinite, losses)):
        return "its loss is not finite"
    if device == "cpu":
        return ""
    here, there = loss_of(name, device), loss_of(name, "cpu")
    if abs(here - there) > FARTHEST * max(abs(there), 1.0):
        return f"its loss on this device is {here:.4f}, and {there:.4f} on the CPU"
    if _walk(Replays(_learner(name, device), CudaGraphs()).step, _batch(name).to(device)) != losses:
        return "a recorded step gives another loss than a plain one"
    return ""


def _walk(step: Any, batch: Batch) -> list[float]:
    torch.manual_seed(1)
    return [float(step(batch)["total"]) for _ in range(N_STEPS if batch.video.device.type == "cuda" else 1)]


def loss_of(name: str, device: str) -> float:
    """Return the loss of a network without random numbers, before any step."""
    learner = _learner(name, device)
    learner.method.network.eval()
    step = Step(learner, _batch(name).to(device))
    with torch.no_grad():
        step.forward()
        step.match(step.batch.labels)
        return float(learner.method.losses(step.outputs, step.batch, step.matches)["total"])


def _learner(name: str, device: str) -> Learner:
    method, training = _method(name), Training()
    method.network.to(device).train()
    return Learner(method, method.optimizer(training, device), training)


def _method(name: str) -> Method:
    torch.manual_seed(0)
    return methods.build(methods.settings_class(name)(name=name), Inputs(VIDEO, AUDIO, TEXT, CLIP_S, moments=True))


def _batch(name: str) -> Batch:
    """Return a batch of two samples with one window each, with the labels that the method draws."""
    method, generator = _method(name), torch.Generator().manual_seed(0)
    queries = [_query(n, n_clips) for n, n_clips in enumerate(N_CLIPS)]
    masks = [(torch.arange(max(n)) < torch.tensor(n)[:, None]).float() for n in (N_CLIPS, N_WORDS)]
    rows = [
        torch.randn(*mask.shape, width, generator=generator) * mask[..., None]
        for mask, width in zip(masks, (method.inputs.video_columns, TEXT), strict=True)
    ]
    labels = method.targets(queries, N_CLIPS, Training()).draw(range(len(queries)), np.random.default_rng(0))
    vids, durations = [query.vid for query in queries], [query.duration for query in queries]
    return Batch(rows[0], masks[0], rows[1], masks[1], vids, vids, durations, N_CLIPS, labels)


def _query(number: int, n_clips: int) -> Query:
    clips = (2, 3, 4)
    return Query(
        qid=number,
        query="something happens",
        vid=f"v{number}",
        duration=CLIP_S * n_clips,
        relevant_windows=((CLIP_S * clips[0], CLIP_S * (clips[-1] + 1)),),
        relevant_clip_ids=clips,
        saliency_scores=tuple((2 + clip % 2, 3, 4) for clip in clips),
    )
