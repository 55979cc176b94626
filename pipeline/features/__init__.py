"""Features on disk.

`store/` reads and writes feature stores. `making/` computes rows from videos, sounds and queries. `exchange/` imports
released archives and exports to their layouts. `looking/` draws and compares rows. The last three use `store/` and do
not import each other. `stage.py` holds the stages that call them.
"""

from pipeline.datasets.archives import ROWS_APART

__all__ = ["ROWS_APART"]
