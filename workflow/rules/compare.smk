"""Existing manifests are compared with what their stages would be asked for. No file is written or moved here.

Snakemake alone would leave such jobs out: its record of a failed job holds the new settings, and it knows nothing of
deleted stores, raised revisions, and originals that were edited (`pipeline/stale.py`).
"""


def asked_by_rule():
    """Return rule → what its stage is asked for, from the job's wildcards and input files."""

    def dataset(wc):
        return cfg.datasets[wc.dataset]

    def by_split(manifests):
        return {Path(path).stem: Path(path) for path in manifests}

    def source(wc):
        return wc.name, SOURCES[wc.name].file, SOURCES[wc.name].digest

    def trained(wc):
        return wc.experiment, experiment_of(wc), cfg.datasets[experiment_of(wc).dataset]

    def part(wc):
        return int(wc.part.split("of")[0]) - 1

    def score(split):
        return lambda wc, files: asked.score(
            wc.experiment,
            experiment_of(wc),
            split,
            Path(files.predictions[0]),
            Path(files.annotations[0]),
            cfg.datasets[experiment_of(wc).dataset].skip,
        )

    return {
        "fetch": lambda wc, files: asked.fetch(*source(wc)),
        "unpack": lambda wc, files: asked.unpack(wc.name, Path(files.fetched)),
        "annotate": lambda wc, files: asked.annotate(wc.dataset, wc.split, Path(files.fetched[0])),
        "videos": lambda wc, files: asked.videos(wc.dataset, dataset(wc), wc.shard, paths_of(files)),
        "segment": lambda wc, files: asked.segment(grids_of(wc.dataset), dataset(wc).clip, Path(files.videos)),
        "extract": lambda wc, files: asked.extract(
            Path(cfg.results),
            wc.dataset,
            dataset(wc),
            wc.shard,
            reader=wc.reader,
            families=raw_families(wc.dataset, wc.reader),
            encoding=cfg.encoding,
            weights={Path(path).parent.name: Path(path) for path in files.weights},
            inputs=paths_of(files.decoded),
        ),
        "import_archive": lambda wc, files: asked.import_archive(
            wc.name,
            dataset(wc),
            archive_families(wc.dataset, wc.name),
            paths_of([*files.annotations, files.unpacked]),
        ),
        "train": lambda wc, files: asked.train(
            *trained(wc), part(wc), by_split(files.annotations), paths_of(files.features)
        ),
        "predict": lambda wc, files: asked.predict(
            *trained(wc), by_split(files.annotations), paths_of(files.runs), paths_of(files.features)
        ),
        "score": score("val"),
        "score_test": score("test"),
        "tabulate": lambda wc, files: asked.tabulate(
            cfg.title, shown_in(wc.table), published.PUBLISHED, paths_of(files)
        ),
        "draw": lambda wc, files: asked.draw(wc.experiment, experiment_of(wc), paths_of(files.runs)),
    }


def paths_of(files):
    """Return names of files as a list of paths. A single name gives a list of one path."""
    return [Path(path) for path in ([files] if isinstance(files, str) else files)]


def did_not_come(job, manifest, record):
    """Tell whether a job must fetch outside files again, because they changed or because they may exist now."""
    results = Path(cfg.results)
    if job.rule.name == "fetch":
        source = SOURCES[job.wildcards.name]
        taken = originals.fetched(source, manifest.parent / source.file, record, manifest)
        return taken is not None and originals.have_changed([taken])
    if job.rule.name == "videos":
        names = cfg.datasets[job.wildcards.dataset].videos
        may_come = originals.may_come_now(record, names, SOURCES, cfg.acquire.local, results / "resources")
        return may_come or originals.have_changed(originals.videos(manifest.with_suffix(".csv"), SOURCES))
    return False


def manifests_with_work(jobs):
    """Return the existing manifests of a plan's jobs whose stage would have work to do all the same."""
    asked_of, snapshot = asked_by_rule(), provenance.Snapshot()
    found = []
    for job in jobs:
        if job.rule.name in asked_of and (manifest := Path(job.output.manifest)).is_file():
            want = asked_of[job.rule.name](job.wildcards, job.input)
            record = provenance.last_record(manifest, snapshot)
            if stale.has_work(want, manifest, snapshot) or did_not_come(job, manifest, record):
                found.append(job.output.manifest)
    return found


def force_jobs_with_work():
    """Make Snakemake run these jobs, as `--forcerun` would, but without making them targets of their own.

    This is the only place that reaches into Snakemake. A plan is complete when `DAG.init` calls `check_incomplete`,
    where Snakemake itself forces the jobs of incomplete files; which jobs run is decided next, from `DAG.forcefiles`.
    """
    prepare = workflow._prepare_dag

    def prepare_and_watch(*arguments, **options):
        prepare(*arguments, **options)
        dag, check = workflow.dag, workflow.dag.check_incomplete

        async def check_and_force():
            await check()
            dag.forcefiles.update(manifests_with_work(dag.jobs))

        dag.check_incomplete = check_and_force

    workflow._prepare_dag = prepare_and_watch


# A job's own process is told what to run, by the one that planned it.
if workflow.is_main_process:
    force_jobs_with_work()
