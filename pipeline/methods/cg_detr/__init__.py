"""CG-DETR: clips take from the words as much as they correlate, dummies take the rest, as released."""
