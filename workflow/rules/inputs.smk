"""Input functions. Each answers one question of a rule, such as "which manifests does this shard need?"."""


def experiment_of(wildcards):
    """Return the resolved experiment that a job works for."""
    try:
        return cfg.experiments[wildcards.experiment]
    except KeyError:
        known = ", ".join(cfg.experiments)
        raise WorkflowError(f"no experiment {wildcards.experiment!r} in the config; known are {known}") from None


def raw_families(dataset, reader=None):
    """Return the families that experiments of `dataset` make (with `reader`, if given), each once, in a fixed order."""
    return [f for f in cfg.made(dataset) if reader in (None, FAMILIES[f].reader)]


def grids_of(dataset):
    """Return the grids on which videos of `dataset` are divided into clips."""
    grids = {cfg.datasets[dataset].grid_of(family) for family in raw_families(dataset)}
    return sorted(grids - {"tokens"})


def annotations_of(dataset, splits=None):
    """Return the annotation manifests of a dataset: of all splits, or of those named."""
    splits = splits or list(cfg.datasets[dataset].annotations)
    return expand(paths.annotations, dataset=dataset, split=splits)


def annotated_file(wildcards):
    """Return the manifest of the released file with a split's annotations, or the file of a user's own dataset."""
    if DATASETS[wildcards.dataset].own:
        return cfg.datasets[wildcards.dataset].annotations[wildcards.split]
    return expand(paths.fetched, name=cfg.datasets[wildcards.dataset].annotations[wildcards.split])


def all_annotations():
    """Return the annotation manifests of every dataset."""
    return [manifest for dataset in cfg.datasets for manifest in annotations_of(dataset)]


def videos_of_shard(wildcards):
    """Return the inputs of a shard's account of videos: annotations of all splits, and the archive if there is one."""
    named = [] if DATASETS[wildcards.dataset].own else cfg.datasets[wildcards.dataset].videos
    archives = [name for name in named if SOURCES.is_archive(name)]
    return annotations_of(wildcards.dataset) + expand(paths.unpacked, name=archives)


def decoded_for(wildcards):
    """Return the segments of the shard for video and sound families, and the annotations for families of words."""
    if wildcards.reader == "words":
        return annotations_of(wildcards.dataset)
    return expand(paths.segments, **wildcards)


def weights_of_reader(wildcards):
    """Return the weight files of the reader's families. Random weights (demo, tests) have none."""
    families = raw_families(wildcards.dataset, wildcards.reader)
    names = {name for family in families for name in FAMILIES[family].weights}
    released = [n for n in sorted(names) if choice_of(n, cfg.encoding.weights) == "released"]
    return expand(paths.fetched, name=released)


def features_of(wildcards):
    """Return all feature manifests of an experiment: those of its readers' shards, and that of its archive."""
    experiment = experiment_of(wildcards)
    dataset = experiment.dataset
    archives = [experiment.archive] if experiment.archived else []
    archives += [cfg.datasets[dataset].fill_archive] if cfg.datasets[dataset].filled(experiment) else []
    readers = sorted({FAMILIES[f].reader for f in experiment.made})
    shards = shard_names(cfg.datasets[dataset].shards)
    return expand(paths.archive, dataset=dataset, name=archives) + expand(
        paths.features, dataset=dataset, reader=readers, shard=shards
    )


def parts_of(wildcards):
    """Return the training manifests of all parts of an experiment."""
    return expand(paths.runs, experiment=wildcards.experiment, part=experiment_of(wildcards).parts)


def to_score(wildcards):
    """Return the manifest of an experiment's predictions: its own, or that of the released file."""
    experiment = experiment_of(wildcards)
    if experiment.source == "predictions":
        return expand(paths.fetched, name=experiment.predictions[wildcards.split])
    return expand(paths.predictions, experiment=wildcards.experiment)


def predicted_splits(wildcards):
    """Return the splits that an experiment predicts: val, and also test if its row reports test."""
    return sorted({"val", experiment_of(wildcards).report}, reverse=True)


def archive_families(dataset, archive):
    """Return the families that experiments of `dataset` read from a released archive."""
    return cfg.archived(dataset).get(archive, [])


def shown_in(table):
    """Return the experiments that a table (`table1` … `table4`, `peers1` … `peers4`, or `evidence`) or the report shows."""
    return cfg.experiments if table == "report" else cfg.of_table(table)


def tables_of_peers():
    """Return the tables that show peers: one for each table of the paper to which a peer belongs."""
    return [f"peers{number}" for number in sorted({cfg.experiments[name].table for name in cfg.peers})]


def own_tables():
    """Return the names of the tables of all datasets of the user's own that have an experiment."""
    used = {experiment.dataset for experiment in cfg.experiments.values()}
    return [f"{layout.OWN_TABLE}{name}" for name in cfg.datasets if DATASETS[name].own and name in used]


def metrics_behind(table):
    """Return the metric manifests of a table, each on the split that its row reports."""
    return [paths.metrics.format(experiment=name, split=e.report) for name, e in shown_in(table).items()]


def predictions_behind(table):
    """Return the prediction manifests of a table. They say which runs the metrics belong to."""
    return [paths.predictions.format(experiment=name) for name in trained_behind(table)]


def trained_behind(table):
    """Return the experiments of a table that are trained here, by name."""
    return {name: e for name, e in shown_in(table).items() if e.source != "predictions"}


def runs_behind(table):
    """Return the training manifests of a table. They say how the runs were made and how the epoch was selected."""
    return [
        paths.runs.format(experiment=name, part=part) for name, e in trained_behind(table).items() for part in e.parts
    ]


