"""Makes feature archives for the demo's videos, in the layouts of the released archives.

No network computes these rows. They are coarse statistics of the pictures and the sound of each clip, and a fixed
random projection gives them the widths of the released rows. Each different word gets a random vector of its own.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import files
from pipeline.datasets import synthetic_video as video_
from pipeline.datasets.synthetic_plan import CLIP_S, Benchmark, Video

RGB_DIM, FLOW_DIM, SLOWFAST_DIM, CLIP_DIM, AUDIO_DIM, TEXT_DIM = 1024, 1024, 2304, 512, 2048, 512
VGG_DIM = 4096
VGG_ROW_S, I3D_ROW_S, SLOWFAST_ROW_S = Fraction(1, 6), Fraction(1, 2), Fraction(1)
"""Length in seconds of one row in each of Charades-STA's archives."""
FRAMES_PER_CLIP = 3
SOUND_BANDS = 64


def write_tvsum_archive(benchmark: Benchmark, path: Path) -> None:
    """Write a zip file in UMT's layout: picture, motion, sound and words of every TVSum-like video.

    The sound of the first video has one row too many, because one video of the released archive has that, too.
    """
    titles = {row["vid"]: row["query"] for rows in benchmark.rows.values() for row in rows}
    first = benchmark.videos[0]
    _write(path, (pair for v in benchmark.videos for pair in _tvsum_files(v, titles[v.vid], int(v is first))))


def write_qvhighlights_archive(benchmark: Benchmark, path: Path) -> None:
    """Write a zip file in UMT's layout: three families of every QVHighlights-like video, and words of every query."""
    queries = {row["qid"]: row["query"] for rows in benchmark.rows.values() for row in rows}
    _write(path, chain.from_iterable([*map(_qvhighlights_files, benchmark.videos), _query_files(queries)]))


def write_charades_archives(benchmark: Benchmark, vgg: Path, i3d: Path, slowfast_clip: Path) -> None:
    """Write three zip files with every Charades-like video, in the layouts of UMT, VSLNet and CG-DETR.

    Each archive has a grid of its own.
    """
    queries = {row["qid"]: row["query"] for rows in benchmark.rows.values() for row in rows}
    _write(vgg, chain.from_iterable(map(_vgg_files, benchmark.videos)))
    _write(
        i3d,
        ((f"{video.vid}.npy", _bytes(np.save, _still("i3d", video, I3D_ROW_S, RGB_DIM))) for video in benchmark.videos),
    )
    pictures = (_picture_files(video, SLOWFAST_ROW_S) for video in benchmark.videos)
    _write(slowfast_clip, chain.from_iterable([*pictures, _query_files(queries)]))


