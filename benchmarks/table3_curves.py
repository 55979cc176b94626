"""Writes the curves of the study of Table 3 as small CSV files, and summarises them beside the released program's.

    python benchmarks/table3_curves.py results/table3-study/runs docs/table3

There is one file for each experiment and seed, with a row for each evaluation and a column for each domain: top-5 mAP
in percent. Runs that are not finished are used as far as they are. For each domain it prints the best evaluation on the
test video (the published numbers were selected in this way), its epoch, the last evaluation, mean and standard
deviation of the last 50, and the wall seconds. Then it prints, for all files of the folder, three numbers of every
experiment as mean and standard deviation over its seeds. Their differences to `v` have the standard error that follows
from the spread of the seeds in each domain.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev, variance

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd

from pipeline.datasets.tvsum import DOMAINS
from pipeline.layout.runs import LOG, SECONDS, RunId
from pipeline.reporting.reproduced import evaluations

LAST = 50
RELEASED = {  # the released program, V, seed 2017, 300 epochs: best, its epoch, last, mean and sd of the last 50
    "VT": (56.06, 20, 45.51, 41.42, 4.6),
    "VU": (81.56, 260, 36.17, 52.20, 18.2),
    "GA": (75.40, 210, 67.38, 54.73, 14.4),
    "MS": (69.10, 125, 67.31, 67.03, 1.8),
    "PK": (82.24, 140, 79.99, 75.14, 2.5),
    "PR": (75.00, 170, 60.77, 45.06, 11.1),
    "FM": (57.51, 170, 46.31, 49.80, 4.9),
    "BK": (80.15, 235, 75.62, 70.41, 7.1),
    "BT": (78.48, 105, 62.08, 68.18, 4.9),
    "DS": (64.22, 35, 48.12, 40.64, 10.1),
}
NUMBERS = ("best", "last", f"last {LAST}")
Curve = list[tuple[int, float]]
Numbers = dict[str, tuple[float, float, float]]


def main() -> None:
    """Write the CSV files, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="results/…/runs")
    parser.add_argument("output", type=Path, help="folder of the CSV files")
    options = parser.parse_args()
    for experiment in sorted(path for path in options.runs.iterdir() if path.is_dir()):
        for seed, curves in by_seed(experiment).items():
            write(options.output / f"{experiment.name}-s{seed}.csv", curves)
            show(f"{experiment.name}, seed {seed}", curves, seconds(experiment, seed))
    show_line("the released program, V, seed 2017", RELEASED)
    compare(options.output)


def by_seed(experiment: Path) -> dict[str, dict[str, Curve]]:
    """Return seed → domain → (epoch, percent) of every evaluation."""
    found: dict[str, dict[str, Curve]] = defaultdict(dict)
    for log in experiment.glob(f"*/{LOG}"):
        run = RunId.parse(log.parent.name)
        if run.domain in DOMAINS and not run.point:
            found[str(run.seed)][run.domain] = list(evaluations(log, "tvsum").items())
    return found


def seconds(experiment: Path, seed: str) -> float:
    """Return the wall seconds of all epochs of all domains."""
    return float(sum(pd.read_csv(path)["seconds"].sum() for path in experiment.glob(f"*-s{seed}/{SECONDS}")))


def write(path: Path, curves: dict[str, Curve]) -> None:
    """Write one row for each evaluation."""
    columns = {domain: dict(curves[domain]) for domain in DOMAINS if domain in curves}
    table = pd.DataFrame({domain: pd.Series(values, dtype=float) for domain, values in columns.items()}).sort_index()
    table.to_csv(path, index_label="epoch", float_format="%.2f", lineterminator="\n")


def show(title: str, curves: dict[str, Curve], wall_s: float) -> None:
    """Print the summary of one seed, in Markdown."""
    rows = {}
    for domain in DOMAINS:
        if len(curve := curves.get(domain, [])) > 1:
            values = [value for _, value in curve]
            best = max(range(len(values)), key=values.__getitem__)
            late = values[-LAST:]
            rows[domain] = (values[best], curve[best][0], values[-1], fmean(late), stdev(late))
    ends = sorted({curve[-1][0] for curve in curves.values() if curve})
    show_line(f"{title}: {len(rows)} domains, up to epoch {ends}, {wall_s:.0f} s wall", rows)
    if len(rows) == len(DOMAINS):
        stops = range(50, ends[0] + 1, 50)
        print("\nstopped at: " + ", ".join(f"{stop}: {stopped(curves, stop)}" for stop in stops))


