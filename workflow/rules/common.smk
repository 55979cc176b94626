"""Everything that all rules files use: the validated config, path patterns, and the shell command of a stage."""

import atexit
import os
import shlex
import sys
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

# The package is beside this workflow, whatever folder Snakemake was started in, and also if another workflow uses this
# one as a module. Jobs use the Python that runs Snakemake.
CHECKOUT = Path(str(workflow.current_basedir)).parents[1]
if not (CHECKOUT / "pipeline" / "__init__.py").is_file() or os.pathsep in str(CHECKOUT):
    raise WorkflowError(
        f"{CHECKOUT}: no Python package `pipeline` can be used here, and every job needs it → clone the repository into a "
        f"folder without {os.pathsep!r} in its path, and name its workflow/Snakefile by that path"
    )
sys.path.insert(0, str(CHECKOUT))
os.environ.update(
    PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]),
    PIPELINE_CHECKOUT=str(CHECKOUT),
)

from pipeline import config as typed
from pipeline import (
    stage_requests,
    devices,
    gpus,
    layout,
    snakemake_records,
    stage_settings,
    stale,
    terminal,
    yaml_file,
)
from pipeline.families import FAMILIES, choice_of
from pipeline.acquire import originals
from pipeline.datasets import DATASETS
from pipeline.acquire import sources as source_table
from pipeline.reporting import feasible, published
from pipeline.shards import shard_names
from pipeline.video import account
from pipeline.manifests import Snapshot, last_record
from pipeline.nouns import counted
from pipeline.stages import STAGES, StageJob
from pipeline.targets import TARGETS
from pipeline.errors import PipelineError

if workflow.is_main_process:
    is_quiet = Quietness.RULES in (workflow.output_settings.quiet or ())
    says_all = workflow.dryrun or workflow.output_settings.verbose or workflow.output_settings.printshellcmds
    told = terminal.watch(
        logger,
        announce=is_quiet and not workflow.dryrun,
        one_line_each=not says_all and (is_quiet or sys.stderr.isatty()),
        targets=TARGETS,
    )
    atexit.register(told.say_summary, shlex.join(["snakemake", *sys.argv[1:]]))  # after Snakemake's last message

try:
    if workflow.is_main_process and Path(sys.argv[0]).name in ("snakemake", "__main__.py"):
        yaml_file.check_command_line(sys.argv[1:])
        snakemake_records.refuse_damaged()
    configfiles = ", ".join(map(str, workflow.configfiles))
    # Snakemake itself keeps the last of two equal keys without a message, so each file is read here, too.
    files_alone = [yaml_file.read(configfile) for configfile in workflow.configfiles]
    entries = " ".join(workflow.config_settings.config or ()) if len(files_alone) == 1 else ""
    cfg = typed.load_over(files_alone[0] if entries else {}, config, configfiles, entries)
    SOURCES = source_table.load(cfg.acquire.sources, cfg.acquire.mirror)
    feasible.check(cfg, SOURCES, configfiles)
except PipelineError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    dataset="|".join(DATASETS),
    split="train|val|test",
    shard=r"\d{5}",
    reader="frames224|native|sound|words",
    experiment="[a-z0-9_]+",
    part=r"\d+of\d+",
    table=f"table[1-4]|peers[1-4]|evidence|{layout.OWN_TABLE}[a-z0-9_]+",
    name="[A-Za-z0-9-]+",


def below_results(patterns):
    """Return kind → pattern of its paths, with the results folder in front."""
    return SimpleNamespace(**{kind: f"{cfg.results}/{pattern}" for kind, pattern in patterns.items()})


paths, logs = below_results(layout.MANIFESTS), below_results(layout.LOGS)
places = layout.Layout(Path(cfg.results))


def stage(command):
    """Return the shell command that runs a stage. The command of every rule is made here.

    The job uses the package of this checkout and the packages of its own environment. It ignores PYTHONPATH, PYTHONHOME,
    the user's own site-packages and the working directory, because the modules of a cluster set such variables. The path
    of the checkout is not in the command, because Snakemake would start every job again after the checkout was moved.
    """
    python = 'env -u PYTHONHOME PYTHONPATH="$PIPELINE_CHECKOUT" python -P -s -m pipeline'
    return f"{python} --results {shlex.quote(cfg.results)} {command}"


def growing(amount):
    """Return a resource (MB, or minutes of runtime) that grows by its first value with every further attempt."""
    return lambda wildcards, attempt: amount * attempt


def say_where_gpu_rules_run():
    """Print, once per invocation, whether rules with `gpu` run on a GPU or on the CPU."""
    if workflow.non_local_exec:
        print("Each rule that uses a GPU requests one from the cluster.", file=sys.stderr)
        return
    if not any(job.resources.get("gpu") for job in workflow.dag.needrun_jobs()):
        return
    try:
        devices.is_required()  # a wrong value of the switch then ends the run now, and not in its first gpu job
        found = gpus.foreseen()
    except PipelineError as error:
        raise WorkflowError(str(error)) from None
    if found is None:
        said = "There is no nvidia-smi here. Each job that uses a GPU asks torch for one."
    elif found:
        said = f"Rules that use a GPU run on {counted(found, 'GPU')}."
        os.environ.setdefault(gpus.SWITCH, "required")  # a job that finds none later says so and fails
    else:
        said = "There is no GPU here. Rules that use a GPU run on the CPU."
    print(said, file=sys.stderr)
