"""The page stage writes the report: an index with tables and figures, and a page of queries for each scored split.

The report contains every experiment of the config. It is static: pages link to each other, to logs and to videos, and
each page contains its own styles, script and data.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import csv_file, datasets, provenance, records, stage_requests, version
from pipeline.config import Experiment
from pipeline.errors import PipelineError
from pipeline.layout import OWN_TABLE, queries_path_of, sources_by_name
from pipeline.layout.places import AnnotationFile, MetricsFile, PredictionFile
from pipeline.layout.runs import RELEASED_RUN, RunId
from pipeline.manifests import files_of, files_of_all
from pipeline.progress import duration_text
from pipeline.recorded_settings import check_chain
from pipeline.reporting import own as own_dataset
from pipeline.reporting import published, tables
from pipeline.reporting.comparisons import Judged, Key
from pipeline.reporting.page import build, figure_queries, overview, own, stories
from pipeline.reporting.page.scored_files import Benchmark, examine
from pipeline.reporting.published import ABOUT
from pipeline.reporting.reproduced import Reproduced
from pipeline.stage_settings import Page
from pipeline.stages import StageJob

MOST_FILES = 12
"""Largest number of prediction files on a page of queries."""


@dataclass
class Shown:
    """The prediction files of one split. predictions: label → files. scored: label → qids that count, as text."""

    predictions: dict[str, list[Path]] = field(default_factory=dict)
    scored: dict[str, set[str]] = field(default_factory=dict)


def page(job: StageJob[Page]) -> bool:
    """Write {results}/report/index.html and {results}/report/{dataset}-{split}.html.

    Returns whether there was work to do. Raises PipelineError when metrics, predictions and runs do not belong
    together, or when the runs were trained with other settings than the experiments have.
    """

    def work() -> provenance.Outcome:
        check_chain(job.settings.experiments, *(job.inputs[kind] for kind in ("metrics", "predictions", "runs")))
        folder = job.layout.report()
        benchmarks = {key: _benchmark(job, *key, shown) for key, shown in _shown(job).items()}
        made = []
        for (dataset, split), benchmark in benchmarks.items():
            made.append(job.layout.queries_page(dataset, split))
            videos = {vid: own.address(path, folder) for vid, path in _videos(job, dataset).items()}
            own.write(made[-1], benchmark, videos, back=job.layout.report_index().name)
        made.append(job.layout.report_index())
        build.write(made[-1], "report.html", *_index(job, benchmarks))
        return provenance.Outcome(made, {"pages": len(made)})

    return provenance.run_request(stage_requests.page(job, published.FILES), job.manifest, work)


def _index(
    job: StageJob[Page], benchmarks: Mapping[tuple[str, str], Benchmark]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values that the template of the index prints, and the data for its script."""
    experiments = job.settings.experiments
    metrics, runs, folder = list(job.inputs["metrics"]), list(job.inputs["runs"]), job.layout.report()
    made, coverages = [], []
    told: dict[Key, dict[str, Any]] = {}
    steps: list[overview.Step] = []
    for number in ABOUT:
        found, judged = tables.gather([number], experiments, metrics, runs)
        rated = [path for path in job.inputs["annotations"] if ABOUT[number].unit == "video" and _is_rated(path)]
        made.append(tables.build(f"table{number}", job.settings.title, experiments, metrics, runs, rated))
        coverages.append(overview.coverage(number, found[number], judged))
        told |= dict(_stories(job, number, found[number], judged))
        steps = overview.steps(found[number]) if number == 4 else steps
    n_runs, seconds = overview.seconds_of(job.layout, experiments)
    own_tables = []
    for dataset, of_dataset in _own(job.settings.experiments).items():
        own_tables.append(own_dataset.build(f"{OWN_TABLE}{dataset}", job.settings.title, of_dataset, metrics, runs))
        lines = own_dataset.gather(of_dataset, metrics, runs)
        told |= {("", line.label): stories.of_own(line, job.layout, folder) for line in lines}
    commit = version.commit()
    context = {
        "title": job.settings.title,
        "tables": made,
        "own_tables": own_tables,
        "coverages": coverages,
        "stories": {key: place for place, key in enumerate(told)},
        "benchmarks": [
            (job.layout.queries_page(d, s).name, d, s, one, [own.sentence(one, file) for file in one.files])
            for (d, s), one in benchmarks.items()
        ],
        "n_runs": n_runs,
        "cost": duration_text(seconds),
        "commit": commit,
        "steps": steps,
        "step_scale": overview.scale(steps),
        "curves": list(_curves(job)),
        "figures": _figures(job, benchmarks),
        "rule": figure_queries.RULE,
    }  # fmt: skip
    return context, {"stories": list(told.values()), "commit": commit}


def _own(experiments: Mapping[str, Experiment]) -> dict[str, dict[str, Experiment]]:
    """Return each dataset of the user's own with its experiments."""
    names = dict.fromkeys(e.dataset for e in experiments.values() if e.about.own)
    return {dataset: {name: e for name, e in experiments.items() if e.dataset == dataset} for dataset in names}


