"""Compares a training step with a plain loop that is measured in the same process. It prints only ratios.

    python benchmarks/training.py                # QVHighlights' shapes, one and two threads; TVSum's ten domains
    python benchmarks/training.py --precision bfloat16
    python benchmarks/training.py --method qd_detr umt   # whole steps of these methods
    python benchmarks/training.py --method all

QVHighlights has a batch of 32, 75 clips, 24 tokens and 2,818 inputs. TVSum has the clips and tokens of each domain's
four training videos and its val video; one epoch is one step, and every fifth epoch is evaluated. Features are random,
because the time does not depend on them. The reference is the plain loop (`plain_loop.py`), not the released program.
It is the same method made of torch's own parts: every sample is read from its file each time, and AdamW is not fused.
Both sides take turns in this process, in the same precision, and the median over the steps is taken for each part. With
a ratio above 1 the plain loop takes longer. If both precisions are measured, the last column divides our step in
float32 by our step in bfloat16, in wall time. With --method, both sides use the method's own matching and losses, if no
shared module has them. The step of a method is also given in products of a 2400 × 2818 and a 2818 × 256 matrix in
float32, which this process multiplies in turns with the steps. So the steps of two machines can be compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import plain_loop
import torch
from matched_losses import compute_losses

from pipeline import methods, records
from pipeline.config import Training
from pipeline.evaluation import evaluate
from pipeline.methods.contract import Inputs
from pipeline.methods.tr_detr.settings import LossWeights, TrDetrSettings
from pipeline.models.batch import Batch
from pipeline.models.labels import Targets
from pipeline.records import Query
from pipeline.training.batches import collate
from pipeline.training.data import Data
from pipeline.training.packed import Packed
from pipeline.training.predict import predict
from pipeline.training.step import Learner

PARTS = ("batch", "forward", "losses", "backward", "clip + AdamW")
QVHIGHLIGHTS_FAMILIES, TVSUM_FAMILIES = (2304, 512), (1024, 1024)
TVSUM = {  # clips and tokens of the training videos, clips of the val video
    "VT": ((144, 55, 93, 176), (11, 8, 13, 20), 292),
    "VU": ((66, 161, 164, 116), (8, 15, 20, 9), 74),
    "GA": ((72, 78, 70, 97), (15, 24, 8, 7), 225),
    "MS": ((121, 198, 130, 95), (12, 7, 16, 11), 202),
    "PK": ((72, 93, 117, 137), (6, 13, 9, 18), 323),
    "PR": ((182, 138, 83, 55), (13, 13, 15, 14), 292),
    "FM": ((74, 77, 108, 222), (14, 26, 23, 18), 76),
    "BK": ((132, 49, 190, 83), (9, 10, 11, 7), 69),
    "BT": ((82, 134, 99, 52), (8, 13, 9, 10), 71),
    "DS": ((64, 94, 99, 115), (9, 10, 13, 9), 255),
}
PRECISIONS = ("float32", "bfloat16")
EVALUATE_EVERY = 5
Times = dict[str, tuple[float, float]]
"""Part → CPU and wall seconds."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=PRECISIONS, help="of both sides")
    parser.add_argument("--method", choices=("all", *methods.METHODS), nargs="+", help="whole steps of these methods")
    parser.add_argument(
        "--audio", type=int, default=0, metavar="WIDTH", help="with --method: sound besides (PANN: 2048)"
    )
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.steps} steps, plain loop / ours")
    if options.method:
        torch.set_num_threads(1)
        names = tuple(methods.METHODS) if "all" in options.method else options.method
        for name in names:
            _show_in_products(name, options.steps, options.audio)
        _show_methods(names, options.steps, options.precision)
        return
    for threads in options.threads:
        torch.set_num_threads(threads)
        _show_qvhighlights(options.steps, threads, options.precision)
    torch.set_num_threads(1)
    for precision in options.precision:
        _show_tvsum(options.steps, precision)


