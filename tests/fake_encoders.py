"""Encoders without a network, whose rows show what the extraction did."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from importlib import import_module

import numpy as np

from pipeline.encoders.base import Words
from pipeline.families import FAMILIES

CALLS: list[int] = []
"""Rows of every call of `encode`."""

FAKES = {
    "clip-vit-b32": "fake_encoders:MeanColour",
    "slowfast-r50-caffe2": "fake_encoders:WideMeanColour",
    "clip-text": "fake_encoders:Letters",
    "pann-cnn14": "fake_encoders:Loudness",
}
"""The families of the small workflow, and the class that takes the place of each."""

LIGHT = ("preprocessing", "sampling", "view", "batch", "rows_per_input")
"""The fields with which a family describes its input. A fake has them as attributes of its class."""


def take_the_place(encoders, setitem=dict.__setitem__):
    """Let these classes, family → `module:Class`, make the rows of their families; `setitem` may be monkeypatch's."""
    for family, encoder in encoders.items():
        setitem(FAMILIES, family, replace(FAMILIES[family], encoder=encoder, options={}, **light(encoder)))


def light(encoder):
    """Return the fields with which a fake describes its input."""
    module, name = encoder.split(":")
    kind = getattr(import_module(module), name)
    return {key: getattr(kind, key) for key in LIGHT if hasattr(kind, key)}


class MeanColour:
    """Makes rows of 512 numbers: the mean colour of a row's frames, then zeros."""

    preprocessing = "mean colour"
    sampling = "middle"
    view = "frames224"
    batch = 4
    rows_per_input = 1

    def __init__(self, weights, device):
        self.seed = weights.seed

    def encode(self, frames):
        CALLS.append(len(frames))
        rows = np.zeros((len(frames), 512), np.float32)
        rows[:, :3] = frames.mean((1, 2, 3))
        rows[:, 3] = self.seed
        return rows


class WideMeanColour(MeanColour):
    """The same encoder as MeanColour, with rows as wide as SlowFast's."""

    def encode(self, frames):
        return np.pad(super().encode(frames)[:, :4], ((0, 0), (0, 2304 - 4)))


class EveryFrame(MeanColour):
    """Makes rows of eight neighbouring frames, as a network of motion does."""

    sampling = "eights"
    batch = 3


class KillsItself(MeanColour):
    """Ends the process without a message in its second batch."""

    batch = 2

    def encode(self, frames):
        if CALLS:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(frames)


class Letters:
    """Makes a row for each word with its length. The pooled vector is their sum."""

    preprocessing = "letters"
    batch = 2

    def __init__(self, weights, device, corpus):
        pass

    def encode(self, queries):
        CALLS.append(len(queries))
        tokens = [np.array([[len(word)] * 512 for word in query.split()], np.float32) for query in queries]
        return [Words(rows, rows.sum(axis=0)) for rows in tokens]


class Loudness:
    """Makes rows of 2048 numbers: the mean absolute sample of a piece of sound, the seed, then zeros."""

    preprocessing = "loudness"
    batch = 4

    def __init__(self, weights, device):
        self.seed = weights.seed

    def encode(self, pieces):
        rows = np.zeros((len(pieces), 2048), np.float32)
        rows[:, 0] = np.abs(pieces).mean(axis=1)
        rows[:, 1] = self.seed
        return rows


def eights(facts, clip_s):
    """Return the frames 8n … 8n + 7 of each row, which lasts clip_s / 4 s."""
    return np.arange(facts.n_frames // 8 * 8).reshape(-1, 8)
