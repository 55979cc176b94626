"""Makes sound files for the tests, and measures what was decoded from them."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from pipeline.video.audio import read_sound


def write_sound(path, channels, rate=44100, codec="pcm_s16le", form="s16", pieces=((0, None),), picture=False):
    """Write a sound file, with a picture at second 0 or without. channels: float [n_channels, n] in -1 … 1.

    pieces: (first sample's time in samples, length).
    """
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    dtype, scale = {"s16": ("i2", 2.0**15), "s32": ("i4", 2.0**31), "u8": ("u1", 2.0**7)}.get(form, ("f4", 1))
    values = (channels * scale + (scale if form == "u8" else 0)).astype(dtype)
    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=30) if picture else None
        stream = file.add_stream(codec, rate=rate, layout=layout, format=form)
        if video:
            video.width, video.height = 64, 48
            file.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
            file.mux(video.encode(None))
        done = 0
        for start, length in pieces:
            part = values[:, done : None if length is None else done + length]
            done += part.shape[1]
            for first in range(0, part.shape[1], 1000):
                samples = part[:, first : first + 1000]
                samples = samples if form.endswith("p") else samples.T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), form, layout)
                frame.sample_rate, frame.pts, frame.time_base = rate, start + first, Fraction(1, rate)
                file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def noise(n_channels=2, n=100_000, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (n_channels, n)).astype(np.float32)


def heard(path):
    *chunks, end = read_sound(path)
    return np.concatenate(chunks), end.end_s
