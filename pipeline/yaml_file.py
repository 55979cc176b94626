"""Reads a config from YAML or JSON, and refuses a file in which YAML would silently drop or change a key.

If there are two equal keys, YAML keeps the last one and drops the first. An experiment that was copied and not renamed
would then disappear. YAML also reads `on`, `off`, `yes` and `no` as booleans, and these cannot be names.

A value of YAML can be used in several places through an alias (`*name`). A few lines of aliases to aliases stand for
more values than any memory holds. So a file is measured as if every alias were written out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from pipeline import files, limits
from pipeline.errors import PipelineError

MERGE = "tag:yaml.org,2002:merge"
NO_NAMES = {"tag:yaml.org,2002:bool": "a truth value", "tag:yaml.org,2002:null": "nothing"}
"""YAML's tags of keys that look like words but are not read as text → what YAML reads instead."""

MOST_CHARACTERS = 1 << 20
"""The largest accepted file. The config of all experiments of the paper takes a fiftieth of it."""

MOST_VALUES = 50_000
"""The largest accepted number of keys and values, with every alias written out. YAML reads ten thousand in a
second. The config of the paper has 3,000."""

LIKE_OURS = "name a file that is built like config.yaml"
"""The advice for a file that no config of this project can be."""

HALF = re.compile("[\ud800-\udfff]")
"""Half a character. YAML does not join two of them, as JSON does, and no file can contain one."""

HALF_A_CHARACTER = r"holds half a character: `\ud83d\ude00` is one character in JSON and two halves in YAML"

_SHORT_CONFIG = re.compile(r"-[DFSafklnpt]*C(?P<value>.*)", re.DOTALL)
"""The pattern of `-C`: letters of options without a value may be before it (`-nC`), and its value may follow directly
(`-Ca=1`)."""


def read(path: Path | str) -> dict[str, Any]:
    """Read the keys of a YAML or JSON file. A byte-order mark at its start is skipped.

    Raises PipelineError for a file that cannot be read, that is neither YAML nor JSON, or that holds no keys. It also
    raises PipelineError if a key stands twice, or if YAML reads a key as a boolean or as null. That error names all
    such keys with their lines. A file beyond MOST_CHARACTERS, MOST_VALUES or `limits.MOST_NESTED` is refused.
    """
    import yaml

    text = _text(path)
    try:
        raw, complaints = _read_yaml(text, path)
    except yaml.YAMLError as error:
        raw, complaints = _read_json(text, path, error)
    except ValueError as error:  # for example a date that does not exist
        remedy = "correct that value; write a text that looks like a date or a number in quotes"
        raise PipelineError(f"is no YAML ({error})", where=path, remedy=remedy) from error
    if complaints:
        remedy = "rename or remove one of two equal names; write a name that YAML does not read as text in quotes"
        raise PipelineError("; ".join(dict.fromkeys(complaints)), where=path, remedy=remedy)
    if not isinstance(raw, dict):
        raise PipelineError(
            f"holds no keys: it is a {type(raw).__name__}, and a config consists of keys with values",
            where=path,
            remedy=LIKE_OURS,
        )
    return raw


def with_entries(raw: Mapping[str, Any], entries: Sequence[str]) -> dict[str, Any]:
    """Apply `KEY=VALUE` entries to the keys of a config, as Snakemake does with those after `--config`.

    Each value is YAML in which all scalars are text. The keys of a section replace those of the file's section one by
    one. Raises PipelineError for an entry without `=`, for one that is no YAML, and for a key that is given twice.
    """
    import yaml

    if complaints := list(_entry_complaints(entries)):
        remedy = "write each key once"
        raise PipelineError("; ".join(complaints), where="--config", remedy=remedy)
    found = dict(raw)
    for entry in entries:
        name, equals, text = entry.partition("=")
        try:
            value = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - this loader builds texts, lists and mappings
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            why = f"is no YAML ({' '.join(str(error).split())})"
            raise PipelineError(why, where=f"--config {name}", remedy="put quotes around the entry") from error
        _refuse_half_a_character(value, f"--config {name}")
        if not equals or not name:
            remedy = "write KEY=VALUE, with quotes around all of it if a value has blanks"
            raise PipelineError("is no KEY=VALUE", where=f"--config {entry}", remedy=remedy)
        found[name] = _over(found.get(name), value)
    return found