def _show_in_products(name: str, steps: int, audio: int) -> None:
    """Print the number of parameters, the CPU seconds of a whole step in float32, optimizer included, and how many
    products take as long."""
    training, a, b = Training(), torch.randn(2400, 2818), torch.randn(2818, 256)
    queries = [_rated(n, 75) for n in range(64)]
    with tempfile.TemporaryDirectory() as folder:
        data = _made(queries, [75] * 64, [32] * 64, QVHIGHLIGHTS_FAMILIES, Path(folder), apart=True, audio=audio)
    torch.manual_seed(0)
    inputs = Inputs(data.video_dim, audio, data.text_dim, 2.0, moments=True)
    method = methods.build(methods.settings_class(name)(), inputs)
    method.network.train()
    learner = Learner(method, method.optimizer(training, "cpu"), training)
    targets = method.targets(queries, data.n_clips, training)
    rng = np.random.default_rng(0)

    def take_step() -> Times:
        times: Times = {}
        index = rng.permutation(len(queries))[: training.batch_size].tolist()
        _timed(times, "step", lambda: learner.step(collate(data, index, targets.draw(index, rng))))
        return times

    def multiply() -> Times:
        times: Times = {}
        _timed(times, "product", lambda: a @ b)
        return times

    found = _in_turns((take_step, multiply), steps)
    step, unit = found[0]["step"][0], found[1]["product"][0]
    n = sum(p.numel() for p in method.network.parameters())
    print(f"{name}: {n:,} parameters, {step:.3f} CPU s a step, one product {unit:.4f} s: {step / unit:.1f} products")


def _show_methods(names: Sequence[str], steps: int, precisions: Sequence[str]) -> None:
    """Print the ratios of whole steps, optimizer included, for QVHighlights' shapes and one thread."""
    _show_head("one thread", precisions)
    queries = [_rated(n, 75) for n in range(64)]
    with tempfile.TemporaryDirectory() as folder:
        data = _made(queries, [75] * 64, [32] * 64, QVHIGHLIGHTS_FAMILIES, Path(folder), apart=True)
        for name in names:
            sides = [
                _MethodLoop(name, data, Training(precision=precision), Path(folder), ours=ours).step
                for precision in precisions
                for ours in (True, False)
            ]
            found = [times["step"] for times in _in_turns(sides, steps)]
            pairs = zip(found[::2], found[1::2], strict=True)
            print(
                f"{name:14}" + "".join(f"{plain[0] / ours[0]:16.2f}{plain[1] / ours[1]:8.2f}" for ours, plain in pairs)
            )


def _show_qvhighlights(steps: int, threads: int, precisions: Sequence[str]) -> None:
    queries = [_rated(n, 75) for n in range(64)]
    with tempfile.TemporaryDirectory() as folder:
        data = _made(queries, [75] * 64, [24] * 64, QVHIGHLIGHTS_FAMILIES, Path(folder), apart=True)
        loops = [
            _Loop(data, Training(precision=precision), Path(folder), ours=ours)
            for precision in precisions
            for ours in (True, False)
        ]
        found = _in_turns([loop.step for loop in loops], steps)
    _show_head(f"{threads} thread{'s' if threads > 1 else ''}", precisions)
    for part in (*PARTS, "step"):
        pairs = [(found[k][part], found[k + 1][part]) for k in range(0, len(found), 2)]
        _show_ratios(part, pairs)


def _show_head(title: str, precisions: Sequence[str]) -> None:
    print(f"\nQVHighlights' shapes, {title}")
    columns = "".join(f"{f'{precision}: CPU':>16}{'wall':>8}" for precision in precisions)
    print(f"{'':14}" + columns + (f"{'ours, 32 / 16':>16}" if len(precisions) > 1 else ""))


