"""Run one stage of the pipeline, or one of its other commands: `python -m pipeline COMMAND …`.

There is one command for each stage, and some other commands. The workflow's rules call the commands. A user can call
them, too. If a user can correct an error, the command prints one line and ends with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pipeline import datasets, files, memory
from pipeline.commands.arguments import build_parser
from pipeline.commands.plain_output import print_anywhere
from pipeline.errors import PipelineError
from pipeline.layout import Layout


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and run one command. A PipelineError becomes one message on stderr and exit code 1."""
    print_anywhere()
    _learn_datasets(arguments)
    options = build_parser().parse_args(arguments)
    try:
        _refuse_names_that_are_no_text(options)
        with memory.threads_watched(f"{options.command}: {memory.FULL}"):
            options.run(options)
    except PipelineError as error:
        sys.exit(f"{options.command}: {error}")
    except BrokenPipeError:  # The program that reads the output has closed it (`… | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (MemoryError, RuntimeError, OSError, ImportError, SystemError) as error:
        if memory.is_lacking(error):
            sys.exit(f"{options.command}: {memory.FULL}")
        if isinstance(error, OSError) and error.errno in files.NO_ROOM:
            # A stage reports its own files with their names. This is most often the log of the job.
            remedy = "make room, or raise the quota or the limit (`ulimit -f`), and run again"
            sys.exit(f"{options.command}: nothing more can be written ({error.strerror}) → {remedy}")
        raise


def _learn_datasets(arguments: list[str] | None) -> None:
    """Register the user's own datasets that are below the results folder, so that `--dataset` can name them.

    A workflow passes the definitions of the config to its jobs. They may be newer than the files in the folder, so a
    name that is already registered is skipped.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--results", type=Path, default=Path("results"))
    results = first.parse_known_args(arguments)[0].results
    for path in Layout(results).own_datasets():
        if path.parent.name in datasets.DATASETS:
            continue
        try:
            datasets.learn(path.parent.name, files.read_json(path, files.MADE_HERE))
        except PipelineError as error:
            print(f"{error}", file=sys.stderr)


def _refuse_names_that_are_no_text(options: argparse.Namespace) -> None:
    """Raise PipelineError for a file whose name is no UTF-8.

    A manifest is JSON and cannot contain such a name. Names of videos are checked elsewhere.
    """
    for option, value in vars(options).items():
        for name in value if isinstance(value, list) else [value]:
            if option != "video" and isinstance(name, str | Path) and not _is_text(str(name)):
                raise PipelineError("has a name that is no UTF-8", where=name, remedy="rename that file or folder")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
