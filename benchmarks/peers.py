"""Makes the numbers of docs/peers.md: curves as small CSV files, and the comparison of methods on TVSum in Markdown.

    python benchmarks/peers.py results/peers-study docs/peers tr_detr_v=docs/table3/v tr_detr_va=docs/table3/va

The first argument is the results folder of `docs/peers/study.yaml`. The second is the folder of the CSV files. There is
one file for each experiment and seed, with a row for each evaluation and a column for each domain, top-5 mAP in
percent. The other arguments add the files of another study, `NAME=FOLDER/EXPERIMENT`. Runs that are not finished are
used as far as they are.

It prints the numbers of each method (best evaluation on the reported video, last evaluation, mean of the last 50,
luck), the matrices of paired differences for the first three of them, the mean of the last 50 in every domain, the
number of evaluations that have exactly the value of equal scores for all clips, and how many networks give all clips
nearly the same score. With `--page FILE` the same is written into the page, between the lines `<!-- figures -->` and
`<!-- end of figures -->`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median, stdev

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from table3_curves import by_seed, experiment_of, seconds, write

from pipeline import records
from pipeline.datasets.tvsum import DOMAINS
from pipeline.evaluation import evaluate
from pipeline.evaluation.selection import luck
from pipeline.layout import Layout
from pipeline.layout.runs import EPOCHS, RunId
from pipeline.manifests import files_of
from pipeline.reporting import published, render
from pipeline.reporting.paired import Contestant, Matrix
from pipeline.reporting.paired_forms import as_table

LAST = 50
NARROW = 0.001
"""Scores of all clips that lie within this are nearly equal."""
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
NUMBERS = {"best": "best evaluation", "last": "last evaluation", "level": f"mean of the last {LAST}"}
"""Name of a number → how it is called in a heading."""
ROW_OF = {
    "tr_detr_v": "TR-DETR V",
    "tr_detr_va": "TR-DETR V+A",
    "qd_detr_v": "QD-DETR V",
    "qd_detr_va": "QD-DETR V+A",
    "umt_va": "UMT V+A",
    "univtg_v": "UniVTG V",
    "cg_detr_v": "CG-DETR V",
}
Curves = dict[str, list[float]]
"""Domain → the value of every evaluation, in percent."""


def main() -> None:
    """Write the CSV files, print the page's figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="results/peers-study")
    parser.add_argument("output", type=Path, help="folder of the CSV files")
    parser.add_argument("others", nargs="*", metavar="NAME=FOLDER/EXPERIMENT", help="files of another study")
    parser.add_argument("--page", type=Path, help="the page to write the figures into")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    spent = dict(_written(Layout(options.results), options.output))
    found = {name: read(options.output.glob(f"{name}-s*.csv")) for name in names_in(options.output)}
    for other in options.others:
        name, _, place = other.partition("=")
        found[name] = read(Path(place).parent.glob(f"{Path(place).name}-s*.csv"))
    found = {name: found[name] for name in sorted(found, key=list(ROW_OF).index) if found[name]}
    spreads = {name: dict(spreads_of(Layout(options.results), name)) for name in found}
    text = "\n".join([*page(found, spent, collapsed(options.results)), "", *nearly_equal(spreads)])
    print(text)
    if options.page:
        before, _, rest = options.page.read_text(encoding="utf-8").partition(BEGIN)
        options.page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def _written(layout: Layout, output: Path) -> Iterator[tuple[str, float]]:
    """Write the CSV files of all experiments. Yields the name of each and the wall seconds of all its epochs."""
    for experiment in sorted(path for path in layout.runs("").iterdir() if path.is_dir()):
        per_seed = by_seed(experiment)
        for seed, curves in per_seed.items():
            write(output / f"{experiment.name}-s{seed}.csv", curves)
        yield experiment.name, sum(seconds(experiment, seed) for seed in per_seed)


def names_in(folder: Path) -> list[str]:
    """Return the experiments in a folder of CSV files."""
    return sorted({experiment_of(path) for path in folder.glob("*-s*.csv")})


def read(paths: Iterator[Path]) -> list[Curves]:
    """Return the curves of every seed. If a domain has fewer evaluations than the others, its curve is shorter."""
    found = []
    for path in sorted(paths):
        table = pd.read_csv(path).reindex(columns=DOMAINS)
        curves = {domain: table[domain].dropna().tolist() for domain in DOMAINS}
        if all(curves.values()):
            found.append(curves)
    return found


def number(curve: Sequence[float], name: str) -> float:
    """Return one of `NUMBERS` of a curve."""
    return {"best": max(curve), "last": curve[-1], "level": fmean(curve[-LAST:])}[name]


def collapsed(results: Path) -> dict[str, float]:
    """Return domain → the top-5 mAP of equal scores for all clips of its val video, in percent."""
    (path,) = files_of(Layout(results).manifest("annotations", dataset="tvsum", split="val"))
    rows = [row for _, row in records.read_jsonl(path)]
    equal = [{"qid": row["qid"], "pred_saliency_scores": [0.0] * len(row["label"])} for row in rows]
    return {row["domain"]: 100 * row["top5-mAP"] for row in evaluate("tvsum", equal, rows).queries}


