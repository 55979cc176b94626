"""The pictures and the sound of the small files in `samples/`, so that the output of a decoder can be compared with
them.

`benchmarks/decoder_samples.py` made these files from the functions below, with PyAV's own encoders. Each is one second
long. A decoded picture has to be close to the one that was drawn, and closer to it than to any other picture of the
file. This finds a decoder that fails, one that gives a grey picture, and one that gives a picture of another moment.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).with_name("samples")
"""The folder with the files. Their names are those of the codecs."""
WIDTH, HEIGHT, N_PICTURES = 128, 96, 10
"""Size of a picture in pixels, and the number of pictures of a second."""
SQUARE = 24
"""Side of the bright square, in pixels."""
TONE_HZ, LOUDNESS = 440.0, 0.5
"""The tone of the sound samples: its frequency, and the largest absolute value of its samples."""


def picture(k: int) -> np.ndarray:
    """Return the k-th picture, uint8 RGB [HEIGHT, WIDTH, 3]: slow colours, and a bright square that moves right."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:, :, 0] = np.linspace(40, 160, WIDTH).astype(np.uint8)
    image[:, :, 1] = np.linspace(140, 50, HEIGHT).astype(np.uint8)[:, None]
    image[:, :, 2] = 70 + 8 * k
    x, y = 4 + 10 * k, (HEIGHT - SQUARE) // 2
    image[y : y + SQUARE, x : x + SQUARE] = (230, 220, 210)
    return image


def tone(n_samples: int, rate: int) -> np.ndarray:
    """Return `n_samples` samples of the tone, float32. rate: samples per second."""
    return (LOUDNESS * np.sin(2 * np.pi * TONE_HZ * np.arange(n_samples) / rate)).astype(np.float32)


def pictures() -> list[Path]:
    """Return the samples that hold pictures, sorted."""
    return sorted(path for path in SAMPLES.iterdir() if not is_sound(path))


def sounds() -> list[Path]:
    """Return the samples that hold sound, sorted."""
    return sorted(path for path in SAMPLES.iterdir() if is_sound(path))


def is_sound(path: Path) -> bool:
    """Tell whether a sample holds the tone, by its name."""
    return path.suffix in (".m4a", ".mp3", ".opus", ".ogg")
