"""The figures that `estimate` multiplies: the cost of a second of video and of a training step.

The cost of a row is part of its family (`families.py`).

Seconds of a core are CPU seconds of one thread on a shared, busy Zen 4 core; an idle machine is up to twice as fast.
The figures of families and decoding come from `benchmarks/rates.py`, those of training from the loop of
`benchmarks/training.py`. No GPU was available: figures for one are reported by others, or assumed.
"""

from __future__ import annotations

GPU_MACS = 5_000.0
"""Multiply-adds per second (10⁹) that a GPU is assumed to sustain: half of an A100's peak in float32."""

DECODED_SIZES = ("340×256", "1280×720")
DECODING = {"frames224": (0.015, 0.064), "native": (0.016, 0.25), "sound": (0.003, 0.004)}
"""Core seconds to decode one second of video, by reader and frame size (30 fps, H.264). They are measured.

frames224: by `benchmarks/features.py` on an idle machine (busy: 0.022 and 0.120). native: for the families of TVSum;
those of Charades-STA take less for large frames (0.015 and 0.140).
"""

STEP_CPU_S, CLIP_CPU_S = 0.08, 0.0007
"""Core seconds of a training step, and for each clip of its batch, padding included: a line through measurements.

Seconds of a step by clips of its batch: Charades-STA 0.35 (8 × 45), 0.59 (8 × 90), 1.76 (8 × 269, VGG); QVHighlights
1.72 (32 × 75); TVSum's domains 0.46 (4 × 162 on average). The line is within 16 % of each. These are steps of TR-DETR.
The settings of another method give the cost of its step in steps of TR-DETR (`step_cost`)."""

STEP_GPU_S = 0.056
"""Seconds of a training step on an RTX 4090, evaluations included, from the authors' log of QVHighlights V (200
epochs)."""

TOKENS = 14
"""Average rows of a query: QVHighlights 13.6, TVSum 12.6, Charades-STA 9.3, counted with CLIP's tokens."""

PREDICTED_BYTES = 1_458
"""Bytes of one query's line in a prediction file: the authors' val file divided by its 1,550 queries."""
