"""Frames, sound or words to vectors: one file per network."""
