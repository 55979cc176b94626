"""The command `ask`: queries about a video of one's own, answered by a trained run."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path

from pipeline import datasets
from pipeline.errors import PipelineError
from pipeline.layout import EPOCHS


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("query", nargs="*", help="what to look for (without one: highlights, by the video's title)")
    parser.add_argument(
        "--run", dest="run_folder", type=Path, required=True, metavar="RUN_DIR", help="results/runs/EXPERIMENT/RUN"
    )
    parser.add_argument("--epoch", choices=EPOCHS, default=EPOCHS[0], help="whose weights (selected)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="JSON, CSV, edit lists and a page go there")
    parser.add_argument("--cut", action="store_true", help="with --output: cut the windows out, without encoding again")
    parser.add_argument("--rows", type=Path, metavar="DIR", help="keep the video's rows there (VIDEO.rows beside it)")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="windows that are shown of each query (5)")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a weight file that lies elsewhere; may be repeated",
    )


def run(options: Namespace) -> None:
    """Encode the video where that is not done, answer every query, and print and write the answers."""
    if options.cut and options.output is None:
        raise PipelineError("needs a folder for the clips", where="--cut", remedy="name one: --output DIR")
    if options.top < 1:
        raise PipelineError(f"is {options.top}", where="--top", remedy="name a number from 1 on")
    weights = _weights(options.weights)
    from pipeline.asking.moments import Moments
    from pipeline.asking.text import text

    datasets.register({})  # The run's card says what its dataset is. Another of that name may lie in this folder.
    moments = Moments.load(options.run_folder, epoch=options.epoch, weights=weights)
    encoded = moments.encode(options.video, rows=options.rows)
    answers = [moments.ask(encoded, query) for query in options.query or [""]]
    print("\n\n".join(text(answer, options.top) for answer in answers))
    if options.output is not None:
        from pipeline.asking.write import write

        for path in write(answers, options.output, cut=options.cut, most=options.top):
            print(path)


def _weights(given: list[str]) -> dict[str, Path]:
    found = {}
    for one in given:
        name, is_pair, file = one.partition("=")
        if not is_pair or not Path(file).is_file():
            raise PipelineError("names no weight file", where=f"--weights {one}", remedy="write it as NAME=FILE")
        found[name] = Path(file)
    return found