def _show_ratios(name: str, pairs: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    """Print the ratios of our time and the plain loop's. pairs: for each precision, CPU and wall seconds of ours and of
    the plain loop."""
    columns = "".join(f"{plain[0] / ours[0]:16.2f}{plain[1] / ours[1]:8.2f}" for ours, plain in pairs)
    between = f"{pairs[0][0][1] / pairs[1][0][1]:16.2f}" if len(pairs) > 1 else ""
    print(f"{name:14}" + columns + between, flush=True)


def _show_tvsum(steps: int, precision: str) -> None:
    print(f"\nTVSum, one thread, {precision}, CPU")
    print(f"{'':8}{'step':>8}{'evaluation':>12}{'whole':>8}")
    training = Training(
        batch_size=4,
        learning_rate=1e-3,
        max_clips=1000,
        max_tokens=None,
        precision=precision,
    )
    sums = np.zeros(4)
    for domain, (clips, tokens, val_clips) in TVSUM.items():
        with tempfile.TemporaryDirectory() as folder:
            queries = [_labelled(domain, n, length) for n, length in enumerate(clips)]
            data = _made(queries, clips, tokens, TVSUM_FAMILIES, Path(folder), apart=False)
            val = _made([_labelled(domain, 9, val_clips)], [val_clips], [12], TVSUM_FAMILIES, Path(folder), apart=False)
            loops = [_Loop(data, training, Path(folder), ours=ours, val=val) for ours in (True, False)]
            work = [work for loop in loops for work in (loop.step, loop.evaluation)]
            row = np.array([times["step"][0] for times in _in_turns(work, steps)])
        sums += row
        _show_row(domain, row)
    _show_row("sum", sums)


def _show_row(name: str, row: np.ndarray) -> None:
    ours, plain = row[0] + row[1] / EVALUATE_EVERY, row[2] + row[3] / EVALUATE_EVERY
    print(f"{name:8}{row[2] / row[0]:8.2f}{row[3] / row[1]:12.2f}{plain / ours:8.2f}")


def _in_turns(works: Sequence[Callable[[], Times]], steps: int) -> list[Times]:
    """Return the median of every part of every work, over `steps` turns after one turn that warms up."""
    rows = [[work() for work in works] for _ in range(steps + 1)][1:]
    return [
        {part: tuple(median(row[n][part][kind] for row in rows) for kind in (0, 1)) for part in rows[0][n]}
        for n in range(len(works))
    ]


class _Loop:
    """A training loop, ours or the plain one, step by step."""

    def __init__(self, data: Data, training: Training, folder: Path, *, ours: bool, val: Data | None = None) -> None:
        self.data, self.training, self.val = data, training, val
        self.moments = data.queries[0].label is None
        weights = LossWeights() if self.moments else LossWeights(global_alignment=0.5, local_alignment=2.0)
        self.settings = TrDetrSettings(loss_weights=weights)
        self.parts = nullcontext if ours else plain_loop.plain_parts
        torch.manual_seed(0)
        with self.parts():
            inputs = Inputs(data.video_dim, 0, data.text_dim, data.clip_s, self.moments)
            self.method = methods.build(self.settings, inputs)
            self.model = self.method.network
        kind = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **kind, fused=True if ours else None)
        self.batches = self._ours() if ours else self._plain(folder)
        self.half = training.precision == "bfloat16"

    def step(self) -> Times:
        """Take one step, and return the times of its parts."""
        with self.parts():
            self.model.train()
            times: Times = {}
            batch = _timed(times, "batch", lambda: next(self.batches))
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                outputs = _timed(times, "forward", lambda: self.model(batch))
            losses = _timed(
                times,
                "losses",
                lambda: compute_losses(outputs, batch, self.settings, self.moments)["total"],
            )
            _timed(times, "backward", lambda: (self.optimizer.zero_grad(), losses.backward()))
            _timed(times, "clip + AdamW", self._update)
        return times | {"step": tuple(np.sum(list(times.values()), axis=0))}

    def evaluation(self) -> Times:
        """Predict and score the val video."""
        times: Times = {}
        with self.parts():
            _timed(times, "step", self._evaluate)
        return times

    def _update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.gradient_clip)
        self.optimizer.step()

    def _evaluate(self) -> None:
        predictions = predict(self.method, self.val, dataset="tvsum", batch_size=100)
        evaluate("tvsum", [records.to_row(p) for p in predictions], [records.to_row(q) for q in self.val.queries])

    def _ours(self) -> Iterator[Batch]:
        data, rng = self.data, np.random.default_rng(0)
        targets = Targets(data.queries, data.n_clips, data.clip_s, max_windows=self.training.max_windows)
        size = self.training.batch_size
        while True:
            order = rng.permutation(len(data.queries))
            for start in range(0, len(order), size):
                index = order[start : start + size].tolist()
                yield collate(data, index, targets.draw(index, rng))

    def _plain(self, folder: Path) -> Iterator[Batch]:
        files = plain_loop.Files(folder, self.data.queries, apart=self.moments)
        while True:
            yield from plain_loop.loader(files, self.training.batch_size)


