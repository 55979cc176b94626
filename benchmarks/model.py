"""Measures the parts of a training step of TR-DETR, for both formulations, in float32 and bfloat16.

    python benchmarks/model.py                    # QVHighlights shapes: batch 32, 75 clips, 24 tokens, 2,818 inputs
    python benchmarks/model.py --device cuda      # with synchronisation around every part

The times are medians of wall time in milliseconds over `--steps` steps, after one step that warms up. Hooks time the
parts of the forward pass in the same steps. `rest` is what belongs to no part (positions, masks, residual sums).
bfloat16 is autocast: weights, optimizer and losses stay float32. The last table has the forward time and the parameters
of the ten settings of Table 4.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from matched_losses import compute_losses

from pipeline.config import Training
from pipeline.methods.tr_detr.network import TrDetr
from pipeline.methods.tr_detr.settings import TrDetrSettings
from pipeline.models.batch import Batch, Labels, padded_spans

VIDEO_DIM, TEXT_DIM = 2816, 512
PARTS = ("video_projection", "text_projection", "refinement", "t2v", "encoder", "decoder", "moments", "mr2hd", "score")
STAGES = ("forward", "losses", "backward", "clip + AdamW")
TABLE_4 = {
    "a": "",
    "b": "alignment",
    "c": "refinement",
    "d": "mr2hd",
    "e": "hd2mr",
    "f": "mr2hd hd2mr",
    "g": "alignment mr2hd hd2mr",
    "h": "refinement mr2hd hd2mr",
    "i": "alignment refinement",
    "j": "alignment refinement mr2hd hd2mr",
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--clips", type=int, default=75)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    batch = made(options.batch, options.clips, options.tokens).to(options.device)
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.machine()
    print(f"{options.device} ({name}), {options.threads} threads, torch {torch.__version__}, {options.steps} steps")
    print(f"batch {options.batch}, {options.clips} clips, {options.tokens} tokens, {VIDEO_DIM + 2} inputs; ms (share)")
    columns = {
        f"{formulation} {dtype}": one_step(formulation, dtype == "bf16", batch, options.steps)
        for formulation in ("released", "paper")
        for dtype in ("fp32", "bf16")
    }
    print(f"{'':20}" + "".join(f"{name:>18}" for name in columns))
    for row in (*STAGES, "step", *(f"  {part}" for part in (*PARTS, "rest"))):
        cells = [
            f"{found[row.strip()]:.1f} ({100 * found[row.strip()] / found['step']:3.0f} %)"
            for found in columns.values()
        ]
        print(f"{row:20}" + "".join(f"{cell:>18}" for cell in cells))
    ten_settings(batch, options.steps)


def one_step(formulation: str, half: bool, batch: Batch, steps: int) -> dict[str, float]:
    """Return the median milliseconds of each stage and part."""
    settings, training = TrDetrSettings(formulation=formulation), Training()
    torch.manual_seed(0)
    model = TrDetr(settings, VIDEO_DIM, 0, TEXT_DIM, 2.0).to(batch.video.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    clock = Clock(model, batch.video.device)
    rows = []
    for _ in range(steps + 1):
        clock.parts.clear()
        with torch.autocast(batch.video.device.type, torch.bfloat16, enabled=half):
            outputs, forward = clock.timed(lambda: model(batch))
        losses, lost = clock.timed(lambda o=outputs: compute_losses(o, batch, settings, True))
        _, backward = clock.timed(lambda t=losses["total"]: (optimizer.zero_grad(), t.backward()))
        _, update = clock.timed(
            lambda: (torch.nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip), optimizer.step())
        )
        row = dict(zip(STAGES, (forward, lost, backward, update), strict=True)) | clock.parts
        rows.append(row | {"step": forward + lost + backward + update, "rest": forward - sum(clock.parts.values())})
    return {name: median(row[name] for row in rows[1:]) for name in rows[0]}


class Clock:
    """Milliseconds of calls, and of the named parts of a model, waiting for the device around each."""

    def __init__(self, model: TrDetr, device: torch.device) -> None:
        self.device, self.parts = device, defaultdict(float)
        for name in PARTS:
            module = getattr(model, name)
            module.register_forward_pre_hook(lambda *_, name=name: self._add(name, -1))
            module.register_forward_hook(lambda *_, name=name: self._add(name, 1))

    def timed(self, work: Callable[[], Any]) -> tuple[Any, float]:
        """Return the result of `work` and its time."""
        begun = self._now()
        result = work()
        return result, self._now() - begun

    def _add(self, name: str, sign: int) -> None:
        self.parts[name] += sign * self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return 1000 * time.perf_counter()


def ten_settings(batch: Batch, steps: int) -> None:
    """Print the forward time in evaluation mode and the number of parameters of Table 4's rows. The rows take turns,
    and the least time counts."""
    models = {
        row: TrDetr(TrDetrSettings(**{x: x in on.split() for x in TABLE_4["j"].split()}), VIDEO_DIM, 0, TEXT_DIM, 2.0)
        .to(batch.video.device)
        .eval()
        for row, on in TABLE_4.items()
    }
    times = defaultdict(list)
    with torch.no_grad():
        for _ in range(steps + 1):
            for row, model in models.items():
                begun = time.perf_counter()
                model(batch).saliency.sum().item()
                times[row].append(1000 * (time.perf_counter() - begun))
    print("\nTable 4, forward in evaluation mode, released, float32")
    for row, model in models.items():
        size = sum(p.numel() for p in model.parameters())
        print(f"({row})  {TABLE_4[row]:34}{size:>12,} parameters{min(times[row][1:]):>8.0f} ms")


def made(n: int, clips: int, tokens: int) -> Batch:
    """Return random features of one length, with two windows for each sample."""
    generator = torch.Generator().manual_seed(0)
    saliency = torch.randint(0, 13, (n, clips), generator=generator).float()
    pairs = torch.randint(0, clips, (2, n, 2), generator=generator)
    spans = padded_spans([0.1 + 0.3 * torch.rand(2, 2, generator=generator) for _ in range(n)])
    names = [str(i) for i in range(n)]
    return Batch(
        video=torch.randn(n, clips, VIDEO_DIM + 2, generator=generator),
        video_mask=torch.ones(n, clips),
        text=torch.randn(n, tokens, TEXT_DIM, generator=generator),
        text_mask=torch.ones(n, tokens),
        qids=names,
        vids=names,
        durations_s=[2.0 * clips] * n,
        n_clips=[clips] * n,
        labels=Labels(*spans, saliency, (saliency > 0).float(), *pairs),
    )


if __name__ == "__main__":
    main()
