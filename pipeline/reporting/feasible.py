"""Checks a config against other files before anything is planned.

These files are the table of sources, the rows of the paper, and the layouts of released archives.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.acquire import references
from pipeline.acquire.sources import Sources
from pipeline.config import Config
from pipeline.errors import PipelineError
from pipeline.reporting import published


def check(cfg: Config, sources: Sources, where: str) -> None:
    """Raise one PipelineError for everything in a config that does not agree with these files.

    That is: a name that no source has, annotations that nobody names, a row that the paper does not have, and a family
    that no released archive of the dataset holds.
    """
    published.check_rows(cfg.experiments, where)
    references.check(cfg, sources, where)
    if complaints := list(_not_in_archives(cfg)):
        raise PipelineError(
            "; ".join(complaints), where=where, remedy="name a family that they hold, or write `source: raw`"
        )


def _not_in_archives(cfg: Config) -> Iterator[str]:
    from pipeline.features.exchange.layouts import place_of

    for name, experiment in cfg.experiments.items():
        held = sorted({family for archive in experiment.about.archives for family in archive})
        for family in experiment.archived:
            if place_of(family) not in held:
                yield (
                    f"`experiments.{name}.features`: no released archive of {experiment.dataset} holds {family};"
                    f" they hold {', '.join(held)}"
                )