def stopped(curves: dict[str, Curve], stop: int) -> str:
    """Return the means of ten domains, best and last, for runs that had ended at this epoch."""
    values = [[value for epoch, value in curve if epoch <= stop] for curve in curves.values()]
    return f"{fmean(map(max, values)):.2f} / {fmean(v[-1] for v in values):.2f}"


def show_line(title: str, rows: dict[str, tuple[float, int, float, float, float]]) -> None:
    """Print a Markdown table with a row for each domain."""
    print(f"\n{title}\n\n| domain | best | (epoch) | last | mean of the last {LAST} | sd |\n|---|---|---|---|---|---|")
    for domain, (best, epoch, last, mean, sd) in rows.items():
        print(f"| {domain} | {best:.2f} | {epoch} | {last:.2f} | {mean:.2f} | {sd:.1f} |")
    if rows:
        best, _, last, mean, sd = (fmean(column) for column in zip(*rows.values(), strict=True))
        print(f"| **mean** | **{best:.2f}** | | **{last:.2f}** | **{mean:.2f}** | {sd:.1f} |")


def experiment_of(table: Path) -> str:
    """Return the experiment of a CSV file that `main` wrote, `{experiment}-s{seed}.csv`."""
    return table.stem.rpartition("-s")[0]


def compare(folder: Path) -> None:
    """Compare the experiments in the CSV files of a folder with `v`, in all domains."""
    found: dict[str, list[Numbers]] = defaultdict(list)
    for path in sorted(folder.glob("*-s*.csv")):
        if numbers := read_numbers(path):
            found[experiment_of(path)].append(numbers)
    print(f"\n| experiment | seeds | {' | '.join(NUMBERS)} | {' | '.join(f'{name} − v' for name in NUMBERS)} |")
    print("|---" * (2 + 2 * len(NUMBERS)) + "|")
    for experiment, seeds in sorted(found.items(), key=lambda pair: (pair[0] != "v", pair[0])):
        ours = [means_of(seeds, k) for k in range(len(NUMBERS))]
        cells = [f"{fmean(m):.2f} ± {stdev(m):.2f}" if len(m) > 1 else f"{m[0]:.2f}" for m in ours]
        differences = [difference(seeds, found["v"], k) for k in range(len(NUMBERS))] if experiment != "v" else [""] * 3
        print(f"| {experiment} | {len(seeds)} | {' | '.join(cells)} | {' | '.join(differences)} |")


def read_numbers(path: Path) -> Numbers:
    """Return domain → best, last and mean of the last 50. It is empty if a domain or an evaluation is missing."""
    table = pd.read_csv(path).reindex(columns=list(DOMAINS))
    if table.isna().any(axis=None):
        return {}
    return {domain: (max(curve), curve[-1], fmean(curve[-LAST:])) for domain, curve in table.to_dict("list").items()}


def means_of(seeds: list[Numbers], k: int) -> list[float]:
    """Return the mean of one number over ten domains, for each seed."""
    return [fmean(numbers[domain][k] for domain in DOMAINS) for numbers in seeds]


def difference(ours: list[Numbers], base: list[Numbers], k: int) -> str:
    """Return the mean over domains of ours minus base, and its standard error if both have several seeds."""
    if not base:
        return ""
    mean = fmean(means_of(ours, k)) - fmean(means_of(base, k))
    if min(len(ours), len(base)) < 2:
        return f"{mean:+.2f}"
    spread = sum(variance([run[domain][k] for run in runs]) / len(runs) for runs in (ours, base) for domain in DOMAINS)
    return f"{mean:+.2f} ({spread**0.5 / len(DOMAINS):.2f})"


if __name__ == "__main__":
    main()
