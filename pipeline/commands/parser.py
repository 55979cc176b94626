"""The parser of one command. It accepts the options and the other arguments of a command in any order.

Plain argparse assigns all positional arguments when it reads the first of them. `ask VIDEO --run RUN QUERY` would then
end with an error, because the query comes after an option.
"""

from __future__ import annotations

import argparse
from typing import Any


class CommandParser(argparse.ArgumentParser):
    """A parser that lets options and other arguments be mixed, unless it has commands below it."""

    _has_commands = False
    _is_mixing = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The beginning of an option's name is refused: `--config` must never be read as `--configfile`.
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def add_subparsers(self, **kwargs: Any) -> Any:
        """Add commands below this one. What follows the name of such a command is read by its own parser."""
        self._has_commands = True
        return super().add_subparsers(**kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments. Returns the namespace and the arguments that were not recognised, as argparse does.

        namespace: None, or an object that gets the values as attributes.
        """
        found, left = super().parse_known_args(args, namespace)
        if not left or self._has_commands or self._is_mixing:
            return found, left
        self._is_mixing = True  # in Python 3.11, parsing mixed arguments calls this method for each of its two passes
        try:
            return self.parse_known_intermixed_args(args)
        finally:
            self._is_mixing = False
