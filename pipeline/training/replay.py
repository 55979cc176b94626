"""Steps on a GPU as recordings: launched whole, so that the host neither calls thousands of kernels nor waits for them.

The two halves of a step, before and after the matching, are recorded as CUDA graphs for each shape of batch that comes
again, and replayed from then on. A batch keeps the shape it has: in the released formulation padding takes part in the
results, so none may be added for the sake of fewer shapes.
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
"""Recordings made, of the shapes that come again first; all others go on with ordinary steps."""

Work = Callable[[], None]
Shape = tuple[torch.Size, ...]
"""Of every tensor of a batch."""


class Recorder(Protocol):
    """What turns work on tensors that stay where they are into something that repeats it."""

    def rehearse(self, work: Work) -> None:
        """Do the work once, so that libraries make ready what they make ready at first use."""

    def record(self, work: Work) -> Work:
        """Note the work down without doing it; what is returned does it."""


class CudaGraphs:
    """Recordings on the GPU. They share one pool of memory, since never two steps are under way.

    All are rehearsed and recorded on one side stream: cuBLAS keeps 32 MiB for every stream that it has worked on.
    """

    def __init__(self) -> None:
        self.pool, self.stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    def rehearse(self, work: Work) -> None:
        """See `Recorder`; on the stream that a recording is made on."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            work()
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, work: Work) -> Work:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        here = torch.cuda.stream(torch.cuda.current_stream())  # a recording that fails does not lead back by itself
        with here, torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            work()
        return graph.replay


@dataclass(frozen=True)
class Recording:
    """The halves of a step on batches of one shape."""

    step: Step
    before: Work
    after: Work


class Replays:
    """Steps by recordings, with the results of `Learner.step`: both launch the same kernels on the same random numbers.

    So it does not matter which steps are recorded, which a run that goes on after a kill decides anew. That the results
    are equal to the bit is tested where there is a GPU.
    """

    def __init__(self, learner: Learner, recorder: Recorder) -> None:
        self.learner, self.recorder = learner, recorder
        self._seen: set[Shape] = set()
        self._recordings: dict[Shape, Recording] = {}
        self._places: dict[tuple[str, torch.Size], Tensor] = {}
        self._cannot = False

    def step(self, batch: Batch) -> Losses:
        """One step. Raises PipelineError where a matching has no answer.

        A shape is recorded when it comes for the second time: many of Charades-STA's never do. So the first step of a
        run has no recording: it makes the optimizer's state, which a recording would make again in every replay. Where
        recording fails, that is said once, and all steps go on without.
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
        """Rehearse, which moves no parameter and no random stream, then record."""
        step = Step(self.learner, with_tensors(batch, self._still))
        with torch.random.fork_rng(devices=[batch.video.device] if batch.video.is_cuda else []):
            self.recorder.rehearse(lambda: _rehearsed(step))
        self.learner.optimizer.zero_grad()

        def after() -> None:
            step.backward()
            step.update()

        return Recording(step, self.recorder.record(step.forward), self.recorder.record(after))

    def _still(self, name: str, tensor: Tensor) -> Tensor:
        """The same in a place of its own, which all recordings share that have a tensor of this name and shape."""
        return self._places.setdefault((name, tensor.shape), torch.empty_like(tensor)).copy_(tensor)


def _rehearsed(step: Step) -> None:
    """All but the update, with nothing matched."""
    step.forward()
    step.matches = tuple(torch.full(each.shape[:-1], NONE, device=each.device) for each in step.costs)
    step.backward()


def _say_why(error: RuntimeError) -> None:
    """What went wrong in a recording; that it could not be ended either is what torch raises over it."""
    reason = str(error.__context__ or error).splitlines()[0]
    print(f"steps cannot be recorded as CUDA graphs ({reason}): they run slower, one by one", file=sys.stderr)
