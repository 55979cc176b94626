"""The description of a method's released system: the layout of its checkpoints and the form of its golden sets.

The readers (`pipeline/released/`) know no method by name. Each method with a released system defines a `Release`.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import nouns
from pipeline.config import Training
from pipeline.errors import PipelineError, printable
from pipeline.methods.contract import Inputs, Method
from pipeline.methods.settings import MethodSettings
from pipeline.models.batch import Batch
from pipeline.records import Query

RELATIVE = 1e-5
"""The largest difference that is allowed. For outputs it is a share of the largest reference value, and for losses a
share of the value itself."""

Calls = Mapping[str, list[Any]]
"""The results of every named module: name of the module → what each of its calls returned."""


def noise(tag: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the numbers that golden sets are generated from: normal numbers of NumPy's legacy generator, seeded with
    the CRC-32 of `tag`."""
    return np.random.RandomState(zlib.crc32(tag.encode())).standard_normal(shape)


class Check(NamedTuple):
    """One quantity that was compared: its largest difference, in the unit of `tolerance`."""

    quantity: str
    difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Tell whether the difference is allowed. A difference that is infinite or NaN is never allowed: the tolerance
        would be infinite, too, if the set held an infinite number."""
        return math.isfinite(self.difference) and self.difference <= self.tolerance


def close(name: str, ours: Tensor, reference: Tensor) -> Check:
    """Compare two arrays by their largest difference. The tolerance is a share of the largest reference value.

    If the shapes differ, the check fails.
    """
    if ours.shape != reference.shape:
        return incomparable(f"{name}: shape {_shape(ours)}, in the set {_shape(reference)}")
    difference = float((ours.detach() - reference).abs().max())
    tolerance = RELATIVE * float(reference.abs().max())
    return Check(name, difference, tolerance)


def near(name: str, ours: float, reference: float, share: float = RELATIVE) -> Check:
    """Compare two numbers. The tolerance is a share of the reference value."""
    return Check(name, abs(ours - reference), share * abs(reference))


def none_differ(name: str, wrong: int) -> Check:
    """Return the check of a number of things that differ. None may differ."""
    return Check(name, abs(float(wrong)), 0.0)


def incomparable(name: str) -> Check:
    """Return the failed check of a quantity that cannot be compared at all."""
    return Check(name, float("inf"), 0.0)


def check_steps(
    method: Method, golden: GoldenSet, told: Mapping[str, Any], *, totals: float = 1e-4, norms: float = 1e-3
) -> Iterator[Check]:
    """Compare some optimizer steps on the batch of a set, in evaluation mode. The weights of the network change.

    told: lr, weight_decay, clip (None: the gradients stay as they are) and the trajectory, whose rows hold the step,
    the total before it, and grad_norm_before_clip. totals, norms: the share by which a total and a gradient norm may
    differ.
    """
    training = Training(learning_rate=told["lr"], weight_decay=told["weight_decay"], gradient_clip=told["clip"])
    optimizer, batch = method.optimizer(training, "cpu"), golden.batch
    if not told["trajectory"]:
        yield incomparable("optimizer steps: the set has none")
    for row in told["trajectory"]:
        outputs = method.outputs(batch)
        losses = method.losses(outputs, batch, method.match(method.costs(outputs, batch), batch.labels))
        optimizer.zero_grad()
        losses["total"].backward()
        clip = method.gradient_clip(training)
        norm = nn.utils.clip_grad_norm_(method.network.parameters(), float("inf") if clip is None else clip)
        optimizer.step()
        for name, value, wanted, share in (
            ("total", losses["total"], row["total"], totals),
            ("gradient norm", norm, row["grad_norm_before_clip"], norms),
        ):
            yield near(f"step {row['step']}: {name}", float(value.detach()), wanted, share)


@dataclass(frozen=True)
class GoldenSet:
    """One golden set: inputs of a released system, and the outputs that it computed from them.

    settings: the settings with the loss weights that the set was made with. max_windows: the largest number of windows
    that a step learns from. weights, gradient_norms: by released name; a norm of None means that the tensor gets no
    gradient. batch: the batch, with its labels as they were drawn. outputs: by the field of the method's outputs.
    losses: by our names, with what `Release.logged` gives beside them. matches: the matching of each sample (queries,
    windows), for the last layer, then for the earlier layers where they are known; empty without moments. queries: the
    queries, if the set contains their annotations. expected: the content of the JSON file. arrays: the arrays of
    forward.npz by their names; only the sharp form has them.
    """

    name: str
    dataset: str
    inputs: Inputs
    settings: MethodSettings
    max_windows: int
    weights: Mapping[str, Tensor]
    n_parameters: int | None
    batch: Batch
    outputs: Mapping[str, Tensor]
    losses: Mapping[str, float]
    matches: tuple[list[Any], ...]
    gradient_norms: Mapping[str, float | None]
    queries: tuple[Query, ...] = ()
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Release:
    """The description of a released system's files, with which they are read.

    Checkpoints. title: the system's name in messages. tensors: the key of the weights in a checkpoint. names: the
    beginning of a released tensor's name (* is a layer's number) → ours; what follows the beginning is kept.
    unused_tensors: the released tensors that no output depends on. settings: the class of the method's settings.
    options: our setting → the released option with its value; one option may give several of our settings. must_be_off:
    released switches that change what a network computes and none of its tensors, and that our network lacks. fitted: a
    function that returns the settings with the sizes of the released tensors, for sizes that no option gives; it raises
    KeyError, IndexError or ValueError. inputs_of: a function that returns the widths of the features that fit the
    tensors; it raises KeyError or TypeError. cuts: whether the system cuts long videos and texts, as its options
    `max_v_l` and `max_q_l` say. options_scale: whether the options `no_norm_vfeat` and `no_norm_tfeat` say that
    features were not scaled to length 1.

    Golden sets. outputs, losses: a released name → the field of our outputs, or the name of our loss; losses that have
    one name of ours are added up. weights_apart: the loss weights that a set lists separately from the others, in its
    order. rounding: gradient norms below this are rounding errors of 0, so two of them agree. logged: further figures
    of the released log. intermediates: further checks of a set that holds intermediate values. further: checks of those
    keys of a set that only this method has. Both get the results of every call of every named module.

    Compact sets. columns: the numbers per row of outputs that have more than one. rows_of_set: a function that makes
    queries and labels from the file, if the method has a form of its own. labels_of_set: a function that makes the
    method's labels from the common ones and the content of the file. unscaled: a part of the names of those weights
    that are not scaled after they were drawn.
    """

    title: str
    tensors: str
    names: Mapping[str, str]
    unused_tensors: tuple[str, ...]
    settings: type[MethodSettings]
    inputs_of: Callable[[Mapping[str, Tensor]], Inputs]
    outputs: Mapping[str, str]
    losses: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)
    weights_apart: tuple[str, ...] = ()
    must_be_off: tuple[str, ...] = ()
    fitted: Callable[[Any, Mapping[str, Tensor]], MethodSettings] = lambda settings, _: settings
    cuts: bool = True
    options_scale: bool = False
    rounding: float = 0.0
    columns: Mapping[str, int] = field(default_factory=lambda: {"pred_logits": 2, "pred_spans": 2})
    rows_of_set: Callable[[Mapping[str, Any]], tuple[Sequence[Query], Any]] | None = None
    logged: Callable[[Any, tuple[Tensor, ...]], dict[str, float]] = lambda *_: {}
    intermediates: Callable[[GoldenSet, Calls, Any], Iterator[Check]] = lambda *_: iter(())
    further: Callable[[GoldenSet, Any, Calls, Any], Iterator[Check]] = lambda *_: iter(())
    labels_of_set: Callable[[Any, Mapping[str, Any]], Any] = lambda labels, _: labels
    unscaled: str | None = None

    def settings_of(self, options: Mapping[str, Any]) -> MethodSettings:
        """Return the settings that released options name. Raises ValueError if no such network can exist.

        A setting that no option names keeps its default.
        """
        return self.settings.model_validate({our: options[its] for our, its in self.options.items() if its in options})

    def settings_of_set(self, told: Mapping[str, float], *apart: float) -> MethodSettings:
        """Return the settings that a golden set was made with. Only the loss weights differ from the defaults.

        told: released name of a loss → its weight. apart: the values of `weights_apart`, or zeros if the system has no
        such losses. Raises ValueError if a weight of an earlier decoder layer differs from that of the last layer, and
        for a weight that the system does not have.
        """
        weights = {ours: weight for name, weight in told.items() if not (ours := self.losses[name]).startswith("aux_")}
        for name, weight in told.items():
            if weight != (last := weights.get(self.losses[name].removeprefix("aux_"))):
                raise ValueError(f"the weight of `{name}` is {weight}, and that of the last layer is {last}")
        if not self.weights_apart and any(apart):
            raise ValueError(f"{self.title} has no weights beside its list of losses, and the set gives {apart}")
        weights |= dict(zip(self.weights_apart, apart, strict=False))
        return self.settings.model_validate({"loss_weights": weights})

    def our_name(self, released: str, where: object = "checkpoint") -> str | None:
        """Return our name of a released tensor, or None for a tensor that no output depends on. Raises PipelineError
        for a name that is not in the table."""
        if released in self.unused_tensors:
            return None
        for theirs, ours in self.names.items():
            pattern = re.escape(theirs).replace(r"\*", r"(\d+)")
            if match := re.match(pattern, released):
                return ours.replace("*", match[1] if match.lastindex else "*") + released[match.end() :]
        raise self.wrong_file(f"holds a tensor `{released[:100]}` that {self.title} does not have", where)

    def their_name(self, ours: str) -> str:
        """Return the released name of one of our tensors, or our name if the table does not have it."""
        for theirs, beginning in self.names.items():
            pattern = re.escape(beginning).replace(r"\*", r"(\d+)")
            if match := re.match(pattern, ours):
                return theirs.replace("*", match[1] if match.lastindex else "*") + ours[match.end() :]
        return ours

    def renamed(
        self,
        released: Mapping[str, Tensor],
        expected: Mapping[str, Tensor],
        where: object = "checkpoint",
        sized_by: str = "",
    ) -> dict[str, Tensor]:
        """Return released tensors under our names, in our shapes, as float32. Axes of length 1 may be added or dropped
        (the last axis of kernel-1 convolutions).

        expected: our state, for its names and shapes. sized_by: the end of the sentence about a shape: where the
        expected one comes from. Raises PipelineError, which names what is missing, unknown or of another shape, or what
        the file holds twice with different values. All names in errors are released ones.
        """
        renamed: dict[str, Tensor] = {}
        name_of: dict[str, str] = {}
        for name, tensor in released.items():
            ours = self.our_name(name, where)
            if ours is None:
                continue
            first, first_name = renamed.setdefault(ours, tensor), name_of.setdefault(ours, name)
            if first is not tensor and not torch.equal(first.float(), tensor.float()):
                raise self.wrong_file(
                    f"holds one tensor twice with different values, as `{first_name}` and as `{name}`", where
                )
        if missing := sorted(map(self.their_name, expected.keys() - renamed.keys())):
            raise self.wrong_file(f"lacks {nouns.counted(len(missing), 'tensor')}, the first is `{missing[0]}`", where)
        if surplus := sorted(name_of[ours] for ours in renamed.keys() - expected.keys()):
            raise self.wrong_file(
                f"holds {nouns.counted(len(surplus), 'tensor')} too many, the first is `{surplus[0]}`", where
            )
        for ours, tensor in renamed.items():
            if _without_ones(tensor) != _without_ones(expected[ours]):
                raise self.wrong_file(
                    f"`{name_of[ours]}` has shape {_shape(tensor)}, expected {_shape(expected[ours])}{sized_by}", where
                )
        return {name: renamed[name].float().reshape(tensor.shape) for name, tensor in expected.items()}

    def wrong_file(self, what: str, where: object) -> PipelineError:
        """Return the error for a file that is not of this system."""
        return PipelineError(
            printable(what),
            where=where,
            remedy=f"name a checkpoint of the released {self.title}, all its modules on; or, with --method, the method"
            " that this one belongs to",
        )


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _without_ones(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of a tensor without its axes of length 1."""
    return tuple(length for length in tensor.shape if length != 1)
