"""Steps on a GPU are recorded and replayed, so that the host neither starts thousands of kernels nor waits for them.

The two halves of a step, before and after the matching, are recorded as CUDA graphs for each shape of batch that comes
again. From then on they are replayed. A batch keeps its shape: in the released formulation padding takes part in the
results, so none may be added to have fewer shapes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.models.batch import Batch, tensors_of, with_tensors
from pipeline.models.matching import NONE
from pipeline.training.step import Learner, Losses, Step

SHAPES_KEPT = 128
"""Largest number of recordings. The shapes that come again first get one, and all others use ordinary steps."""

Work = Callable[[], None]
"""A function that works on tensors at fixed addresses. It has no arguments."""

Shape = tuple[torch.Size, ...]
"""The shapes of all tensors of a batch."""


class Recorder(Protocol):
    """Turns work on tensors at fixed addresses into a function that repeats the work."""

    def rehearse(self, work: Work) -> None:
        """Do the work once, so that libraries do their set-up for the first use."""

    def record(self, work: Work) -> Work:
        """Record the work without doing it, and return a function that does it."""


class CudaGraphs:
    """Recordings on the GPU. They share one pool of memory, because two steps never run at the same time.

    All are rehearsed and recorded on one side stream, because cuBLAS keeps 32 MiB for every stream that it has used.
    """

    def __init__(self) -> None:
        self.pool, self.stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    def rehearse(self, work: Work) -> None:
        """Do the work once, on the stream that recordings are made on."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            work()
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, work: Work) -> Work:
        """Record the work as a CUDA graph, and return a function that replays it."""
        graph = torch.cuda.CUDAGraph()
        # A recording that fails does not restore the current stream by itself.
        here = torch.cuda.stream(torch.cuda.current_stream())
        with here, torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            work()
        return graph.replay


@dataclass(frozen=True)
class Recording:
    """The recorded halves of a step on batches of one shape."""

    step: Step
    before: Work
    after: Work


class Replays:
    """Steps by recordings. Their results equal `Learner.step`, because the same kernels run with the same random
    numbers.

    So it does not matter which steps are recorded, and a run that continues after a kill may record others. A test
    checks on a GPU that the results are equal to the bit.
    """

    def __init__(self, learner: Learner, recorder: Recorder) -> None:
        self.learner, self.recorder = learner, recorder
        self._seen: set[Shape] = set()
        self._recordings: dict[Shape, Recording] = {}
        self._places: dict[tuple[str, torch.Size], Tensor] = {}
        self._cannot = False

    @property
    def n_recorded(self) -> int:
        """The number of shapes of batches whose steps are replayed."""
        return len(self._recordings)

    def step(self, batch: Batch) -> Losses:
        """Do one step. Raises PipelineError when a matching has no answer.

        A shape is recorded when it comes for the second time, because many shapes of Charades-STA never do. So the
        first step of a run is an ordinary one. It makes the optimizer's state, which a recording would make again in
        every replay. If recording fails, this is printed once, and all steps go on as ordinary ones.
        """
        shape = tuple(tensor.shape for tensor in tensors_of(batch).values())
        if self._is_worth_recording(shape):
            try:
                self._recordings[shape] = self._make(batch)
            except RuntimeError as error:
                self._cannot = True
                self._recordings.clear()
                _say_why(error)
        self._seen.add(shape)
        recording = self._recordings.get(shape)
        return self.learner.step(batch) if recording is None else self._replay(recording, batch)

    def _is_worth_recording(self, shape: Shape) -> bool:
        has_room = not self._cannot and len(self._recordings) < SHAPES_KEPT
        return has_room and shape in self._seen and shape not in self._recordings

    def _replay(self, recording: Recording, batch: Batch) -> Losses:
        step, given = recording.step, tensors_of(batch)
        for name, tensor in tensors_of(step.batch).items():
            tensor.copy_(given[name], non_blocking=True)
        recording.before()
        step.match(batch.labels)
        recording.after()
        return step.losses()

    def _make(self, batch: Batch) -> Recording:
        """Rehearse, which changes no parameter and no random stream, and then record."""
        step = Step(self.learner, with_tensors(batch, self._still))
        with torch.random.fork_rng(devices=[batch.video.device] if batch.video.is_cuda else []):
            self.recorder.rehearse(lambda: _rehearsed(step))
        self.learner.optimizer.zero_grad()

        def after() -> None:
            step.backward()
            step.update()

        return Recording(step, self.recorder.record(step.forward), self.recorder.record(after))

    def _still(self, name: str, tensor: Tensor) -> Tensor:
        """Copy a tensor to a fixed address. All recordings with a tensor of this name and shape share this address."""
        return self._places.setdefault((name, tensor.shape), torch.empty_like(tensor)).copy_(tensor)


def _rehearsed(step: Step) -> None:
    """Do all of a step except the update, with no query matched."""
    step.forward()
    step.matches = tuple(torch.full(each.shape[:-1], NONE, device=each.device) for each in step.costs)
    step.backward()


def _say_why(error: RuntimeError) -> None:
    """Print why a recording failed.

    torch raises a second error because the recording could not be ended. The first one, its context, is the reason.
    """
    reason = str(error.__context__ or error).splitlines()[0]
    print(f"steps cannot be recorded as CUDA graphs ({reason}): they run slower, one by one", file=sys.stderr)
