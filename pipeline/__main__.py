"""Runs the command line: `python -m pipeline COMMAND …`."""

import sys

try:
    from pipeline.cli import main
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] == "pipeline":
        raise
    sys.exit(f"the package {error.name} is not installed for {sys.executable} → make install, . .venv/bin/activate")

main()
