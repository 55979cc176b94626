"""The command `ask`: a trained run answers queries about a user's video."""

from __future__ import annotations

import argparse
import os
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import datasets
from pipeline.errors import PipelineError
from pipeline.layout.runs import EPOCHS

if TYPE_CHECKING:
    from pipeline.asking.answer import Answer
    from pipeline.asking.moments import Moments
    from pipeline.asking.rows import Encoded
    from pipeline.asking.served import Served


ADDRESS = re.compile(r"(https?|ftp|file):/")
"""The beginning of an address, after Path has made one slash of two."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("query", nargs="*", help="what to look for (default: the title of the video)")
    parser.add_argument(
        "--run", dest="run_folder", type=Path, required=True, metavar="RUN_DIR", help="results/runs/EXPERIMENT/RUN"
    )
    parser.add_argument(
        "--epoch", choices=EPOCHS, default=EPOCHS[0], help="the epoch whose weights are used (default: selected)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write JSON, CSV, edit lists and a page into this folder"
    )
    parser.add_argument("--cut", action="store_true", help="with --output: write each window as a video, too")
    parser.add_argument(
        "--rows", type=Path, metavar="DIR", help="folder for the rows of the video (default: VIDEO.rows)"
    )
    parser.add_argument("--serve", action="store_true", help="serve a page on this machine for many queries")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="with --serve: the port (default: a free one)")
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="number of windows shown for each query (default: 5)"
    )
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a weight file outside the results folder; may be repeated",
    )


def run(options: Namespace) -> None:
    """Encode the video if that is not done yet, answer every query, print and write the answers, and serve a page."""
    if options.cut and options.output is None:
        raise PipelineError("needs a folder for the clips", where="--cut", remedy="name one: --output DIR")
    if options.top < 1:
        raise PipelineError(f"is {options.top}", where="--top", remedy="name a number from 1 on")
    if options.port and not options.serve:
        raise PipelineError("is for a page", where="--port", remedy="add --serve")
    if options.serve and options.output is not None and not options.query:
        what = "has nothing to write: without a query on the command line the page waits for its first one"
        raise PipelineError(what, where="--output", remedy="name a query, or leave --output out")
    if ADDRESS.match(str(options.video)):
        where = str(options.video).replace(":/", "://", 1)
        raise PipelineError("is an address and no file", where=where, remedy="download it, and name that file")
    if options.output is not None:
        _refuse_what_is_no_folder(options.output)
    weights = _weights(options.weights)
    if not options.serve:
        _answer(options, weights)
        return
    from pipeline.asking.serve import check_installed, listen, serve

    check_installed()
    with listen(options.port) as found:  # before the video is encoded, which is slow
        serve(_served(*_answer(options, weights), options.top), found)


def _answer(options: Namespace, weights: Mapping[str, Path]) -> tuple[Moments, Encoded, list[Answer]]:
    """Answer the queries of the command line. Without a query, a served page waits for its first one."""
    from pipeline.asking.moments import Moments
    from pipeline.asking.text import text

    datasets.register({})  # The run's card describes its dataset. A dataset in this folder may have the same name.
    moments = Moments.load(options.run_folder, epoch=options.epoch, weights=weights)
    encoded = moments.encode(options.video, rows=options.rows)
    queries = options.query or ([] if options.serve else [""])
    answers = [moments.ask(encoded, query) for query in queries]
    if answers:
        print("\n\n".join(text(answer, options.top) for answer in answers))
    if options.output is not None:
        from pipeline.asking.write import write

        for path in write(answers, options.output, cut=options.cut, most=options.top):
            print(path)
    return moments, encoded, answers


def _served(moments: Moments, encoded: Encoded, answers: Sequence[Answer], most: int) -> Served:
    from pipeline.asking.served import Served

    def ask(query: str) -> Answer:
        return moments.ask(encoded, query)

    return Served(encoded.video, encoded.duration_s, moments.card.name, ask, answers, most)


def _refuse_what_is_no_folder(output: Path) -> None:
    """Raise PipelineError if no files can be written into this folder. This is asked before the video is encoded."""
    nearest = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise PipelineError("is a file and no folder", where=nearest, remedy="name another folder: --output DIR")
    if not os.access(nearest, os.W_OK):
        raise PipelineError("cannot be written", where=nearest, remedy="name another folder: --output DIR")


def _weights(given: list[str]) -> dict[str, Path]:
    found = {}
    for one in given:
        name, is_pair, file = one.partition("=")
        if not is_pair or not Path(file).is_file():
            raise PipelineError("names no weight file", where=f"--weights {one}", remedy="write it as NAME=FILE")
        found[name] = Path(file)
    return found
