"""The case that is examined: a config with the changes of the command line, one target of the workflow, and this
machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import config
from pipeline.acquire import sources
from pipeline.acquire.sources import Sources
from pipeline.doctor.needs import Needs
from pipeline.errors import PipelineError
from pipeline.layout import Layout
from pipeline.reporting import feasible
from pipeline.version import PROJECT

CHECKOUT = PROJECT.parent
"""The folder around the package: the checkout with the workflow and the locks, unless the package was installed."""


@dataclass(frozen=True)
class Invocation:
    """The options of the command line. entries: `KEY=VALUE` after `--config`. links: whether every source is asked.
    digests: whether every file is read."""

    configfile: Path = Path("config.yaml")
    entries: tuple[str, ...] = ()
    target: str = "all_tables"
    results: Path = Path("results")
    links: bool = False
    digests: bool = False


@dataclass(frozen=True)
class Case:
    """The input of every check. needs, table: None if the config cannot work; `refused` then has the reason."""

    invocation: Invocation
    layout: Layout
    needs: Needs | None = None
    table: Sources | None = None
    refused: PipelineError | None = None

    @property
    def results(self) -> Path:
        """The folder of all outputs."""
        return self.layout.results

    @property
    def local(self) -> Sequence[str]:
        """The folders of this machine that are searched before the network is asked."""
        return self.needs.cfg.acquire.local if self.needs else ()

    @property
    def mirror(self) -> Path | None:
        """The folder that takes the place of every address, or None. A mirror on another machine is none."""
        named = self.needs.cfg.acquire.mirror if self.needs else None
        return Path(named) if named and "://" not in named else None

    @property
    def timeout_s(self) -> float:
        """Seconds to wait for an answer of a server, from the config."""
        return self.needs.cfg.acquire.timeout_s if self.needs else config.Acquire().timeout_s


def read(invocation: Invocation) -> Case:
    """Read the config. One that cannot work is kept with its error, so that the rest of the machine is examined."""
    try:
        cfg = config.load_with_entries(invocation.configfile, invocation.entries)
        table = sources.load(cfg.acquire.sources, cfg.acquire.mirror)
        feasible.check(cfg, table, str(invocation.configfile))
        needs = Needs.of(cfg, table, invocation.target)
    except PipelineError as error:
        return Case(invocation, Layout(invocation.results), refused=error)
    return Case(invocation, Layout(Path(cfg.results)), needs, table)
