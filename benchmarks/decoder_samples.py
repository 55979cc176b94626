"""Makes and checks the small files with which `python -m pipeline doctor` tests each decoder. The files are committed.

    python benchmarks/decoder_samples.py           # how far each committed file is from what was drawn
    python benchmarks/decoder_samples.py --write   # makes all files again, under pipeline/doctor/samples/

Each file has ten pictures or one second of a tone. They are drawn in `pipeline/doctor/drawn.py` and encoded by the
encoders in PyAV's wheel. Two versions of an encoder make different files, so tests do not make them again.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import av
import numpy as np

from pipeline.doctor import decoders, drawn

PICTURES = {
    "h264.mp4": ("libx264", {"crf": "20"}),
    "hevc.mp4": ("libx265", {"crf": "20", "x265-params": "log-level=none"}),
    "vp8.webm": ("libvpx", {"crf": "10", "b": "500k"}),
    "vp9.webm": ("libvpx-vp9", {"crf": "25", "b": "0"}),
    "av1.mp4": ("libsvtav1", {"crf": "25", "preset": "8", "svtav1-params": "log-level=0"}),
    "mpeg4.avi": ("mpeg4", {"b": "600k"}),
    "mpeg2.mpg": ("mpeg2video", {"b": "600k"}),
    "wmv2.wmv": ("wmv2", {"b": "600k"}),
}
"""Name of a file → encoder, and its options."""
SOUNDS = {
    "aac.m4a": ("aac", 44100, "mono", {}),
    "mp3.mp3": ("libmp3lame", 44100, "mono", {"b": "64k"}),
    "opus.opus": ("libopus", 48000, "mono", {"b": "64k"}),
    "vorbis.ogg": ("vorbis", 44100, "stereo", {"strict": "experimental"}),
}
"""Name of a file → encoder, samples per second, channels, and options."""


def main() -> None:
    """Make the files if that is asked for, and print what the doctor finds in each."""
    if "--write" in sys.argv[1:]:
        drawn.SAMPLES.mkdir(exist_ok=True)
        for name, (codec, options) in PICTURES.items():
            write_pictures(drawn.SAMPLES / name, codec, options)
        for name, (codec, rate, layout, options) in SOUNDS.items():
            write_sound(drawn.SAMPLES / name, codec, rate, layout, options)
    for path in [*drawn.pictures(), *drawn.sounds()]:
        print(f"{path.name:12} {path.stat().st_size:7,} bytes  {decoders.compare(path).text}")


def write_pictures(path: Path, codec: str, options: dict[str, str]) -> None:
    """Encode the drawn pictures, ten in a second (MPEG-2 allows no rate below 24, so that its second is shorter)."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25 if codec == "mpeg2video" else drawn.N_PICTURES, options=options)
        stream.width, stream.height, stream.pix_fmt = drawn.WIDTH, drawn.HEIGHT, "yuv420p"
        for k in range(drawn.N_PICTURES):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(drawn.picture(k), "rgb24")))
        file.mux(stream.encode(None))


def write_sound(path: Path, codec: str, rate: int, layout: str, options: dict[str, str]) -> None:
    """Encode a second of the tone, the same in every channel."""
    with av.open(str(path), "w", format="ogg" if path.suffix == ".opus" else None) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout, options=options)
        channels = np.tile(drawn.tone(rate, rate), (2 if layout == "stereo" else 1, 1))
        frame = av.AudioFrame.from_ndarray(channels, "fltp", layout)
        frame.sample_rate, frame.pts = rate, 0
        wanted = av.AudioResampler(stream.codec_context.format.name, layout, rate)
        for piece in wanted.resample(frame):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))


if __name__ == "__main__":
    main()