def _over(base: Any, value: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(value, Mapping):
        return value
    return {**base, **{key: _over(base.get(key), inner) for key, inner in value.items()}}


def check_command_line(arguments: Sequence[str]) -> None:
    """Find options and keys that Snakemake drops from its command line without a message.

    arguments: those of the command, without its name. Snakemake keeps only the last of several `--config` or
    `--configfile`, and the last of two equal keys. Raises PipelineError, which names all such options and keys.
    """
    complaints = []
    for option in ("--config", "--configfile"):
        groups = list(_values_of(option, arguments))
        if len(groups) > 1:
            dropped = " ".join(value for group in groups[:-1] for value in group)
            complaints.append(f"`{option}` is given {len(groups)} times, and Snakemake would drop {dropped}")
        elif option == "--config":
            complaints += [complaint for group in groups for complaint in _entry_complaints(group)]
    if complaints:
        raise PipelineError(
            "; ".join(dict.fromkeys(complaints)),
            where="command line",
            remedy="write each option once, with all its values behind it, and each key once",
        )


def _values_of(option: str, arguments: Sequence[str]) -> Iterator[list[str]]:
    """Yield the values after each occurrence of an option."""
    taken: list[str] | None = None
    for argument in arguments:
        if argument == "--":
            break
        if argument[:1] == "-":
            if taken is not None:
                yield taken
            name, value = _option(argument)
            taken = None if name != option else [] if value is None else [value]
        elif taken is not None:
            taken.append(argument)
    if taken is not None:
        yield taken


def _option(argument: str) -> tuple[str, str | None]:
    """Return the long form of the option in a word of the command line, and the value in the same word."""
    if short := _SHORT_CONFIG.fullmatch(argument):
        return "--config", short["value"].removeprefix("=") or None
    name, equals, value = argument.partition("=")
    # Snakemake accepts the beginning of an option (`--configf`) and a second name of this one (`--configfiles`).
    is_file = name.startswith("--configf") and "--configfiles".startswith(name)
    return "--configfile" if is_file else name, value if equals else None


def _entry_complaints(entries: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the keys of `KEY=VALUE` entries. Snakemake reads each value as YAML, with all scalars as
    text."""
    import yaml

    names = [entry.partition("=")[0] for entry in entries]
    yield from (f"`{name}` is given twice after `--config`" for name in names if names.count(name) > 1)
    for name, entry in zip(names, entries, strict=True):
        with suppress(yaml.YAMLError, RecursionError, ValueError):
            node = yaml.compose(entry.partition("=")[2], Loader=yaml.BaseLoader)
            yield from _complaints(node, name, set())


def _text(path: Path | str) -> str:
    try:
        with files.open_text(path) as file:
            text = file.read(MOST_CHARACTERS + 1)
    except OSError as error:
        raise files.cannot_read(path, error) from error
    except UnicodeDecodeError as error:
        what = f"is no YAML, for it is not written in UTF-8 ({error})"
        raise PipelineError(what, where=path, remedy="save it in the encoding UTF-8") from error
    if len(text) > MOST_CHARACTERS:
        raise PipelineError(f"is longer than {MOST_CHARACTERS:,} characters", where=path, remedy=LIKE_OURS)
    return text


def _read_yaml(text: str, path: Path | str) -> tuple[Any, list[str]]:
    """Return the value of a text and what is wrong with its keys; with such keys, no value.

    Raises PipelineError for a text that is nested too deeply or stands for too many values, and what PyYAML raises.
    """
    import yaml

    too_many = f"has more than {MOST_VALUES:,} keys and values, with each `*alias` written out"

    class Loader(yaml.SafeLoader):
        """A loader that stops at a list or a section that lies too deep, and at one value too many."""

        depth = n_values = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            self.n_values += 1
            if self.n_values > MOST_VALUES:
                raise PipelineError(too_many, where=path, remedy=LIKE_OURS)
            if self.depth > limits.MOST_NESTED and self.check_event(yaml.CollectionStartEvent):
                raise PipelineError(limits.TOO_DEEP, where=path, remedy=LIKE_OURS)
            node = super().compose_node(parent, index)
            if isinstance(node, yaml.ScalarNode) and HALF.search(node.value):
                where = f"{path}, line {node.start_mark.line + 1}"
                raise PipelineError(HALF_A_CHARACTER, where=where, remedy="write the character itself")
            self.depth -= 1
            return node

    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, []
        if _n_values(node, {}) > MOST_VALUES:
            raise PipelineError(too_many, where=path, remedy=LIKE_OURS)
        complaints = list(_complaints(node, "", set()))
        return None if complaints else loader.construct_document(node), complaints
    finally:
        loader.dispose()


def _n_values(node: Any, known: dict[int, float]) -> float:
    """Return the number of nodes below a node and itself, each as often as aliases name it. known: those of nodes.

    It is infinite for a node that an alias puts into itself.
    """
    if id(node) not in known:
        known[id(node)] = inf
        below = node.value if isinstance(node.value, list) else []
        parts = (part for one in below for part in (one if isinstance(one, tuple) else (one,)))
        known[id(node)] = 1 + sum(_n_values(part, known) for part in parts)
    return known[id(node)]


def _read_json(text: str, path: Path | str, not_yaml: Exception) -> tuple[Any, list[str]]:
    """Read JSON that is not YAML because tabs indent it. Snakemake reads such files, too.

    Returns the value and what is wrong with its keys. Raises PipelineError, with YAML's own reason, for other texts.
    """
    complaints: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        times = Counter(name for name, _ in found)
        complaints.extend(f"`{name}` is given twice in one object" for name, n in times.items() if n > 1)
        return dict(found)

    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise PipelineError(limits.TOO_DEEP, where=path, remedy=LIKE_OURS) from None
    except ValueError:
        what = f"is no YAML ({' '.join(str(not_yaml).split())})"
        raise PipelineError(what, where=path, remedy="correct the place that this reason names") from not_yaml
    if limits.is_too_deep(value):
        raise PipelineError(limits.TOO_DEEP, where=path, remedy=LIKE_OURS)
    _refuse_half_a_character(value, path)
    return value, complaints


def _refuse_half_a_character(value: Any, where: object) -> None:
    """Raise PipelineError if a text in a value, at any depth, contains half a character."""
    if HALF.search(json.dumps(value, ensure_ascii=False)):
        raise PipelineError(HALF_A_CHARACTER, where=where, remedy="write the character itself")


def _complaints(node: Any, place: str, seen: set[int]) -> Iterator[str]:
    """Yield what is wrong with the keys at and below a node. place: the dotted path of the node, '' at the top."""
    import yaml

    if node is None or id(node) in seen:  # an alias leads to a node that was checked already
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _complaints(item, _below(place, number), seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[Any, int] = {}
    for key, value in node.value:
        if key.tag == MERGE or not isinstance(key, yaml.ScalarNode):
            yield from _complaints(value, place, seen)
            continue
        name, line = _below(place, key.value), key.start_mark.line + 1
        if key.tag in NO_NAMES:
            yield f"`{name}` (line {line}) is read by YAML as {NO_NAMES[key.tag]}, not as a name"
        # `1` and `1.0` are written differently but are the same key. `0.1` and `"0.1"` are two keys but the same name.
        spellings = {key.value, yaml.SafeLoader("").construct_object(key)}
        if first := next((lines[spelling] for spelling in spellings if spelling in lines), None):
            yield f"`{name}` is given twice, on lines {first} and {line}"
        lines |= {spelling: lines.get(spelling, line) for spelling in spellings}
        yield from _complaints(value, name, seen)


def _below(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)