def _write(path: Path, content: Iterable[tuple[str, bytes]]) -> None:
    with files.atomic(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def picture_statistics(video: Video, row_s: Fraction = Fraction(CLIP_S)) -> tuple[np.ndarray, np.ndarray]:
    """Compute what is seen in each `row_s` seconds, and how much it changes within a quarter of a second.

    Returns two arrays [rows, 60] with values from 0 to 1.
    """
    seen, changed = [], []
    for row in range(int(video.n_clips * CLIP_S / row_s)):
        times = [float((row + (i + Fraction(1, 2)) / FRAMES_PER_CLIP) * row_s) for i in range(FRAMES_PER_CLIP)]
        now = np.stack([_coarse(video_.frame(video, time)) for time in times])
        next_ = np.stack([_coarse(video_.frame(video, time + 0.25)) for time in times])
        seen.append(now.mean(axis=0))
        changed.append(np.abs(next_ - now).mean(axis=0))
    return np.stack(seen), np.stack(changed)


def sound_features(video: Video, row_s: Fraction = Fraction(CLIP_S)) -> np.ndarray:
    """Compute rows for what is heard in each `row_s` seconds, from the energy in bands of the spectrum.

    Returns float32 [rows, AUDIO_DIM].
    """
    n_rows = int(video.n_clips * CLIP_S / row_s)
    n_samples = int(row_s * video_.SAMPLE_RATE)
    starts = [int(row * row_s * video_.SAMPLE_RATE) for row in range(n_rows)]
    samples = video_.sound(video)
    clips = np.stack([samples[start : start + n_samples] for start in starts])
    # Frequencies up to 2 kHz are enough, because all tones are lower.
    spectrum = np.abs(np.fft.rfft(clips, axis=1))[:, : clips.shape[1] // 16]
    bands = [band.mean(axis=1) for band in np.array_split(spectrum, SOUND_BANDS, axis=1)]
    return _projected("sound", np.log1p(np.stack(bands, axis=1)), AUDIO_DIM)


def word_features(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Make random vectors for the words of a text, with a start and an end token, and one vector for the whole text.

    Returns float16 [n_words + 2, TEXT_DIM] and float16 [1, TEXT_DIM].
    """
    tokens = np.stack([_random(f"word {word}", TEXT_DIM) for word in ["<start>", *text.lower().split(), "<end>"]])
    # 0.34 is the norm of the released tokens, 10.6 that of the released vectors of whole texts.
    text_row = tokens.mean(axis=0, keepdims=True)
    text_row = text_row * (10.6 / np.linalg.norm(text_row))
    return (0.34 * tokens / np.sqrt(TEXT_DIM)).astype(np.float16), text_row.astype(np.float16)


def _tvsum_files(video: Video, title: str, extra_sound_rows: int) -> Iterator[tuple[str, bytes]]:
    seen, changed = picture_statistics(video)
    heard = sound_features(video)
    heard = np.concatenate([heard, heard[len(heard) - extra_sound_rows :]])
    token, text = word_features(title)
    yield f"video_features/{video.vid}_rgb.npy", _bytes(np.save, _projected("rgb", seen, RGB_DIM))
    yield f"video_features/{video.vid}_opt.npy", _bytes(np.save, _projected("flow", changed, FLOW_DIM))
    yield f"audio_features/{video.vid}.npy", _bytes(np.save, heard)
    yield f"query_features/{video.vid}.npz", _bytes(np.savez, token=token, text=text)


def _qvhighlights_files(video: Video) -> Iterator[tuple[str, bytes]]:
    yield from _picture_files(video, Fraction(CLIP_S))
    yield f"pann_features/{video.vid}.npy", _bytes(np.save, sound_features(video))


def _picture_files(video: Video, row_s: Fraction) -> Iterator[tuple[str, bytes]]:
    seen, changed = picture_statistics(video, row_s)
    moving = _projected("slowfast", np.concatenate([seen, changed], axis=1), SLOWFAST_DIM)
    yield f"slowfast_features/{video.vid}.npz", _bytes(np.savez, features=moving.astype(np.float16))
    still = _projected("clip", seen, CLIP_DIM)
    yield f"clip_features/{video.vid}.npz", _bytes(np.savez, features=still.astype(np.float16))


def _vgg_files(video: Video) -> Iterator[tuple[str, bytes]]:
    yield f"rgb_features/{video.vid}.npy", _bytes(np.save, _still("vgg", video, VGG_ROW_S, VGG_DIM))
    yield f"audio_features/{video.vid}.npy", _bytes(np.save, sound_features(video, VGG_ROW_S))


def _still(name: str, video: Video, row_s: Fraction, dim: int) -> np.ndarray:
    """Compute a row from the picture in the middle of each `row_s` seconds: float32 [rows, dim]."""
    times = [float((row + Fraction(1, 2)) * row_s) for row in range(int(video.n_clips * CLIP_S / row_s))]
    return _projected(name, np.stack([_coarse(video_.frame(video, time)) for time in times]), dim)


def _query_files(queries: Mapping[int, str]) -> Iterator[tuple[str, bytes]]:
    for qid, query in queries.items():
        tokens, text = word_features(query)
        arrays = {"last_hidden_state": tokens, "pooler_output": text[0]}
        yield f"clip_text_features/qid{qid}.npz", _bytes(np.savez, **arrays)


def _coarse(picture: np.ndarray) -> np.ndarray:
    """Average the colours of a picture on 4 × 5 fields. Returns a flat array [60] with values from 0 to 1."""
    rows, columns = video_.HEIGHT // 4, video_.WIDTH // 5
    return picture.reshape(4, rows, 5, columns, 3).mean(axis=(1, 3)).ravel() / 255


def _projected(name: str, statistics: np.ndarray, dim: int) -> np.ndarray:
    """Project statistics [rows, n] to float32 [rows, dim] at random; the projection depends on `name` only.

    Negative values become 0, because the released rows are not negative either.
    """
    projection = _random(f"projection {name}", statistics.shape[1] * dim).reshape(-1, dim)
    return np.maximum(statistics @ projection, 0).astype(np.float32)


@lru_cache(maxsize=64)
def _random(name: str, size: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(size)


def _bytes(save: Any, *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()
