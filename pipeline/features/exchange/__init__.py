"""Stores from released archives and back: their layouts, and the files that they are made of."""
