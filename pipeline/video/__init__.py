"""Reads video files: exact facts, clip boundaries, frame grids, frames and sound."""