def annotations_behind(table):
    """Return the annotations for the yardsticks below a table: val, if every clip is rated (TVSum for Table 3)."""
    shown = {e.dataset for e in shown_in(table).values() if table != "evidence"}
    return [path for name in sorted(shown) if DATASETS[name].rates_every_clip for path in annotations_of(name, ["val"])]


def released_shown():
    """Return the manifests of the prediction files that experiments only score."""
    shown = [e for e in cfg.experiments.values() if e.source == "predictions"]
    return expand(paths.fetched, name=sorted({e.predictions[e.report] for e in shown}))


def known_predictions(dataset, split):
    """Return the manifests of all prediction files of a split that the table of sources knows."""
    return expand(paths.fetched, name=SOURCES.predictions_of(dataset, split))


def leaderboards():
    """Return the leaderboards of all splits with at least two known prediction files."""
    splits = [(name, split) for name in cfg.datasets for split in cfg.datasets[name].annotations]
    return [
        paths.leaderboard.format(dataset=name, split=split)
        for name, split in splits
        if len(known_predictions(name, split)) > 1
    ]


def annotations_shown():
    """Return the annotations of every split that an experiment reports, and those of val if every clip is rated."""
    splits = {(e.dataset, e.report) for e in cfg.experiments.values()}
    splits |= {(name, "val") for name, _ in splits if DATASETS[name].rates_every_clip}
    return [path for name, split in sorted(splits) for path in annotations_of(name, [split])]


def trained_experiments():
    """Return the experiments that are trained here."""
    return [name for name, e in cfg.experiments.items() if e.source != "predictions"]


def results_of(name):
    """Return an experiment's last files: metrics on the reported split and, if it is trained here, learning curves."""
    metrics = expand(paths.metrics, experiment=name, split=cfg.experiments[name].report)
    return metrics + expand(paths.figure, experiment=[name] if name in trained_experiments() else [])


def say_how_to_see_numbers():
    """Print a line for every experiment that was a target: the command that prints its numbers."""
    for name, experiment in cfg.experiments.items():
        if f"experiment_{name}" in workflow.dag_settings.targets:
            manifest = shlex.quote(paths.metrics.format(experiment=name, split=experiment.report))
            print(f"numbers of {name}: python -m pipeline show {manifest}", file=sys.stderr)


def say_what_is_left_out():
    """Print a line that names the experiments without a table, if all tables were asked for."""
    targets = getattr(workflow.dag_settings, "targets", ["nothing: it came to no plan"])
    shown = {name for table in [*(f"table{i}" for i in range(1, 5)), *own_tables()] for name in shown_in(table)}
    left = [f"experiment_{name}" for name in cfg.experiments if name not in shown and name not in cfg.peers]
    if targets and "all_tables" not in targets:
        return
    if left:
        print(f"These experiments are in no table. To run them, name: {' '.join(left)}", file=sys.stderr)
    if cfg.peers:
        print(
            f"all_tables does not run the {counted(len(cfg.peers), 'experiment')} under `peers`. To run them, name: peers",
            file=sys.stderr,
        )


def say_what_was_meant():
    """Print the targets that the user may have meant. Snakemake only says that there is no such rule."""
    known = [rule.name for rule in workflow.rules]
    for target in getattr(workflow.dag_settings, "targets", ()):
        if target == "peers" and not cfg.peers:
            print(
                "error: there is no target peers, because the config lists no experiment under `peers`", file=sys.stderr
            )
        elif target not in known and "/" not in target and not Path(target).exists():
            near = get_close_matches(target, known, n=3) or ["all_tables"]
            print(
                f"error: there is no target {target}; is it {' or '.join(near)}? `snakemake --list` names all of them",
                file=sys.stderr,
            )


def dataset_of(wildcards):
    """Return the section of the dataset that a job works on."""
    return cfg.datasets[wildcards.get("dataset") or experiment_of(wildcards).dataset]


def families_of(wildcards):
    """Return the families that a job makes: those of its reader, or those of its archive."""
    if "reader" in wildcards.keys():
        return raw_families(wildcards.dataset, wildcards.reader)
    return archive_families(wildcards.dataset, wildcards.name)


SECTIONS = {
    "acquire": lambda wildcards: cfg.acquire,
    "clip": lambda wildcards: dataset_of(wildcards).clip,
    "dataset": dataset_of,
    "encoding": lambda wildcards: cfg.encoding,
    "experiment": experiment_of,
    "experiments": lambda wildcards: shown_in(wildcards.get("table", "report")),
    "families": families_of,
    "grids": lambda wildcards: grids_of(wildcards.dataset),
    "sample": lambda wildcards: dataset_of(wildcards).sample,
    "skip": lambda wildcards: dataset_of(wildcards).skip,
    "title": lambda wildcards: cfg.heading,
}
"""Key of the settings of stages → its value for a job."""


def settings_of(stage, wildcards):
    """Return the settings of a stage's job. The rule writes this model, the stage reads it, and the plan compares it."""
    model = STAGES[stage].settings_class()
    return model(**{key: SECTIONS[key](wildcards) for key in model.model_fields})


def written_settings(stage):
    """Return a function that takes the wildcards and returns the value of `--settings`."""
    return lambda wildcards: stage_settings.write(settings_of(stage, wildcards))


if workflow.is_main_process:
    for say in (say_what_is_left_out, say_what_was_meant):
        atexit.register(say)  # the targets are not known before
