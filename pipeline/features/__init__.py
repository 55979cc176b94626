"""Features on disk, in four rooms: `store/`, `making/`, `exchange/` with released archives, and `looking/`.

All read and write stores; the last three do not know each other. `stage.py` is the door to them.
"""

from pipeline.datasets.archives import ROWS_APART

__all__ = ["ROWS_APART"]
