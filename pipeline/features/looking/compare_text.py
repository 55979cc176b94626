"""Writes a comparison of two feature stores as text: a verdict in one line, the worst videos, and a table of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline import files
from pipeline.features import ROWS_APART
from pipeline.features.looking.compare import CLOSE, Alignment, Comparison, Pair
from pipeline.features.store.passports import passport_differences
from pipeline.nouns import counted

SAME = 0.999
"""The cosine that two extractions of the same features reach. A GPU's float16 results are not equal to the bit."""

WORTH_A_WORD = 0.01
"""If at least this share of rows or pooled vectors is below CLOSE, the verdict says that only a part is the same."""

NO_SCALE = 0.01
"""Norms that differ by less than this share are not reported, because rounding to float16 can cause that."""

SHOWN = 10
"""The number of the worst vids that the text lists. The CSV lists all vids."""

HEADINGS = ("rows A", "rows B", "cos min", "median", "pooled", "best lag", "turn", "scale")

COLUMNS = (
    "vid",
    "rows_a",
    "rows_b",
    "cosine_min",
    "cosine_median",
    "cosine_pooled",
    "best_lag",
    "best_turn",
    "scale",
)


def verdict(comparison: Comparison) -> str:
    """Say in one line whether these are the same features, and how they differ if they are not."""
    pairs = comparison.pairs
    if all(pair.is_equal for pair in pairs):
        return f"identical: {counted(len(pairs), 'vid')} equal number by number{_besides(comparison)}"
    rows = np.concatenate([pair.aligned for pair in pairs])
    pooled = np.array([pair.pooled for pair in pairs if pair.pooled is not None])
    median = float(np.median(rows))
    plain = float(np.median(np.concatenate([pair.cosines for pair in pairs])))
    done = [*_moved(comparison.alignment, comparison.passports[0].dim), *_scaled(pairs)]
    cosine = f"median cosine {median:.4f}"
    if comparison.alignment != Alignment():
        cosine += f" ({plain:.4f} as they are stored)"
    # If any two rows of the stores are alike, a row that agrees with its counterpart proves nothing.
    n_agree = int((rows >= SAME).sum()) if comparison.chance < CLOSE else 0
    agree = f", {n_agree:,} of {counted(len(rows), 'row')} agree" if n_agree >= WORTH_A_WORD * len(rows) else ""
    beside = f"{cosine}, {comparison.chance:.4f} between any two rows{agree}{_besides(comparison)}"
    if median - comparison.chance < (1 - comparison.chance) / 10 and not agree:
        return f"unrelated: {beside}"
    if median < CLOSE:
        return f"related, but not the same features: {beside}"
    kind = "the same features" if median >= SAME else "nearly the same features (another decoder, filter, precision?)"
    apart = [*_apart(rows, "row", "rows"), *_apart(pooled, "pooled vector", "pooled vectors")]
    if apart:
        kind = f"in part {kind}"
    done = [*apart, *done]
    return ", ".join([f"{kind}, but {done[0]}" if done else kind, *done[1:], cosine]) + _besides(comparison)


