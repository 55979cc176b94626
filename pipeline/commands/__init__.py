"""The functions of the commands of the command line. A command runs a job of a stage, or makes one call.

Modules above floor 2 are imported inside the functions, so that a command imports only what it needs. Commands about
features are in `features.py`.
"""

from __future__ import annotations

from argparse import Namespace

from pipeline import config, stage_settings
from pipeline.errors import PipelineError
from pipeline.manifests import last_record
from pipeline.nouns import counted
from pipeline.stages import STAGES, StageJob


def stage(options: Namespace) -> None:
    """Run one job of a stage from the options of its command."""
    row = STAGES[options.stage]
    inputs = {one.name: getattr(options, one.name) for one in row.inputs}
    job = StageJob(
        options.results,
        options.manifest,
        stage_settings.read(row.name, options.settings),
        {name: getattr(options, name) for name in row.about},
        {name: tuple(given) if isinstance(given, list) else (given,) for name, given in inputs.items()},
    )
    row.run(job)


def show(options: Namespace) -> None:
    """Print tables that were made, or the numbers of an experiment."""
    from pipeline.evaluation import stage as scored
    from pipeline.reporting import tables

    for manifest in options.manifest:
        print((scored if last_record(manifest).get("stage") == "score" else tables).texts(manifest))


def demo(options: Namespace) -> None:
    """Run the demo: make small benchmarks and take them from videos to tables."""
    from pipeline.demo import run

    run(options.cores)


def evaluate(options: Namespace) -> None:
    """Score one prediction file and print its headline numbers."""
    from pipeline.evaluation import format_headline, score_files

    files = (options.dataset, options.predictions, options.annotations, options.output)
    print(format_headline(score_files(*files, despite_errors=options.despite_errors)))


def validate(options: Namespace) -> None:
    """Print all findings about one prediction file. Raises PipelineError when there are errors among them."""
    from pipeline.evaluation import format_findings, validate_files

    findings = validate_files(options.dataset, options.predictions, options.annotations)
    print(format_findings(findings) or "no findings")
    if n := sum(finding.level == "E" for finding in findings):
        raise PipelineError(counted(n, "error"), where=options.predictions, remedy="correct them; warnings may stay")


def compare(options: Namespace) -> None:
    """Print the paired comparison of two prediction files."""
    from pipeline.evaluation import compare_files, format_comparison

    rows = compare_files(
        options.dataset, options.a, options.b, options.annotations, resamples=options.resamples, seed=options.seed
    )
    print(format_comparison(rows, str(options.a), str(options.b)))


def report(options: Namespace) -> None:
    """Write the page of prediction files, and print where it is."""
    from pipeline.reporting.page.own import report as write

    files = (options.dataset, options.predictions, options.annotations, options.output)
    print(write(*files, names=options.names, videos=options.videos))


def table(options: Namespace) -> None:
    """Print a table of the paper with a row of the user's own. With --output, write it in all forms."""
    from pipeline.reporting import own_row, render
    from pipeline.reporting.page.scored_files import named_files

    others = named_files(options.against, options.names)
    if options.row in others:
        raise PipelineError("names two rows", where=f"`{options.row}`", remedy="give another --row or --names")
    rows = {options.row: options.predictions, **others}
    made = own_row.own_table(options.table, options.annotations, rows, features=options.features)
    print(render.to_text(made), end="")
    if options.output:
        for path in own_row.write(made, options.output):
            print(path)


def verify_golden(options: Namespace) -> None:
    """Print the largest difference of each quantity. Raises PipelineError if one is above its tolerance."""
    from pipeline.released.golden import verify

    checks = verify(options.path)
    for check in checks:
        print(
            f"{'ok ' if check.ok else 'BAD'} {check.quantity:<48} {check.difference:.2e}  allowed {check.tolerance:.2e}"
        )
    if bad := sum(not check.ok for check in checks):
        raise PipelineError(
            f"{bad} of {counted(len(checks), 'quantity')} differ",
            where=options.path,
            remedy="see the list",
        )


def import_checkpoint(options: Namespace) -> None:
    """Convert a released checkpoint to our weights, or to a run that can be asked. Nothing in it is executed."""
    if options.output.suffix.lower() == ".safetensors":
        from pipeline.released.weights_file import import_checkpoint as convert

        if of_run := [f"--{name}" for name in ("dataset", "video", "audio", "text", "grid") if getattr(options, name)]:
            raise PipelineError(
                "are facts about a run, and a .safetensors file holds weights alone",
                where=", ".join(of_run),
                remedy="name the folder of a run as the output, or leave them out",
            )
        convert(options.checkpoint, options.output, options.method)
        return
    from pipeline.released.run_folder import TrainedOn, import_run

    told = TrainedOn(options.dataset, options.video, options.audio, options.text, options.grid)
    print(import_run(options.checkpoint, options.output, options.method, told))


def estimate(options: Namespace) -> None:
    """Print the cost of the experiments of a config, their cost with one seed, and the additional cost of its peers."""
    from pipeline.acquire import sources
    from pipeline.cost.estimate import additional_costs, changed_lines, without_peers
    from pipeline.cost.estimate import estimate as costs
    from pipeline.cost.planned import jobs_of_peers, planned_jobs
    from pipeline.cost.text import HOW_KNOWN, text
    from pipeline.reporting.feasible import check

    cfg = config.load_with_entries(options.configfile, options.config)
    table = sources.load(cfg.acquire.sources)
    check(cfg, table, str(options.configfile))
    base = costs(without_peers(cfg), table)
    print(text(base, f"{options.configfile}, from nothing to tables", planned_jobs(options.configfile, options.config)))
    one_seed = [*(entry for entry in options.config if not entry.startswith("seeds=")), f"seeds={cfg.seeds[:1]}"]
    quick = config.load_with_entries(options.configfile, one_seed)
    if (other := changed_lines(costs(without_peers(quick), table), base)).facts:
        print(text(other, f"\nThe quick pass, `--config 'seeds={quick.seeds}'`, costs the same but for:"))
    if cfg.peers:
        where = f"\nWhat `snakemake peers` adds: {counted(len(cfg.peers), 'experiment')} under `peers`"
        print(text(additional_costs(costs(cfg, table), base), where, jobs_of_peers(options.configfile, options.config)))
    if base.facts:
        print(f"\n{HOW_KNOWN}")


def schema(options: Namespace) -> None:  # noqa: ARG001 - every command has this form
    """Print the JSON schema of config.yaml."""
    print(config.schema(), end="")
