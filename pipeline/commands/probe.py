"""The command `probe`: what video files hold."""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.nouns import counted

if TYPE_CHECKING:
    from pipeline.video.looking import Facts


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("video", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("--json", action="store_true", help="the facts as JSON")


def run(options: Namespace) -> None:
    """Print a line for each file. Raises PipelineError at the end when one of them cannot be used."""
    from pipeline.video import shown

    seen = []
    if not options.json:
        print(shown.HEAD)
    for path, found in _looked_at(options.video):
        seen.append((path, found))
        if not options.json:
            print(shown.line(path, found), flush=True)
    if options.json:
        print(json.dumps(shown.rows(seen), indent=2, ensure_ascii=False))
    if unusable := sum(isinstance(found, PipelineError) for _, found in seen):
        raise PipelineError(f"{unusable} of {counted(len(seen), 'file')} cannot be used", remedy="see the line of each")


def _looked_at(paths: Sequence[Path]) -> Iterator[tuple[Path, Facts | PipelineError]]:
    """Yield each file with its facts, or with the reason why it cannot be used."""
    from pipeline.video.looking import Looking
    from pipeline.video.supervised import Failed, of_one_file

    with Looking() as look:
        for path in paths:
            found = look(path)
            if isinstance(found, Failed):
                yield path, PipelineError(found.why, where=path, remedy=of_one_file(found.remedy))
            else:
                yield path, found
