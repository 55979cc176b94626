"""This room reads video files: exact facts, clip boundaries, frame grids, and one way to read frames."""
