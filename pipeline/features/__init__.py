"""Features on disk, in four rooms: `store/`, `making/`, `exchange/` with released archives, and `looking/`.

All read and write stores; the last three do not know each other. `stage.py` is the door to them.
"""

ROWS_APART = 1
"""Streams of one video may differ by this many rows; more is an error."""
