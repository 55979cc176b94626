"""The command `doctor`: it examines whether this machine can run what a config asks for."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--configfile", type=Path, default=Path("config.yaml"), metavar="FILE", help="the config (default: config.yaml)"
    )
    parser.add_argument(
        "--config", nargs="+", default=[], metavar="KEY=VALUE", help="changes of the config, as for snakemake"
    )
    parser.add_argument("--target", default="all_tables", help="what you want to make: all_tables, table1, evidence, …")
    parser.add_argument("--links", action="store_true", help="ask every address of every source")
    parser.add_argument("--digests", action="store_true", help="compare the digests of all files (may take hours)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(options: Namespace) -> None:
    """Print the table. The exit code is 0 if the run can start, and 1 if it cannot."""
    from pipeline.doctor import table
    from pipeline.doctor.case import Invocation
    from pipeline.doctor.examine import examine
    from pipeline.doctor.findings import can_start

    invocation = Invocation(
        options.configfile, tuple(options.config), options.target, options.results, options.links, options.digests
    )
    findings = examine(invocation)
    print(table.as_json(findings, invocation) if options.json else table.text(findings, invocation), flush=True)
    if not can_start(findings):
        sys.exit(1)
