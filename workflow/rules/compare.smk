"""Compares existing manifests with what their stages would be asked for. No file is written or moved here.

Snakemake alone would leave out jobs whose manifests differ: its record of a failed job has the new settings, and it does
not see deleted stores, raised revisions, and originals that were edited (`pipeline/stale.py`).
"""


def stage_job(stage, job):
    """Return a job of the workflow as its stage gets it."""
    inputs = {one.name: tuple(paths_of(job.input.get(one.name))) for one in STAGES[stage].inputs}
    return StageJob(
        Path(cfg.results),
        Path(job.output.manifest),
        settings_of(stage, job.wildcards),
        dict(job.wildcards.items()),
        inputs,
    )


def request_of(stage, job):
    """Return what a job asks its stage for."""
    if stage == "fetch":
        source = SOURCES[job.about["name"]]
        return stage_requests.fetch(job, source.file, source.digest)
    if stage == "import":
        return stage_requests.import_archive(job, [*job.inputs["annotations"], job.input("unpacked")])
    if stage in ("tabulate", "page"):
        return getattr(stage_requests, stage)(job, published.FILES)
    return getattr(stage_requests, stage)(job)


STAGE_OF = {name: name for name in STAGES} | {"import_archive": "import", "score_test": "score"}
"""Rule → the stage of its jobs."""


def paths_of(files):
    """Return names of files as a list of paths. A single name gives a list of one path."""
    return [Path(path) for path in ([files] if isinstance(files, str) else files)]


def did_not_come(job, manifest, record):
    """Tell whether a job must fetch outside files again, because they changed or because they may exist now."""
    if job.rule.name == "fetch":
        source = SOURCES[job.wildcards.name]
        taken = originals.fetched(source, places.resource(source.name) / source.file, record, manifest)
        return taken is not None and originals.have_changed([taken])
    if job.rule.name == "videos":
        table = places.account(job.wildcards.dataset, job.wildcards.shard)
        if DATASETS[job.wildcards.dataset].own:
            return account.has_changed_in_place(job.wildcards.dataset, table)
        names = cfg.datasets[job.wildcards.dataset].videos
        may_come = originals.may_come_now(record, names, SOURCES, cfg.acquire.local, places)
        replaced = may_come or originals.corrupt_replaced(table)
        return replaced or originals.have_changed(originals.videos(table, SOURCES))
    return False


def manifests_with_work(jobs):
    """Return those existing manifests of a plan's jobs whose stage would find work."""
    snapshot = Snapshot()
    found = []
    for job in jobs:
        if (name := STAGE_OF.get(job.rule.name)) and (manifest := Path(job.output.manifest)).is_file():
            want = request_of(name, stage_job(name, job))
            record = last_record(manifest, snapshot)
            if stale.has_work(want, manifest, snapshot) or did_not_come(job, manifest, record):
                found.append(job.output.manifest)
    return found


def force_jobs_with_work():
    """Make Snakemake run the jobs with work, as `--forcerun` would, but without making them targets.

    This is the only place that changes Snakemake's internals. `DAG.init` calls `check_incomplete` when the plan is
    complete. There Snakemake itself forces the jobs of incomplete files. After that it decides from `DAG.forcefiles`
    which jobs run.
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


# Only the main process makes a plan. It tells the process of a job what to run.
if workflow.is_main_process:
    force_jobs_with_work()