def text(comparison: Comparison, a: str, b: str) -> str:
    """Write the whole comparison for a terminal. The verdict is the last line.

    a, b: the names of the stores, as the user gave them.
    """
    left, right = comparison.passports
    differ = passport_differences(left, right)
    sizes = [counted(len(comparison.pairs) + len(only), "vid") for only in comparison.only]
    lengths = sum(pair.n_rows[0] != pair.n_rows[1] for pair in comparison.pairs)
    lines = [
        f"A  {a}: {left.family}, {left.grid}, {left.origin}, {sizes[0]}",
        f"B  {b}: {right.family}, {right.grid}, {right.origin}, {sizes[1]}",
        f"passports: {'; '.join(differ) or 'equal'}",
        f"in both: {counted(len(comparison.pairs), 'vid')}, {lengths} of another length"
        f"; only in A: {_named(comparison.only[0])}; only in B: {_named(comparison.only[1])}",
        "",
        f"{'worst vids':<28} " + " ".join(f"{name:>9}" for name in HEADINGS),
        *(_line(pair) for pair in comparison.worst[:SHOWN]),
        "",
        f"verdict: {verdict(comparison)}",
    ]
    return "\n".join(lines)


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write a CSV with a line for each vid that both stores have, the worst first."""
    import pandas as pd  # This takes half a second, and only this table needs it.

    table = pd.DataFrame([_cells(pair) for pair in comparison.worst], columns=COLUMNS)
    with files.atomic(path) as file:
        table.to_csv(file, index=False, lineterminator="\n")


def _apart(cosines: np.ndarray, one: str, many: str) -> list[str]:
    """Say how many rows or vectors differ. Returns nothing if they are too few to be mentioned."""
    n = int((cosines < CLOSE).sum())
    if not n or n < WORTH_A_WORD * len(cosines):
        return []
    share = f"{n} of {len(cosines)} {many} differ" if len(cosines) > 1 else f"the {one} differs"
    return [f"{share} (cosine below {CLOSE})"]


def _moved(alignment: Alignment, dim: int) -> list[str]:
    """Describe an alignment in words."""
    said = []
    if alignment.lag:
        rows = "row" if abs(alignment.lag) == 1 else "rows"
        said.append(f"B is shifted by {alignment.lag:+d} {rows} (row i of A is row i{alignment.lag:+d} of B)")
    if 2 * alignment.turn == dim:
        said.append("the halves of the columns are exchanged")
    elif alignment.turn:
        said.append(f"the columns are in another order (the first {dim - alignment.turn} of A are the last of B)")
    return said


def _scaled(pairs: list[Pair]) -> list[str]:
    scales = np.concatenate([pair.scales for pair in pairs])
    if not len(scales):
        return []
    low, middle, high = np.percentile(scales, (2, 50, 98))
    if high - low > NO_SCALE * middle:
        return [f"each row of B has its own scale ({low:.4g} to {high:.4g}: normalised?)"]
    return [f"B is scaled by {middle:.4g}"] if abs(middle - 1) > NO_SCALE else []


def _besides(comparison: Comparison) -> str:
    """Say what the cosines do not show: other families, single vids that differ, other lengths, vids of one store."""
    said = []
    left, right = comparison.passports
    if left.family != right.family:
        said.append(f"the families differ by name ({left.family}, {right.family})")
    strays = [pair for pair in comparison.pairs if len(pair.aligned) and np.median(pair.aligned) < CLOSE]
    if 0 < len(strays) < len(comparison.pairs) / 2:
        said.append(f"{len(strays)} of {counted(len(comparison.pairs), 'vid')} stand apart, {strays[0].key} among them")
    if short := sum(not len(pair.aligned) for pair in comparison.pairs):
        said.append(f"too short to be compared under that shift: {counted(short, 'vid')}")
    if longer := sum(abs(pair.n_rows[0] - pair.n_rows[1]) > ROWS_APART for pair in comparison.pairs):
        said.append(f"{counted(longer, 'vid')} with a length that differs by more than {ROWS_APART}")
    if any(comparison.only):
        said.append(f"{counted(sum(map(len, comparison.only)), 'vid')} in only one of them")
    return "".join(f"; {text}" for text in said)


def _cells(pair: Pair) -> tuple[object, ...]:
    scale = f"{np.median(pair.scales):.6g}" if len(pair.scales) else ""
    pooled = "" if pair.pooled is None else f"{pair.pooled:.6f}"
    cosines = f"{pair.cosines.min():.6f}", f"{np.median(pair.cosines):.6f}", pooled
    return (pair.key, *pair.n_rows, *cosines, pair.best.lag, pair.best.turn, scale)


def _line(pair: Pair) -> str:
    key, *values = _cells(pair)
    return f"{key:<28} " + " ".join(f"{value:>9}" for value in values)


def _named(keys: list[str]) -> str:
    if not keys:
        return "none"
    rest = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{len(keys)} ({', '.join(keys[:3])}{rest})"