def _stories(
    job: StageJob[Page], number: int, rows: Mapping[str, Sequence[Reproduced]], judged: Mapping[Key, Judged]
) -> Iterator[tuple[Key, dict[str, Any]]]:
    values = {row.key: row.values for row in published.known(number)}
    for key, founds in rows.items():
        for found in founds:
            about = (judged[key, found.label], job.layout, job.layout.report())
            yield (key, found.label), stories.of_row(number, key, found, *about, values[key])


def _given(files: Mapping[Any, Path], wanted: object, option: str, experiment: str) -> Path:
    """Return a file from those that the job was given with an option. Raises PipelineError if it is not among them."""
    if wanted not in files:
        what = f"no manifest that `--{option}` names lists the {option} of {experiment}"
        raise PipelineError(what, where="page", remedy="name all of them (the workflow does: snakemake report)")
    return files[wanted]


def _shown(job: StageJob[Page]) -> dict[tuple[str, str], Shown]:
    """Return (dataset, split) → the prediction files to show: the first seed of each experiment and sweep point. The
    files of TR-DETR's row come first. Files after the first `MOST_FILES` are left out.
    """
    predictions = {PredictionFile.of(path): path for path in files_of_all(job.inputs["predictions"])}
    metrics = {MetricsFile.of(path): path for path in files_of_all(job.inputs["metrics"])}
    released = {name: files_of(path)[0] for name, path in sources_by_name(job.inputs["released"]).items()}
    found: dict[tuple[str, str], Shown] = {}
    for label, name, experiment, runs in sorted(_labels(job.settings.experiments), key=_is_other):
        split = experiment.report
        shown = found.setdefault((experiment.dataset, split), Shown())
        if len(shown.predictions) == MOST_FILES:
            continue
        if experiment.source == "predictions":
            shown.predictions[label] = [_given(released, experiment.predictions[split], "released", name)]
        else:
            files = [PredictionFile(name, run, split, "selected") for run in runs]
            shown.predictions[label] = [_given(predictions, file, "predictions", name) for file in files]
        scores = [MetricsFile(name, run, split, "selected") for run in runs]
        scored = (queries_path_of(_given(metrics, file, "metrics", name)) for file in scores)
        shown.scored[label] = {str(row["qid"]) for path in scored for _, row in records.read_jsonl(path)}
    return found


def _labels(experiments: Mapping[str, Experiment]) -> Iterator[tuple[str, str, Experiment, list[str]]]:
    """Yield label, name, experiment and the runs of the first seed of each point. TVSum has one run for each domain."""
    for name, experiment in experiments.items():
        if experiment.source == "predictions":
            yield name, name, experiment, [RELEASED_RUN]
            continue
        points: dict[str, list[str]] = {}
        for run in experiment.runs:
            of = RunId.parse(run)
            if of.seed == experiment.seeds[0]:
                points.setdefault(of.point, []).append(run)
        yield from ((f"{name} {point}".strip(), name, experiment, runs) for point, runs in points.items())


def _is_other(labelled: tuple[str, str, Experiment, list[str]]) -> bool:
    """Tell whether a prediction file does not belong to a row of TR-DETR."""
    label, name, experiment, _ = labelled
    key = published.keys_of(experiment).get(label.removeprefix(name).strip(), "")
    return not experiment.table or key != ABOUT[experiment.table].ours


def _benchmark(job: StageJob[Page], dataset: str, split: str, shown: Shown) -> Benchmark:
    truth = next(
        path
        for path in files_of_all(job.inputs["annotations"])
        if AnnotationFile.of(path) == AnnotationFile(dataset, split)
    )
    return examine(dataset, shown.predictions, truth, name=split, scored=shown.scored)


def _is_rated(manifest: Path) -> bool:
    """Tell whether a manifest is that of annotations of val in which every clip is rated."""
    of = [AnnotationFile.of(path) for path in files_of(manifest)]
    return any(one and one.split == "val" and datasets.get(one.dataset).rates_every_clip for one in of)


def _videos(job: StageJob[Page], dataset: str) -> dict[str, Path]:
    """Return vid → file, for the videos that are here. They are no inputs of the stage, because a page also works
    without them.

    A video that is a part of a longer file is left out, because a page would show the file from its start.
    """
    found: dict[str, Path] = {}
    for account in sorted(job.layout.accounts(dataset)):
        rows = [row for row in csv_file.read(account) if row.get("status") == "ok" and not row.get("start_s")]
        found |= {row["vid"]: Path(row["path"]) for row in rows if Path(row["path"]).is_file()}
    return found


def _figures(job: StageJob[Page], benchmarks: Mapping[tuple[str, str], Benchmark]) -> list[tuple[Any, ...]]:
    """Return number, page, benchmark and queries of each of the paper's figures that show queries of val."""
    found = [
        (
            one.dataset.figure,
            job.layout.queries_page(dataset, split).name,
            one,
            figure_queries.figure(one, _videos(job, dataset)),
        )
        for (dataset, split), one in benchmarks.items()
        if one.dataset.figure and split == "val"
    ]
    return sorted(found, key=lambda item: item[0] or 0)


def _curves(job: StageJob[Page]) -> Iterator[tuple[str, str, str]]:
    """Yield experiment, file name and address (`data:`) of every figure that `draw` made."""
    for manifest in job.inputs["figures"]:
        for path in files_of(manifest):
            picture = base64.b64encode(path.read_bytes()).decode()
            yield manifest.stem, path.stem, f"data:image/svg+xml;base64,{picture}"
