"""Snakemake's own records on this disk. A damaged one would end Snakemake in a traceback, so it is found before."""

from __future__ import annotations

from pathlib import Path

from pipeline import files
from pipeline.errors import PipelineError

FOLDER = Path(".snakemake")
"""The folder of Snakemake's records, in its working folder."""
LOCKS = FOLDER / "locks"
"""The folder in which Snakemake keeps a file for each start, with the names of the files that it locks."""
KINDS = ("metadata", "incomplete", "locks")
"""Folders of the records that Snakemake reads as text."""


def refuse_damaged(folder: Path = FOLDER) -> None:
    """Raise PipelineError for a record that is no text. Snakemake itself passes over text that is no JSON.

    The folder of the record can be deleted, because the manifests say what was done.
    """
    for kind in KINDS:
        for path in sorted((folder / kind).rglob("*")):
            try:
                if path.is_file():
                    path.read_text(encoding="utf-8")
            except OSError as error:
                raise files.cannot_read(path, error) from error
            except UnicodeDecodeError as error:
                remedy = f"make sure that no Snakemake runs here, delete the folder {folder / kind}, and run again"
                raise PipelineError("is damaged, and Snakemake cannot read it", where=path, remedy=remedy) from error
