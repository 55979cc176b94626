"""The options and the other arguments of a command may be given in any order."""

from __future__ import annotations

from itertools import permutations

import pytest

from pipeline.commands.arguments import build_parser

PARSER = build_parser()


def in_every_order(parts, *, fixed):
    """Yield every order of the parts in which the first `fixed` of them keep their order."""
    for order in permutations(range(len(parts))):
        if [place for place in order if place < fixed] == list(range(fixed)):
            yield [word for place in order for word in parts[place]]


@pytest.mark.parametrize("n_queries", [0, 1, 2, 3])
def test_a_video_and_queries_are_found_in_every_order_with_options(n_queries):
    queries = [[f"query {n}"] for n in range(n_queries)]
    options = [["--run", "R"], ["--top", "3"], ["--cut"], ["--weights", "a=b"]]
    seen = 0
    for words in in_every_order([["V.mp4"], *queries, *options], fixed=1 + n_queries):
        found = PARSER.parse_args(["--results", "X", "ask", *words])
        assert (str(found.video), found.query) == ("V.mp4", [f"query {n}" for n in range(n_queries)]), words
        assert (str(found.run_folder), found.top, found.cut, found.weights) == ("R", 3, True, ["a=b"]), words
        seen += 1
    assert seen >= 24


@pytest.mark.parametrize(
    "words",
    [
        ["V.mp4", "a", "--run", "R", "--", "-x", "--top"],
        ["--run", "R", "V.mp4", "a", "--", "-x", "--top"],
        ["V.mp4", "--run", "R", "a", "--", "-x", "--top"],
        ["V.mp4", "--run", "R", "--", "a", "-x", "--top"],
        ["--run", "R", "--", "V.mp4", "a", "-x", "--top"],
    ],
)
def test_what_begins_with_a_hyphen_is_a_query_after_two_hyphens(words):
    found = PARSER.parse_args(["ask", *words])
    assert (str(found.video), found.query, found.top) == ("V.mp4", ["a", "-x", "--top"], 5)


@pytest.mark.parametrize("weights", [["--weights", "a=1", "--weights", "b=2"], ["--weights=a=1", "--weights=b=2"]])
def test_weights_take_no_query_away(weights):
    for words in in_every_order([["V.mp4"], ["a dog"], weights, ["--run", "R"]], fixed=2):
        found = PARSER.parse_args(["ask", *words])
        assert (found.weights, found.query) == (["a=1", "b=2"], ["a dog"])


def test_other_commands_take_them_in_every_order_too():
    for words in in_every_order([["S.h5"], ["vid"], ["--output", "O"]], fixed=2):
        found = PARSER.parse_args(["features", "inspect", *words])
        assert (str(found.store), found.vid, str(found.output)) == ("S.h5", "vid", "O")
    for words in in_every_order([["A"], ["B"], ["--dataset", "tvsum"], ["--output", "O"]], fixed=2):
        found = PARSER.parse_args(["features", "export", *words])
        assert (list(map(str, found.stores)), found.dataset) == (["A", "B"], "tvsum")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["V.mp4", "a", "--rnu", "R", "--run", "R"], "unrecognized arguments: --rnu"),
        (["V.mp4", "--run", "R", "a", "--rnu"], "unrecognized arguments: --rnu"),
        (["V.mp4", "a"], "the following arguments are required: --run"),
        (["--run", "R"], "the following arguments are required: VIDEO"),
        (["V.mp4", "--run", "R", "a", "--top", "many"], "argument --top: invalid int value: 'many'"),
    ],
)
def test_what_no_argument_takes_is_named(capsys, words, said):
    with pytest.raises(SystemExit, match="2"):
        PARSER.parse_args(["ask", *words])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        (["ask", "V.mp4", "q", "--ru", "x"], "--ru"),
        (["estimate", "--configf", "x"], "--configf"),
        (["features", "inspect", "S.h5", "--out", "O"], "--out"),
    ],
)
def test_the_beginning_of_an_option_is_refused_by_name(words, beginning, capsys):
    whole = {"ask": ["--run", "R"]}.get(words[0], [])
    with pytest.raises(SystemExit):
        PARSER.parse_args([*words, *whole])
    assert f"{beginning}" in capsys.readouterr().err.splitlines()[-1]
