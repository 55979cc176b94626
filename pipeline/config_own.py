"""Finds a user's own datasets in config.yaml, checks them as a whole, and registers them before the config is
validated.

`datasets: {mine: {annotations: my.csv, videos: FOLDER}}` is changed to the form of all datasets: an annotation file for
each split (here the same file), and a list of sources of videos.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import datasets, files
from pipeline.datasets import own, own_table
from pipeline.datasets.definition import OwnFiles
from pipeline.datasets.own_rows import split_of
from pipeline.errors import PipelineError
from pipeline.grids import is_grid

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""The pattern of a dataset's name. The name becomes part of paths and of Snakemake's patterns."""

MOST_SHARDS = 32
VIDEOS_PER_SHARD = 50
"""Number of videos of a job if the section has no `shards`."""


def prepared(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the content of a config with the user's own datasets in the common form, and register them in this
    process.

    Raises PipelineError for a name that is in use or not allowed, for a section that lacks a key, and for every row of
    an annotation file that cannot be used (all at once).
    """
    sections = raw.get("datasets")
    if not isinstance(sections, Mapping):
        return dict(raw)
    found: dict[str, OwnFiles] = {}
    changed: dict[str, Any] = {}
    for name, section in sections.items():
        if isinstance(section, Mapping) and _is_own(section):
            changed[name], found[name] = _section(str(name), section, where)
    datasets.register(found)
    own.export_to_children(found)
    return {**raw, "datasets": {**sections, **changed}}


def _is_own(section: Mapping[str, Any]) -> bool:
    return isinstance(section.get("annotations"), str) or isinstance(section.get("videos"), str)


def _section(name: str, section: Mapping[str, Any], where: str) -> tuple[dict[str, Any], OwnFiles]:
    place = f"datasets.{name}"
    if name in datasets.PAPERS or not NAME.fullmatch(name):
        taken = "is a dataset of the paper" if name in datasets.PAPERS else "is no name for a dataset"
        remedy = "use small letters, digits and `_`, and not the name of a dataset of the paper"
        raise PipelineError(f"`{place}` {taken}", where=where, remedy=remedy)
    for key, what in (("annotations", "a CSV or JSONL file"), ("videos", "a folder of videos")):
        if not isinstance(section.get(key), str):
            raise PipelineError(f"`{place}.{key}` is missing", where=where, remedy=f"name {what} there")
    clip = str(section.get("clip", "2s"))
    if not is_grid(clip):
        return dict(section), OwnFiles("", "", "2s", 0)  # the config's own check names the key
    paths = [_path(section[key], f"{place}.{key}", where) for key in ("annotations", "videos")]
    table = own_table.read(*paths)
    table.refuse()
    splits = sorted(set(split_of(table).values()))
    shards = min(MOST_SHARDS, -(-len(table.vids) // VIDEOS_PER_SHARD))
    common = {
        "shards": shards,
        **section,
        "annotations": {split: str(paths[0]) for split in splits},
        "videos": [str(paths[1])],
    }
    return common, OwnFiles(str(paths[0]), str(paths[1]), clip, table.raters)


def _path(value: str, key: str, where: str) -> Path:
    try:
        return Path(files.expanded(value)).absolute()
    except ValueError as error:
        raise PipelineError(f"`{key}`: {error}", where=where, remedy="correct the path") from error


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the form of a user's own dataset to the JSON schema of the config, and return the schema."""
    section = schema["$defs"]["Dataset"]["properties"]
    for key, what in (("annotations", "A CSV or JSONL file of your own."), ("videos", "The folder of its videos.")):
        full = section[key]
        inner = {name: full.pop(name) for name in list(full) if name not in ("title", "description", "default")}
        full["anyOf"] = [inner, {"type": "string", "description": what}]
    return schema
