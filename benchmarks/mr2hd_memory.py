"""Measures how much of the retrieved moment remains in the released MR2HD after its GRU ran through rows of zeros.

    python benchmarks/mr2hd_memory.py --figure docs/mr2hd-memory.svg [results/runs/…/last.safetensors …]

The networks are ten fresh ones and those of the named files of trained weights. Each gets a moment of 15 projected
clips with k rows of zeros after it. Its state is compared with the state of a GRU that got only rows of zeros. The
result is the distance of the two states divided by the norm of the latter, as the median of 20 moments (for the fresh
networks also the median of ten), against k. It is printed and drawn.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from pipeline.methods.tr_detr.network import TrDetr
from pipeline.methods.tr_detr.settings import TrDetrSettings

MOMENT, LONGEST = 15, 60
ROWS = (1, 3, 5, 10, 15, 20, 30, 45, 60)


def main() -> None:
    """Print the table; draw it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="*", metavar="FILE", help="trained weights, .safetensors")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    torch.set_num_threads(1)
    curves = {"fresh network": fresh()} | {f"{path.parent.name}/{path.stem}": trained(path) for path in options.weights}
    print(f"{'zero rows':>30}" + "".join(f"{k:>9}" for k in ROWS))
    for name, curve in curves.items():
        print(f"{name:>30}" + "".join(f"{float(curve[k - 1]):>9.0e}" for k in ROWS))
    if options.figure:
        draw(curves, options.figure)


def fresh() -> Tensor:
    """Return the median curve of ten untrained networks of QVHighlights size."""
    curves = []
    for seed in range(10):
        torch.manual_seed(seed)
        curves.append(curve_of(TrDetr(TrDetrSettings(), 2816, 0, 512, 2.0)))
    return torch.stack(curves).median(0).values


def trained(path: Path) -> Tensor:
    """Return the curve of a network of the released formulation with all modules. The file gives its widths."""
    from safetensors.torch import load_file

    weights = load_file(path)
    video, text = (len(weights[f"{side}_projection.norms.0.weight"]) for side in ("video", "text"))
    model = TrDetr(TrDetrSettings(), video - 2, 0, text, 2.0)
    model.load_state_dict(weights)
    return curve_of(model)


@torch.no_grad()
def curve_of(model: TrDetr) -> Tensor:
    """Return [LONGEST]: the relative distance of states after 1 … LONGEST zero rows, with and without a moment before
    them."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    width = len(model.video_projection.norms[0].weight)
    rows = torch.nn.functional.normalize(torch.randn(20, MOMENT, width, generator=generator), dim=-1)
    moments = model.video_projection(rows)
    zeros = torch.zeros(20, LONGEST, moments.shape[-1])
    known, _ = model.mr2hd.gru(torch.cat((moments, zeros), 1))
    blank, _ = model.mr2hd.gru(torch.cat((torch.zeros_like(moments), zeros), 1))
    apart = (known - blank).norm(dim=-1) / blank.norm(dim=-1)
    return apart[:, MOMENT:].median(0).values


def draw(curves: Mapping[str, Tensor], path: Path) -> None:
    """Draw one panel with logarithmic axes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "mr2hd", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(5.2, 2.8), layout="constrained")
    for name, curve in curves.items():
        axis.semilogy(range(1, LONGEST + 1), curve.clamp(min=1e-8), label=name)
    axis.axhline(1.2e-7, color="grey", linewidth=0.8, linestyle=":")
    axis.annotate("float32 rounding", (1, 1.6e-7), color="grey")
    axis.set(xlabel="zero rows behind the moment", ylabel="what is left of the moment", xlim=(1, LONGEST))
    axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