class _MethodLoop:
    """Whole training steps of any method: ours, or the plain loop with the method made of torch's own parts."""

    def __init__(self, name: str, data: Data, training: Training, folder: Path, *, ours: bool) -> None:
        self.data, self.training, self.ours = data, training, ours
        self.parts = nullcontext if ours else plain_loop.plain_parts
        self.rng = np.random.default_rng(0)
        torch.manual_seed(0)
        with self.parts():
            inputs = Inputs(data.video_dim, 0, data.text_dim, data.clip_s, moments=True)
            self.method = methods.build(methods.settings_class(name)(), inputs)
            self.method.network.train()
            optimizer = self.method.optimizer(training, "cpu")
        if not ours:
            for group in optimizer.param_groups:
                group["fused"] = False
        self.learner = Learner(self.method, optimizer, training)
        self.targets = self.method.targets(data.queries, data.n_clips, training)
        self.index_of = {query.qid: index for index, query in enumerate(data.queries)}
        self.plain = self._plain(folder)

    def step(self) -> Times:
        """Take one whole step, and return its time."""
        times: Times = {}
        with self.parts():
            _timed(times, "step", lambda: self.learner.step(self._batch()))
        return times

    def _batch(self) -> Batch:
        if not self.ours:
            return next(self.plain)
        index = self.rng.permutation(len(self.data.queries))[: self.training.batch_size].tolist()
        return collate(self.data, index, self.targets.draw(index, self.rng))

    def _plain(self, folder: Path) -> Iterator[Batch]:
        files = plain_loop.Files(folder, self.data.queries, apart=True)
        while True:
            for batch in plain_loop.loader(files, self.training.batch_size):
                index = [self.index_of[qid] for qid in batch.qids]
                yield replace(batch, labels=self.targets.draw(index, self.rng))


def _timed(times: Times, part: str, work: Callable[[], Any]) -> Any:
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    times[part] = (time.process_time() - cpu, time.perf_counter() - wall)
    return result


def _rated(number: int, clips: int) -> Query:
    """Return a row like those of QVHighlights: two windows with rated clips."""
    rng = np.random.default_rng(number)
    ids = (*range(5, 15), *range(40, 60))
    ratings = tuple(map(tuple, rng.integers(0, 5, (len(ids), 3)).tolist()))
    windows = ((10.0, 30.0), (80.0, 120.0))
    return Query(number, "words", f"v{number}", 2.0 * clips, windows, ids, ratings)


def _labelled(domain: str, number: int, clips: int) -> Query:
    """Return a row like those of TVSum."""
    label = np.random.default_rng(number).integers(1, 6, (clips, 20)).astype(float)
    vid = f"{domain}{number}"
    return Query(vid, "words", vid, 2.0 * clips, domain=domain, label=tuple(map(tuple, label.tolist())))


def _made(
    queries: Sequence[Query],
    clips: Sequence[int],
    tokens: Sequence[int],
    families: tuple[int, int],
    folder: Path,
    *,
    apart: bool,
    audio: int = 0,
) -> Data:
    """Return random features, packed as ours, and as files for the plain loop. audio: width of the sound's rows, if
    any."""
    rng = np.random.default_rng(0)
    streams = (*families, *([audio] if audio else []))
    videos = [[rng.standard_normal((n, dim), dtype=np.float32) for dim in streams] for n in clips]
    words = [rng.standard_normal((n, 512), dtype=np.float32) for n in tokens]
    for query, rows, text in zip(queries, videos, words, strict=True):
        plain_loop.write_files(folder, query, rows, text)
    blocks = families if apart else (sum(families),)
    packed = (*blocks, *([audio] if audio else []))
    return Data(
        queries=list(queries),
        video=_packed([np.concatenate(rows, axis=1) for rows in videos], packed),
        text=_packed(words, (512,)),
        video_of=torch.arange(len(queries)),
        video_blocks=len(blocks),
        video_dim=sum(families),
        audio_dim=audio,
        text_dim=512,
        clip_s=2.0,
        skipped=[],
    )


def _packed(samples: Sequence[np.ndarray], blocks: tuple[int, ...]) -> Packed:
    rows, lengths = torch.from_numpy(np.concatenate(samples)), torch.tensor([len(x) for x in samples])
    norms = torch.stack([block.norm(dim=1) for block in rows.split(blocks, dim=1)], dim=1)
    return Packed(rows, blocks, norms, lengths.cumsum(0) - lengths, lengths)


if __name__ == "__main__":
    main()