def page(
    found: Mapping[str, Sequence[Curves]], spent: Mapping[str, float], equal: Mapping[str, float]
) -> Iterator[str]:
    """Yield the lines of the page, in Markdown."""
    yield from reached(found, spent)
    for name, called in NUMBERS.items():
        contestants = [_contestant(label, seeds, name) for label, seeds in found.items()]
        title = f"Row - column, {called}, mean over ten domains in points"
        matrix = Matrix.of(f"tvsum-{name}", title, contestants, "value", called, "test", name)
        yield from ["", render.to_markdown(as_table(matrix)).rstrip()]
    yield from ["", *by_domain(found, equal)]


def _contestant(label: str, seeds: Sequence[Curves], name: str) -> Contestant:
    means = {d: fmean(number(curves[d], name) for curves in seeds) for d in DOMAINS}
    values = {d: {"qid": d, "vid": d, "video": d, "value": mean / 100} for d, mean in means.items()}
    return Contestant(label, ROW_OF[label], len(seeds), values)


def reached(found: Mapping[str, Sequence[Curves]], spent: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each method: its numbers, the published number, and the time of training."""
    yield f"| method | seeds | evaluations | best | last | mean of the last {LAST} | luck | published | wall s |"
    yield "|:--|--:|--:|--:|--:|--:|--:|--:|--:|"
    printed = {row.key: row.values["Avg."] for row in published.known(3)}
    for label, seeds in found.items():
        means = {name: [fmean(number(curves[d], name) for d in DOMAINS) for curves in seeds] for name in NUMBERS}
        cells = [_spread(values) for values in means.values()]
        lucks = [value for curves in seeds for d in DOMAINS if math.isfinite(value := luck(curves[d]))]
        usual_luck = f"{fmean(lucks):.1f}" if lucks else ""
        looks = sorted({len(curve) for curves in seeds for curve in curves.values()})
        yield (
            f"| {label} | {len(seeds)} | {'-'.join(map(str, looks))} | {' | '.join(cells)} | {usual_luck} |"
            f" {printed[ROW_OF[label]]} | {f'{spent[label]:,.0f}' if label in spent else ''} |"
        )


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def by_domain(found: Mapping[str, Sequence[Curves]], equal: Mapping[str, float]) -> Iterator[str]:
    """Yield the mean of the last 50 evaluations in every domain, the number for equal scores, and how many evaluations
    have exactly this number."""
    yield f"| mean of the last {LAST} | {' | '.join(DOMAINS)} | mean |"
    yield "|:--" + "|--:" * (len(DOMAINS) + 1) + "|"
    for label, seeds in found.items():
        means = [fmean(number(curves[d], "level") for curves in seeds) for d in DOMAINS]
        yield f"| {label} | {' | '.join(f'{mean:.1f}' for mean in means)} | {fmean(means):.1f} |"
    yield f"| equal scores | {' | '.join(f'{equal[d]:.1f}' for d in DOMAINS)} | {fmean(equal.values()):.1f} |"
    yield from ["", "Evaluations with exactly the value of equal scores, of all evaluations of a method:", ""]
    for label, seeds in found.items():
        values = [(d, value) for curves in seeds for d in DOMAINS for value in curves[d]]
        at = [d for d, value in values if abs(value - equal[d]) < 0.005]
        where = ", ".join(f"{d} {at.count(d)}" for d in DOMAINS if d in at)
        yield f"- {label}: {len(at)} of {len(values):,}" + (f" ({where})" if where else "")


def spreads_of(layout: Layout, experiment: str) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield (run, epoch) → the difference between the highest and the lowest clip score of the run's val video. Runs
    without predictions are left out."""
    for folder in sorted(layout.runs(experiment).glob("*/")):
        for epoch in EPOCHS:
            path = layout.predictions(experiment, folder.name, "val", epoch)
            if path.exists():
                ((_, row),) = records.read_jsonl(path)
                yield (folder.name, epoch), max(row["pred_saliency_scores"]) - min(row["pred_saliency_scores"])


def nearly_equal(spreads: Mapping[str, Mapping[tuple[str, str], float]]) -> Iterator[str]:
    """Yield the lines of a table: the networks that give all clips nearly the same score. spreads: method → (run,
    epoch) → difference between its highest and its lowest score."""
    yield f"Networks whose scores of all clips lie within {NARROW} of each other, with their domains:"
    yield from ["", "| method | selected epoch | last epoch | highest - lowest score, last epoch, median |"]
    yield "|:--|:--|:--|--:|"
    for label, found in spreads.items():
        cells = []
        for epoch in EPOCHS:
            of_epoch = {run: spread for (run, when), spread in found.items() if when == epoch}
            narrow = [str(RunId.parse(run).domain) for run, spread in of_epoch.items() if spread < NARROW]
            where = ", ".join(f"{d} {narrow.count(d)}" for d in DOMAINS if d in narrow)
            cells.append(f"{len(narrow)} of {len(of_epoch)}" + (f" ({where})" if where else ""))
        if found:
            last = [spread for (_, when), spread in found.items() if when == EPOCHS[-1]]
            yield f"| {label} | {' | '.join(cells)} | {f'{median(last):.2g}' if last else ''} |"


if __name__ == "__main__":
    main()
